/** Who did what: the audit log, whose chain is checked here. */
import { visible } from '../browse/table.js';
import { fill, h, icon } from '../dom.js';
import { dateTime, has, t } from '../i18n.js';
import { setTitle } from '../shell.js';
import { ask } from './api.js';
import { drawn, field, table } from './forms.js';
import { isSame, parse, verify } from './ledger.js';
import { entered } from './menu.js';

const PAGE = 200;

const KINDS = ['login', 'account', 'repository', 'object', 'trash', 'device', 'token', 'member', 'passkey'];

export default function page({ main, signal }) {
  setTitle(t('activity.title'));
  return drawn(main, async () => {
    const me = await entered();
    const names = new Map(me.repositories.map(({ id, path }) => [id, path]));
    const chosen = { repository: '', kind: '' };
    const holder = h('div', { class: 'stack' });
    let lines = [];
    let next = null;

    const fetchPage = async (after) => {
      const query = new URLSearchParams({ limit: PAGE, ...(after ? { after } : {}), ...(chosen.repository ? { repository: chosen.repository } : {}) });
      return parse(await ask('GET', `/audit?${query}`));
    };

    const who = ({ actor }) => {
      const [kind, id = ''] = actor.split(':');
      if (kind === 'p') return id === me.id ? me.name : t('activity.person', { id: id.slice(0, 8) });
      return kind === 'd' ? t('activity.device', { id: id.slice(0, 8) }) : visible(actor) || t('activity.server');
    };
    const what = (line) => {
      const key = `done.${line.what}`;
      const detail = line.detail ? Object.entries(JSON.parse(line.detail)).map(([name, value]) => `${name}: ${value ?? ''}`).join(', ') : '';
      return h('span', {}, h('span', {}, has(key) ? t(key) : visible(line.what)), detail && h('span', { class: 'soft small block' }, visible(detail)));
    };
    const row = (line) => [h('span', { class: 'number' }, dateTime(BigInt(line.time_ns))), what(line), who(line), visible(names.get(line.repository) ?? ''), h('span', { class: 'soft small' }, visible(line.address))];

    const draw = async () => {
      const { checked, wrong } = await verify(lines);
      const same = isSame(lines, me.is_operator && !chosen.repository);
      if (signal.aborted) return;
      const bad = wrong !== null ? t('activity.broken', { number: String(wrong) }) : same ? null : t('activity.replaced');
      const shown = lines.filter((line) => !chosen.kind || line.what.startsWith(chosen.kind) || (chosen.kind === 'account' && /^(password|second|session|identity|invitation|organisation)/.test(line.what)));
      const heads = ['activity.when', 'activity.what', 'activity.who', 'activity.where', 'activity.from'].map((key) => t(key));
      fill(holder,
        bad ? h('p', { class: 'message problem', role: 'alert' }, icon('warning'), h('span', {}, bad))
          : h('p', { class: 'message', role: 'status' }, icon('check'), h('span', {}, t('activity.checked', { n: checked }), lines.length > checked ? ` ${t('activity.between')}` : '')),
        shown.length ? table(heads, shown.map(row), t('activity.title')) : h('p', { class: 'empty card soft' }, t('activity.none')),
        next && h('button', { class: 'button', type: 'button', onclick: more }, t('activity.more')));
    };
    const load = async (after = null) => {
      const found = await fetchPage(after);
      lines = after ? [...lines, ...found.lines] : found.lines;
      next = found.next;
      await draw();
    };
    const more = () => drawn(holder, () => load(next));

    const repository = field(t('enrol.repository'), { tag: 'select', onchange: (event) => ((chosen.repository = event.target.value), drawn(holder, load)) },
      h('option', { value: '' }, t('snapshots.all')), me.repositories.map(({ path }) => h('option', { value: path }, path)));
    const kind = field(t('activity.what'), { tag: 'select', onchange: (event) => ((chosen.kind = event.target.value), drawn(holder, draw)) },
      h('option', { value: '' }, t('snapshots.all')), KINDS.map((each) => h('option', { value: each }, t(`activity.kind-${each}`))));
    fill(main,
      h('div', { class: 'page-head' }, h('div', { class: 'titles' }, h('h1', {}, t('activity.title')), h('p', { class: 'soft' }, t(me.is_operator ? 'activity.explained-all' : 'activity.explained')))),
      h('div', { class: 'filter-line' }, repository.field, kind.field), holder);
    await load();
  });
}
