/** What takes the room: by repository and kind, what waits in the trash, and how much there may be. */
import { fill, h, icon } from '../dom.js';
import { bytes, number, t } from '../i18n.js';
import { setTitle } from '../shell.js';
import { call } from './api.js';
import { badge, card, drawn, table } from './forms.js';
import { entered } from './menu.js';

const KINDS = ['packs', 'index', 'snapshots', 'keys', 'shares', 'parity', 'sessions', 'condemned', 'quarantine'];

/** A part of a whole, as a bar that says itself in words beside it. */
const bar = (part, whole) => h('progress', { class: 'bar', max: Math.max(1, whole), value: part, 'aria-hidden': 'true' });

async function repositoryCard({ path }) {
  const base = `/repositories/${path}`;
  const [about, { kinds }] = await Promise.all([call('GET', base), call('GET', `${base}/usage`)]);
  const gathered = new Map();
  for (const each of kinds) {
    const kind = KINDS.includes(each.kind) ? each.kind : 'other';
    const sum = gathered.get(kind) ?? { objects: 0, bytes: 0 };
    gathered.set(kind, { objects: sum.objects + each.objects, bytes: sum.bytes + each.bytes });
  }
  const rows = [...gathered].map(([kind, sum]) => [t(`storage.${kind}`), h('span', { class: 'number' }, number(sum.objects)), h('span', { class: 'number' }, bytes(sum.bytes)), bar(sum.bytes, about.bytes)]);
  const heads = ['storage.kind', 'storage.objects', 'trash.size', 'storage.share'].map((key) => t(key));
  return card(path,
    h('p', { class: 'soft' }, t('overview.holds', { n: about.snapshots, size: bytes(about.bytes) }), ' ',
      about.damaged ? badge('removed', t('storage.damaged', { n: about.damaged })) : null),
    rows.length ? table(heads, rows, path) : h('p', { class: 'soft' }, t('storage.empty')),
    about.trash.objects ? h('p', {}, t('storage.trash', { n: about.trash.objects, size: bytes(about.trash.bytes), days: about.trash.days }), ' ', h('a', { href: `/${path}/trash` }, t('overview.trash'))) : null);
}

export default function page({ main, signal }) {
  setTitle(t('storage.title'));
  return drawn(main, async () => {
    const me = await entered();
    const [cards, { organisations }] = await Promise.all([Promise.all(me.repositories.map(repositoryCard)), call('GET', '/organisations')]);
    if (signal.aborted) return;
    const quotas = [{ name: me.name, quota: me.quota }, ...organisations].map(({ name, quota }) => h('li', { class: 'device' }, icon('folder'),
      h('div', { class: 'device-words' }, h('strong', {}, name),
        quota.bytes ? h('progress', { class: 'bar', max: quota.bytes, value: Math.min(quota.used, quota.bytes), 'aria-label': t('overview.usage') }) : null,
        h('span', { class: 'soft small' }, quota.bytes ? t('overview.used-of', { used: bytes(quota.used), quota: bytes(quota.bytes) }) : t('overview.used', { used: bytes(quota.used) })))));
    fill(main, h('div', { class: 'page-head' }, h('div', { class: 'titles' }, h('h1', {}, t('storage.title')), h('p', { class: 'soft' }, t('storage.explained')))),
      h('ul', { class: 'devices card padded' }, quotas), cards);
  });
}
