/** Everything at a glance: which devices are well, what is overdue, how full it is. */
import { visible } from '../browse/table.js';
import { fill, h, icon } from '../dom.js';
import { bytes, dateTime, t } from '../i18n.js';
import { navigate, setTitle } from '../shell.js';
import { call } from './api.js';
import { calendar, growth } from './charts.js';
import { badge, card, drawn, field, form } from './forms.js';
import { byDay, stateOf } from './health.js';
import { entered } from './menu.js';

const DAYS = 35;
const KINDS = { good: 'added', late: 'warning', failed: 'removed', waiting: '', out: '' };

function deviceLine(device, now) {
  const { state, last } = stateOf(device, now);
  const when = last ? t('overview.last', { when: dateTime(BigInt(last.received_ns)), size: bytes(last.bytes) }) : t('overview.none-yet');
  return h('li', { class: `device ${state}` }, icon('device'),
    h('div', { class: 'device-words' }, h('strong', {}, visible(device.name)), h('span', { class: 'soft small' }, state === 'out' ? t('overview.shut-out') : when)),
    badge(KINDS[state], t(`state.${state}`)));
}

function usage({ used, bytes: quota }) {
  if (!quota) return h('p', { class: 'soft' }, t('overview.used', { used: bytes(used) }));
  return h('div', { class: 'usage' },
    h('progress', { class: 'bar', max: quota, value: Math.min(used, quota), 'aria-label': t('overview.usage') }),
    h('p', { class: 'soft small' }, t('overview.used-of', { used: bytes(used), quota: bytes(quota) })));
}

async function repositoryCard(place) {
  const base = `/repositories/${place.path}`;
  const [about, { devices }, { reports }] = await Promise.all([call('GET', base), call('GET', `${base}/devices`), call('GET', `${base}/reports`)]);
  const now = Date.now() / 1000;
  const days = byDay(reports, DAYS, new Date());
  const ill = devices.filter((device) => ['late', 'failed'].includes(stateOf(device, now).state)).length;
  const state = ill ? h('p', { class: 'message warning' }, icon('warning'), h('span', {}, t('overview.ill', { n: ill }))) : null;
  return h('section', { class: 'card padded repository', 'aria-label': place.path },
    h('div', { class: 'page-head' },
      h('div', { class: 'titles' }, h('h2', {}, place.path), h('p', { class: 'soft small' }, t('overview.holds', { n: about.snapshots, size: bytes(about.bytes) }))),
      h('div', { class: 'actions' },
        h('a', { class: 'button compact primary', href: `/${place.path}` }, t('overview.browse')),
        h('a', { class: 'button compact', href: `/${place.path}/devices` }, t('overview.devices')),
        h('a', { class: 'button compact', href: `/${place.path}/shares` }, t('shares.link')),
        h('a', { class: 'button compact', href: `/${place.path}#/keys` }, t('keys.title')),
        h('a', { class: 'button compact', href: `/${place.path}/trash` }, t('overview.trash')))),
    state,
    about.warnings.map((text) => h('p', { class: 'message warning' }, icon('warning'), h('span', {}, text))),
    devices.length ? h('ul', { class: 'devices' }, devices.map((device) => deviceLine(device, now))) : h('p', { class: 'soft' }, t('overview.no-device')),
    h('div', { class: 'charts' }, h('figure', {}, calendar(days), h('figcaption', { class: 'soft small' }, t('overview.calendar', { n: DAYS }))),
      h('figure', { class: 'wide' }, growth(days), h('figcaption', { class: 'soft small' }, t('overview.growth')))));
}

function newRepository() {
  const name = field(t('overview.new-name'), { required: true, pattern: '[a-z0-9]([a-z0-9\\-]{0,61}[a-z0-9])?', placeholder: 'home', autocapitalize: 'none', spellcheck: 'false', hint: t('overview.new-hint') });
  const submit = async () => {
    await call('POST', '/repositories', { name: name.input.value });
    navigate('/');
    location.reload();
  };
  return card(t('overview.new'), form({ fields: [name.field], label: t('overview.new-submit'), submit, wide: false }));
}

function begin(me) {
  const address = `${location.origin}/${me.name}/${me.repositories[0]?.path.split('/')[1] ?? 'home'}`;
  return card(t('overview.begin'),
    h('ol', { class: 'steps' },
      h('li', {}, t('overview.step-install')),
      h('li', {}, t('overview.step-login'), h('pre', {}, h('code', {}, `safehold login ${location.origin}`))),
      h('li', {}, t('overview.step-approve'), ' ', h('a', { href: '/enrol' }, t('overview.step-approve-link'))),
      h('li', {}, t('overview.step-backup'), h('pre', {}, h('code', {}, `safehold init ${address}\nsafehold -r ${address} backup ~`)))));
}

export default function page({ main, signal }) {
  setTitle(t('overview.title'));
  return drawn(main, async () => {
    const me = await entered();
    const cards = await Promise.all(me.repositories.map(repositoryCard));
    if (signal.aborted) return;
    fill(main,
      h('div', { class: 'page-head' }, h('div', { class: 'titles' }, h('h1', {}, t('overview.hello', { name: me.name })), usage(me.quota)),
        h('div', { class: 'actions' }, h('a', { class: 'button', href: '/enrol' }, icon('device'), t('overview.add-device')))),
      me.second_factor ? null : h('p', { class: 'message warning' }, icon('warning'), h('span', {}, t('overview.no-factor'), ' ', h('a', { href: '/settings#second-factor' }, t('overview.no-factor-link')))),
      cards, cards.length ? null : begin(me), newRepository());
  });
}
