/** What devices back up by plans of an owner's, and handing them out. */
import { Refused, call, sentence as ofServer } from '../account/api.js';
import { field, form } from '../account/forms.js';
import { toBase64 } from '../account/password.js';
import { fill, h, icon } from '../dom.js';
import { unbase64 } from '../format/bytes.js';
import { isFor, makeLetter, openLetter, planText, receivers } from '../format/plans.js';
import { dateTime, t } from '../i18n.js';
import { ask, setTitle, toast } from '../shell.js';
import { sentence } from './problems.js';
import { visible } from './table.js';

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const LIKE_A_SNAPSHOT = /^(latest|[0-9a-f]{4,64})$/;
const now = () => BigInt(Date.now()) * 1000000n;
const said = (error) => (error instanceof Wrong ? error.message : error instanceof Refused || error instanceof TypeError ? ofServer(error) : sentence(error));
const linesOf = ({ value }) => value.split('\n').map((line) => line.trim()).filter(Boolean);

/** Something was filled in wrongly. */
class Wrong extends Error {}

/** The devices that are not shut out, each with what it was handed. */
async function devicesOf(session) {
  const { devices } = await call('GET', `/repositories/${session.place}/devices`);
  const read = async (device) => {
    const told = await call('GET', `/repositories/${session.place}/devices/${device.id}/plan`);
    if (!told?.letter) return { ...device, letter: null };
    try {
      return { ...device, letter: await openLetter(session.repository.keyring, unbase64(told.letter)) };
    } catch {
      return { ...device, letter: null, forged: true };
    }
  };
  return Promise.all(devices.filter(({ revoked }) => !revoked).map(read));
}

async function hand(session, device, to, plans) {
  const letter = await makeLetter(session.repository.keyring, to, plans, now());
  await call('PUT', `/repositories/${session.place}/devices/${device.id}/plan`, { letter: toBase64(letter) });
}

/** The key that a device has: by what its last letter was for, else by its name. */
const keyOf = (device, keys) => keys.findIndex((each) => (device.letter ? isFor(device.letter, each) : each.label === device.name));

function fields(device, keys) {
  const name = field(t('plans.name'), { required: true, value: 'home', hint: t('plans.name-hint') });
  const folders = field(t('plans.folders'), { tag: 'textarea', rows: 3, required: true, hint: t('plans.folders-hint') }, '~/Documents\n~/Pictures');
  const when = field(t('plans.when'), { tag: 'select' },
    [['1h', 'plans.hourly'], ['6h', 'plans.six'], ['1d', 'plans.daily'], ['1w', 'plans.weekly'], ['at', 'plans.at']].map(([value, key]) => h('option', { value, '.selected': value === '6h' }, t(key))));
  const time = field(t('plans.time'), { type: 'time', value: '02:30' });
  time.field.hidden = true;
  when.input.addEventListener('change', () => (time.field.hidden = when.input.value !== 'at'));
  const exclude = field(t('plans.exclude'), { tag: 'textarea', rows: 2, hint: t('plans.exclude-hint') });
  const keep = ['daily', 'weekly', 'monthly'].map((unit) => [unit, field(t(`plans.keep-${unit}`), { type: 'number', min: 0, max: 10000, value: 0 })]);
  const key = field(t('plans.key'), { tag: 'select', hint: t('plans.key-hint') }, keys.map(({ label, role, slot }, at) => h('option', { value: String(at), '.selected': at === keyOf(device, keys) }, `${visible(label)} (${t(`keys.role-${role}`)}, ${slot[0].toString(16).padStart(2, '0')}…)`)));
  const known = keyOf(device, keys) >= 0;
  return { name, folders, when, time, exclude, keep, key, all: [name.field, folders.field, when.field, time.field, exclude.field, h('fieldset', { class: 'choice' }, h('legend', {}, t('plans.keep')), h('p', { class: 'hint' }, t('plans.keep-hint')), keep.map(([, each]) => each.field)), known ? null : key.field] };
}

function planOf({ name, folders, when, time, exclude, keep }) {
  if (!NAME.test(name.input.value) || LIKE_A_SNAPSHOT.test(name.input.value)) throw new Wrong(t('plans.wrong-name'));
  const sources = linesOf(folders.input);
  if (!sources.length || !sources.every((each) => /^(~($|\/)|\/|[A-Za-z]:\\)/.test(each))) throw new Wrong(t('plans.wrong-folder'));
  const isAt = when.input.value === 'at';
  const counts = Object.fromEntries(keep.map(([unit, each]) => [unit, Number(each.input.value) || 0]));
  return planText({ sources, exclude: linesOf(exclude.input), every: isAt ? '' : when.input.value, at: isAt ? time.input.value : '', keep: counts });
}

/** How often the server may expect a backup, in seconds. */
const EXPECTED = { '1h': 3600, '6h': 21600, '1d': 86400, '1w': 604800, at: 86400 };

function handForm(session, device, done) {
  const keys = receivers(session.repository.keyring);
  const given = fields(device, keys);
  const submit = async () => {
    const plans = new Map(device.letter?.plans ?? []);
    plans.set(given.name.input.value, planOf(given));
    await hand(session, device, keys[Number(given.key.input.value)], plans);
    await call('PATCH', `/repositories/${session.place}/devices/${device.id}`, { every_seconds: EXPECTED[given.when.input.value] });
    toast(t('plans.handed', { name: visible(device.name) }));
    await done();
  };
  return h('details', { class: 'hand' }, h('summary', {}, t('plans.hand')), form({ fields: given.all, label: t('plans.hand-out'), submit, wide: false, say: said }));
}

function handed(session, device, done) {
  const back = async (name) => {
    const choices = [{ value: '', label: t('shell.cancel') }, { value: 'yes', label: t('plans.take-back'), primary: true }];
    if (!(await ask({ title: t('plans.take-back-title', { name }), text: t('plans.take-back-text'), choices }))) return;
    const plans = new Map(device.letter.plans);
    plans.delete(name);
    try {
      const keys = receivers(session.repository.keyring);
      const to = keys.find((each) => isFor(device.letter, each));
      if (!to) throw new Wrong(t('plans.key-gone'));
      await hand(session, device, to, plans);
      await done();
    } catch (error) {
      toast(said(error), { problem: true });
    }
  };
  const one = ([name, text]) => h('li', {}, h('div', { class: 'plan-head' }, h('strong', {}, visible(name)),
    h('button', { class: 'button compact plain', type: 'button', onclick: () => back(name), 'aria-label': `${t('plans.take-back')}: ${visible(name)}` }, t('plans.take-back'))), h('pre', {}, text.trimEnd().split('\n').map(visible).join('\n')));
  return h('ul', { class: 'plan-list' }, [...device.letter.plans].map(one));
}

function card(session, device, done) {
  const plans = device.letter?.plans.size ?? 0;
  return h('section', { class: 'card padded' }, h('h2', {}, visible(device.name)),
    device.forged ? h('p', { class: 'message warning' }, icon('warning'), h('span', {}, t('plans.forged'))) : null,
    h('p', { class: 'soft small' }, plans ? t('plans.since', { time: dateTime(device.letter.made) }) : t('plans.none')),
    plans ? handed(session, device, done) : null, handForm(session, device, done));
}

export default async function show({ main, session, signal }) {
  setTitle(t('plans.title'));
  const head = h('div', { class: 'page-head' }, h('div', { class: 'titles' }, h('p', { class: 'soft small' }, h('a', { href: '#/snapshots' }, t('snapshots.title'))), h('h1', {}, t('plans.title')), h('p', { class: 'soft' }, t('plans.explained'))));
  if (!session.repository.keyring.adminPrivate) return void main.fill(head, h('p', { class: 'message' }, icon('key'), h('span', {}, t('plans.not-owner'))));
  const list = h('div', { class: 'cards' });
  const draw = async () => {
    const devices = await devicesOf(session);
    if (!signal.aborted) fill(list, devices.length ? devices.map((device) => card(session, device, draw)) : h('p', { class: 'empty card soft' }, t('overview.no-device')));
  };
  try {
    await session.again(); // a device may have got its key since this page read them
    await draw();
  } catch (error) {
    return void main.fill(head, h('p', { class: 'message problem', role: 'alert' }, icon('warning'), h('span', {}, said(error))));
  }
  main.fill(head, h('p', { class: 'message' }, icon('lock'), h('span', {}, `${t('plans.allow')} `, h('code', {}, 'safehold device allow-plans'))), list);
}
