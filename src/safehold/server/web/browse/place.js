/** What views of one snapshot have in common: finding what the address names, and the way back. */
import { h, icon } from '../dom.js';
import { dateTime, t } from '../i18n.js';
import { textOf } from '../format/bytes.js';
import { ReadError } from '../format/errors.js';
import { address, namesOf } from './paths.js';
import { deviceOf } from './snapshots.js';
import { surroundings } from './surroundings.js';
import { visible } from './table.js';

/**
 * @param {object} session @param {string[]} parts of the address: a snapshot's id, then names
 * @returns {Promise<{snapshot: object, path: Uint8Array[], entry: object}>} Throws ReadError `missing`.
 */
export async function locate(session, [id = '', ...rest]) {
  const snapshot = session.snapshot(id);
  if (!snapshot) throw new ReadError('gone', 'there is no such snapshot');
  const path = namesOf(rest);
  const entry = await session.repository.trees.find(snapshot.tree, path);
  if (!entry) throw new ReadError('gone', 'there is no such path in that snapshot');
  return { snapshot, path, entry };
}

/** The way from the list of snapshots, or from the folder that was shared, to here. */
export function breadcrumb(snapshot, path, tail = null) {
  if (snapshot.single || (snapshot.shared && !path.length && !tail)) return null;
  const name = snapshot.shared ? visible(snapshot.name) || t('share.everything') : `${deviceOf(snapshot)}, ${dateTime(snapshot.time)}`;
  const steps = [
    !snapshot.shared && h('li', {}, h('a', { href: address('snapshots') }, t('snapshots.title'))),
    h('li', {}, h('a', { href: address('files', [snapshot.id]), 'aria-current': path.length || tail ? null : 'page' }, name)),
    ...path.map((name, at) => h('li', {}, h('a', { href: address('files', [snapshot.id], path.slice(0, at + 1)), 'aria-current': at === path.length - 1 && !tail ? 'page' : null }, visible(textOf(name))))),
    tail && h('li', {}, h('span', { 'aria-current': 'page' }, tail)),
  ];
  return h('nav', { class: 'breadcrumb', 'aria-label': t('files.where') }, h('ol', {}, steps));
}

/** The way to order it from a device; nothing where that cannot be. */
export const restoreLink = (session, snapshot, path) => surroundings.mayWrite && !snapshot.shared && session.repository.keyring.adminPrivate
  ? h('a', { class: 'button compact', href: address('restore', [snapshot.id], path) }, icon('device'), t('jobs.button')) : null;

/** A field that looks for a name below a folder. */
export function searchField(snapshot, path, value = '') {
  const input = h('input', { class: 'input compact', type: 'search', name: 'q', placeholder: t('search.placeholder'), 'aria-label': t('search.placeholder'), '.value': value, autocomplete: 'off', spellcheck: 'false' });
  const go = (event) => {
    event.preventDefault();
    if (input.value.trim()) location.hash = address('search', [snapshot.id], path, { q: input.value.trim() });
  };
  const label = t('search.go');
  return h('form', { class: 'search', role: 'search', onsubmit: go }, input, h('button', { class: 'button compact', 'aria-label': label, title: label }, icon('search')));
}
