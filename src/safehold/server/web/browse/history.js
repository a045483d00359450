/** The versions of one file over all snapshots. */
import { fill, h, icon } from '../dom.js';
import { bytes, dateTime, t } from '../i18n.js';
import { setTitle } from '../shell.js';
import { compare, textOf } from '../format/bytes.js';
import { FILE } from '../format/trees.js';
import { downloadFile } from './download.js';
import { address } from './paths.js';
import { breadcrumb, locate } from './place.js';
import { isQuiet, problem } from './problems.js';
import { deviceOf } from './snapshots.js';
import { visible } from './table.js';

const none = new Uint8Array(0);

/** Whether two entries of one path are the same version: content by its chunks' names, without reading any. */
export function sameVersion(a, b) {
  if (!a || !b) return a === b;
  return a.kind === b.kind && a.size === b.size && compare(a.content, b.content) === 0 && compare(a.more.get('m') ?? none, b.more.get('m') ?? none) === 0
    && compare(a.more.get('t') ?? none, b.more.get('t') ?? none) === 0;
}

function line(session, path, { entry, first, last, count }) {
  const when = count === 1 ? dateTime(first.time) : `${dateTime(first.time)} – ${dateTime(last.time)}`;
  if (!entry) return h('li', { class: 'version gone' }, h('span', { class: 'when number' }, when), h('span', { class: 'soft' }, t('history.not-there')));
  return h('li', { class: 'version' },
    h('span', { class: 'when' }, h('a', { class: 'number', href: address(entry.kind === 1 ? 'files' : 'file', [last.id], path) }, when), h('span', { class: 'small soft' }, t('history.changed', { time: dateTime(entry.mtime) }), ' · ', t('count.snapshots', { n: count }))),
    h('span', { class: 'number soft' }, entry.kind === FILE ? bytes(entry.size) : t(`kind.${entry.kind}`)),
    entry.kind === FILE && h('button', { class: 'button compact', type: 'button', onclick: () => downloadFile(session, entry) }, icon('download'), t('file.download')));
}

export default async function show({ main, session, parts, signal }) {
  const { snapshot, path } = await locate(session, parts);
  const name = visible(textOf(path.at(-1) ?? none));
  setTitle(t('history.of', { name }));
  const state = h('p', { class: 'soft', role: 'status' });
  const list = h('ol', { class: 'versions card', reversed: true });
  main.fill(breadcrumb(snapshot, path, t('history.title')),
    h('div', { class: 'page-head' }, h('div', { class: 'titles' }, h('h1', { class: 'file-name' }, t('history.of', { name })), state)), list);
  // Snapshots of one machine: another's file of that path is another file.
  const snapshots = session.snapshots.filter((each) => deviceOf(each) === deviceOf(snapshot));
  const versions = [];
  void (async () => {
    try {
      for (const [at, each] of snapshots.entries()) {
        const entry = await session.repository.trees.find(each.tree, path);
        if (signal.aborted) return;
        const newest = versions.at(-1);
        if (newest && sameVersion(newest.entry, entry)) Object.assign(newest, { first: each, count: newest.count + 1 });
        else versions.push({ entry, first: each, last: each, count: 1 });
        state.textContent = t('history.looking', { done: at + 1, all: snapshots.length });
      }
      const there = versions.filter(({ entry }) => entry).length;
      state.textContent = t('history.versions', { n: there });
      fill(list, versions.map((version) => line(session, path, version)));
    } catch (error) {
      if (!isQuiet(error) && !signal.aborted) fill(state, problem(error));
    }
  })();
}
