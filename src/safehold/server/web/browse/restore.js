/** Ordering a restore of a snapshot, or of what is chosen of it, from a device. */
import { field, form } from '../account/forms.js';
import { Refused, call, sentence as ofServer } from '../account/api.js';
import { toBase64 } from '../account/password.js';
import { fill, h, icon } from '../dom.js';
import { concat, unbase64, utf8 } from '../format/bytes.js';
import { makeJob, openOffer } from '../format/jobs.js';
import { FOLDER } from '../format/trees.js';
import { t } from '../i18n.js';
import { setTitle, toast } from '../shell.js';
import { address } from './paths.js';
import { breadcrumb, locate } from './place.js';
import { sentence } from './problems.js';
import { kindIcon, visible } from './table.js';

const SLASH = utf8('/');
const MOST_SHOWN = 1000;
const now = () => BigInt(Date.now()) * 1000000n;
const said = (error) => (error instanceof Refused || error instanceof TypeError ? ofServer(error) : sentence(error));
const joined = (path) => concat(...path.flatMap((name) => [SLASH, name]));

/** @returns {Promise<{offers: object[], refused: string[]}>} devices that take jobs and can read, and names of those whose word is not theirs */
async function takers(session) {
  const told = await call('GET', `/repositories/${session.place}/restores`);
  const open = () => Promise.all(told.offers.map(async (each) => {
    try {
      return { name: each.name, ...(await openOffer(session.repository.keyring, { device: each.device, offer: unbase64(each.offer) })) };
    } catch {
      return { name: each.name, refused: true };
    }
  }));
  let found = await open();
  if (found.some(({ refused }) => refused)) {
    await session.again(); // its key may have been made since this page read them
    found = await open();
  }
  return { offers: found.filter(({ refused, role }) => !refused && role !== 'writer'), refused: found.filter(({ refused }) => refused).map(({ name }) => name) };
}

const nobody = () => h('section', { class: 'card padded' }, h('h2', {}, t('jobs.nobody')), h('p', { class: 'soft' }, t('jobs.nobody-text')), h('pre', {}, 'safehold device allow-restores'));

/** What is to be restored: everything here, or some of it. @returns {{part: HTMLElement|null, paths: () => Uint8Array[]}} */
function chooser(path, entry, entries) {
  const whole = () => (path.length ? [joined(path)] : []);
  if (entry.kind !== FOLDER || !entries.length) return { part: null, paths: whole };
  const boxes = entries.slice(0, MOST_SHOWN).map((each, at) => ({ entry: each, id: `take-${at}`, input: h('input', { type: 'checkbox', id: `take-${at}` }) }));
  const list = h('ul', { class: 'take-list', 'aria-label': t('jobs.which') }, boxes.map((box) => h('li', {}, box.input, h('label', { for: box.id }, kindIcon(box.entry), h('span', {}, visible(box.entry.name))))));
  list.hidden = true;
  const all = h('input', { type: 'radio', name: 'what', id: 'what-all', '.checked': true, onchange: () => (list.hidden = true) });
  const some = h('input', { type: 'radio', name: 'what', id: 'what-some', onchange: () => (list.hidden = false) });
  const name = path.length ? visible(entry.name) : t('files.everything');
  const part = h('fieldset', { class: 'choice' }, h('legend', {}, t('jobs.what')),
    h('p', {}, all, h('label', { for: 'what-all' }, t('jobs.all-of', { name }))),
    h('p', {}, some, h('label', { for: 'what-some' }, t('jobs.some'))), list);
  return { part, paths: () => (some.checked ? boxes.filter(({ input }) => input.checked).map(({ entry: { rawName } }) => joined([...path, rawName])) : whole()), some };
}

function orderForm(session, snapshot, { offers, what }) {
  const folders = (offer) => offer.folders.map((folder) => h('option', { value: folder }, visible(folder)));
  const into = field(t('jobs.into'), { tag: 'select', hint: t('jobs.into-hint') }, folders(offers[0]));
  const change = (event) => fill(into.input, folders(offers[event.target.selectedIndex]));
  const named = (offer) => (offer.label && offer.label !== offer.name ? t('jobs.with-key', { name: visible(offer.name), label: visible(offer.label) }) : visible(offer.name));
  const device = field(t('jobs.device'), { tag: 'select', onchange: change, hint: t('jobs.device-hint') }, offers.map((offer) => h('option', { value: offer.device }, named(offer))));
  const submit = async () => {
    const offer = offers[device.input.selectedIndex];
    const paths = what.paths();
    if (what.some?.checked && !paths.length) throw new Undecided(t('jobs.choose'));
    const { id, job, expires } = await makeJob(session.repository.keyring, offer, { snapshot: snapshot.id, paths, into: into.input.value }, now());
    const value = { id, job: toBase64(job), expires_ns: Number(expires) };
    await call('POST', `/repositories/${session.place}/devices/${offer.device}/restores`, value);
    toast(t('jobs.ordered', { name: visible(offer.name) }));
    location.hash = address('restores');
  };
  return form({ fields: [what.part, device.field, into.field], label: t('jobs.order'), submit, wide: false, say: (error) => (error instanceof Undecided ? error.message : said(error)) });
}

/** Something is still to be chosen. */
class Undecided extends Error {}

export default async function show({ main, session, parts, signal }) {
  const { snapshot, path, entry } = await locate(session, parts);
  const { entries } = entry.kind === FOLDER ? await session.repository.trees.read(entry.content) : { entries: [] };
  setTitle(t('jobs.title'));
  const name = path.length ? visible(entry.name) : t('files.everything');
  const head = [breadcrumb(snapshot, path, t('jobs.title')), h('div', { class: 'page-head' }, h('div', { class: 'titles' }, h('h1', {}, t('jobs.title')), h('p', { class: 'soft' }, name)),
    h('div', { class: 'actions' }, h('a', { class: 'button compact', href: address('restores') }, icon('clock'), t('jobs.list'))))];
  if (!session.repository.keyring.adminPrivate) return void main.fill(head, h('p', { class: 'message' }, icon('key'), h('span', {}, t('jobs.not-owner'))));
  let found;
  try {
    found = await takers(session);
  } catch (error) {
    return void main.fill(head, h('p', { class: 'message problem', role: 'alert' }, icon('warning'), h('span', {}, said(error))));
  }
  if (signal.aborted) return;
  const warnings = found.refused.map((each) => h('p', { class: 'message warning' }, icon('warning'), h('span', {}, t('jobs.not-its-word', { name: visible(each) }))));
  const what = chooser(path, entry, entries);
  main.fill(head, warnings, found.offers.length ? h('section', { class: 'card padded' }, h('p', { class: 'soft' }, t('jobs.explained')), orderForm(session, snapshot, { offers: found.offers, what })) : nobody());
}
