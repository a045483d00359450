/** A folder of a snapshot. */
import { h, icon } from '../dom.js';
import { bytes, dateTime, t } from '../i18n.js';
import { setTitle } from '../shell.js';
import { FOLDER } from '../format/trees.js';
import { downloadFolder } from './download.js';
import { address } from './paths.js';
import { breadcrumb, locate, restoreLink, searchField } from './place.js';
import { entryTable, visible } from './table.js';

const totalsOf = (entry, snapshot) => entry.totals ?? [snapshot.totals.files, snapshot.totals.folders, snapshot.totals.others, snapshot.totals.bytes];

const titleOf = (snapshot) => (snapshot.shared ? visible(snapshot.name) || t('share.everything') : t('files.everything'));

/** What stands below the name of a folder; folders of a share have no totals of their own. */
function summary(snapshot, path, entry, entries) {
  if (snapshot.shared && path.length) return t('count.entries', { n: entries.length });
  const [files, , , size] = totalsOf(path.length ? entry : {}, snapshot);
  const counted = snapshot.shared ? 'share.holds' : 'files.holds';
  return t(counted, { n: files, size: bytes(size), time: dateTime(snapshot.time) });
}

export default async function show({ main, session, parts, signal }) {
  const { snapshot, path, entry } = await locate(session, parts);
  if (entry.kind !== FOLDER) return void location.replace(address('file', [snapshot.id], path));
  const { entries } = await session.repository.trees.read(entry.content);
  const name = path.length ? visible(entry.name) : titleOf(snapshot);
  setTitle(name);
  const lines = entries.map((each) => ({ entry: each, href: address(each.kind === FOLDER ? 'files' : 'file', [snapshot.id], [...path, each.rawName]) }));
  const top = snapshot.shared ? undefined : address('snapshots');
  const up = path.length ? address('files', [snapshot.id], path.slice(0, -1)) : top;
  const download = () => downloadFolder(session, { snapshot, path, entry });
  main.fill(
    breadcrumb(snapshot, path),
    h('div', { class: 'page-head' },
      h('div', { class: 'titles' }, h('h1', { class: 'file-name' }, name), h('p', { class: 'soft' }, summary(snapshot, path, entry, entries))),
      h('div', { class: 'actions' }, searchField(snapshot, path), restoreLink(session, snapshot, path), h('button', { class: 'button primary compact', type: 'button', onclick: download }, icon('download'), t('files.download-folder')))),
    lines.length ? entryTable(lines, { label: name, up, signal }) : h('p', { class: 'empty card soft' }, t('files.empty')));
}
