/** One file of a snapshot: what it looks like, and what is known of it. */
import { fill, h, icon } from '../dom.js';
import { bytes, dateTime, t } from '../i18n.js';
import { setTitle } from '../shell.js';
import { textOf } from '../format/bytes.js';
import { FILE, FOLDER, SYMLINK } from '../format/trees.js';
import { downloadFile } from './download.js';
import { address } from './paths.js';
import { breadcrumb, locate, restoreLink } from './place.js';
import { isQuiet, problem } from './problems.js';
import { preview } from './preview.js';
import { visible } from './table.js';

const BITS = 'rwxrwxrwx';

/** @param {number} mode @returns {string} as `ls` shows it */
export const permissions = (mode) => [...BITS].map((letter, at) => (mode & (0o400 >> at) ? letter : '-')).join('');

async function owner(session, snapshot, path, entry) {
  const folder = await session.repository.trees.find(snapshot.tree, path.slice(0, -1));
  const { owners, groups } = await session.repository.trees.read(folder.content);
  return `${owners.get(entry.uid) ?? entry.uid} : ${groups.get(entry.gid) ?? entry.gid}`;
}

export default async function show({ main, session, parts, signal }) {
  const { snapshot, path, entry } = await locate(session, parts);
  if (entry.kind === FOLDER) return void location.replace(address('files', [snapshot.id], path));
  const name = visible(entry.name);
  setTitle(name);
  const facts = [
    [t('file.kind'), t(`kind.${entry.kind}`)],
    entry.kind === FILE && [t('files.size'), bytes(entry.size)],
    [t('files.time'), dateTime(entry.mtime)],
    !snapshot.shared && [t('file.owner'), await owner(session, snapshot, path, entry)],
    [t('file.mode'), h('code', {}, permissions(entry.mode))],
    entry.kind === SYMLINK && [t('file.target'), h('code', {}, visible(textOf(entry.more.get('t') ?? new Uint8Array())))],
  ].filter(Boolean);
  const stage = h('section', { class: 'preview card', 'aria-label': t('file.preview') }, h('p', { class: 'working', role: 'status' }, h('span', { class: 'spinner' }), t('browse.reading')));
  main.fill(
    breadcrumb(snapshot, path),
    h('div', { class: 'page-head' },
      h('div', { class: 'titles' }, h('h1', { class: 'file-name' }, name)),
      h('div', { class: 'actions' },
        !snapshot.shared && h('a', { class: 'button compact', href: address('history', [snapshot.id], path) }, icon('clock'), t('history.title')),
        restoreLink(session, snapshot, path),
        entry.kind === FILE && h('button', { class: 'button primary compact', type: 'button', onclick: () => downloadFile(session, entry) }, icon('download'), t('file.download')))),
    h('div', { class: 'with-side file-view' }, stage, h('dl', { class: 'facts card' }, facts.map(([key, value]) => h('div', {}, h('dt', {}, key), h('dd', {}, value))))));
  if (entry.kind !== FILE) return void fill(stage, h('p', { class: 'preview-none soft' }, t('file.nothing-inside')));
  try {
    fill(stage, await preview(session, entry, signal));
  } catch (error) {
    if (!isQuiet(error) && !signal.aborted) fill(stage, problem(error));
  }
}
