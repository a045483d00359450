/** What changed between two snapshots. */
import { fill, h, icon } from '../dom.js';
import { bytes, dateTime, t } from '../i18n.js';
import { setTitle } from '../shell.js';
import { compare as compareBytes, textOf } from '../format/bytes.js';
import { ReadError } from '../format/errors.js';
import { FOLDER } from '../format/trees.js';
import { sameVersion } from './history.js';
import { address, shown } from './paths.js';
import { isQuiet, problem } from './problems.js';
import { deviceOf, sourceOf } from './snapshots.js';
import { kindIcon, visible } from './table.js';

const MOST = 5000;
const EVERY = 400;

/**
 * Folders that are the same have one tree id, and are not read.
 * @returns {AsyncGenerator<{path: Uint8Array[], before?: object, after?: object}>} what is only in one, or differs
 */
export async function* differences(trees, before, after, signal) {
  const stack = [{ path: [], before, after }];
  while (stack.length) {
    signal?.throwIfAborted();
    const here = stack.pop();
    const [old, now] = await Promise.all([here.before, here.after].map((id) => (id ? trees.read(id) : { entries: [] })));
    let [a, b] = [0, 0];
    while (a < old.entries.length || b < now.entries.length) {
      const [x, y] = [old.entries[a], now.entries[b]];
      const order = !x ? 1 : !y ? -1 : compareBytes(x.rawName, y.rawName);
      const [left, right] = [order <= 0 ? x : undefined, order >= 0 ? y : undefined];
      if (left) a++;
      if (right) b++;
      const path = [...here.path, (left ?? right).rawName];
      const folders = left?.kind === FOLDER && right?.kind === FOLDER;
      if (folders && compareBytes(left.content, right.content) !== 0) stack.push({ path, before: left.content, after: right.content });
      else if (!folders && !sameVersion(left, right)) yield { path, before: left, after: right };
    }
  }
}

function row(first, second, { path, before, after }) {
  const kind = !before ? 'added' : !after ? 'removed' : 'changed';
  const entry = after ?? before;
  const href = address(entry.kind === FOLDER ? 'files' : 'file', [after ? second.id : first.id], path);
  const size = kind === 'changed' ? `${bytes(before.size)} → ${bytes(after.size)}` : bytes(entry.size);
  return h('tr', {},
    h('td', { class: 'state' }, h('span', { class: `badge ${kind}` }, t(`compare.${kind}`))),
    h('td', { class: 'name' }, h('a', { class: 'entry', href }, kindIcon(entry), h('span', { class: 'text' }, visible(textOf(path.at(-1))), h('span', { class: 'note small soft' }, visible(shown(path.slice(0, -1))))))),
    h('td', { class: 'size number' }, entry.kind === FOLDER ? t('count.files', { n: entry.totals?.[0] ?? 0 }) : size));
}

const side = (snapshot, label) => h('a', { class: 'side-of card', href: address('files', [snapshot.id]) },
  h('span', { class: 'small soft' }, label), h('strong', { class: 'number' }, dateTime(snapshot.time)), h('span', { class: 'small soft' }, `${deviceOf(snapshot)} · ${sourceOf(snapshot)}`));

export default async function show({ main, session, parts, signal }) {
  const [first, second] = parts.map((id) => session.snapshot(id));
  if (!first || !second) throw new ReadError('gone', 'there is no such snapshot');
  setTitle(t('compare.title'));
  const state = h('p', { class: 'soft', role: 'status' });
  const body = h('tbody', {});
  const heads = ['state', 'name', 'size'].map((name) => h('th', { scope: 'col', class: name }, t(name === 'state' ? 'compare.state' : `files.${name}`)));
  const table = h('table', { class: 'entries compared card', hidden: true }, h('caption', { class: 'hidden-visually' }, t('compare.title')), h('thead', {}, h('tr', {}, heads)), body);
  main.fill(
    h('nav', { class: 'breadcrumb', 'aria-label': t('files.where') }, h('ol', {}, h('li', {}, h('a', { href: address('snapshots') }, t('snapshots.title'))), h('li', {}, h('span', { 'aria-current': 'page' }, t('compare.title'))))),
    h('div', { class: 'page-head' }, h('div', { class: 'titles' }, h('h1', {}, t('compare.title')), state)),
    h('div', { class: 'sides' }, side(first, t('compare.before')), icon('right'), side(second, t('compare.after'))), table);
  const counts = { added: 0, removed: 0, changed: 0 };
  void (async () => {
    let drawn = performance.now();
    try {
      for await (const each of differences(session.repository.trees, first.tree, second.tree, signal)) {
        counts[!each.before ? 'added' : !each.after ? 'removed' : 'changed']++;
        if (body.children.length < MOST) body.append(row(first, second, each));
        table.hidden = false;
        if (performance.now() - drawn < EVERY) continue;
        state.textContent = t('compare.looking', counts);
        await new Promise((resolve) => setTimeout(resolve));
        drawn = performance.now();
      }
      const all = counts.added + counts.removed + counts.changed;
      state.textContent = all ? t('compare.counts', counts) : t('compare.same');
      if (all > MOST) table.after(h('p', { class: 'soft' }, t('browse.cut', { n: MOST })));
    } catch (error) {
      if (!isQuiet(error) && !signal.aborted) fill(state, problem(error));
    }
  })();
}
