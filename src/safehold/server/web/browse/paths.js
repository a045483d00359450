/**
 * Where one is in a repository.  It stands in the fragment of the address (`#/files/SNAPSHOT/home/anna`), which no browser sends to
 * a server: names of files are nobody's business there.  Names are bytes, and stay what they are.
 */
import { textOf } from '../format/bytes.js';

const SAFE = /[A-Za-z0-9._~-]/;

function encodeName(bytes) {
  let out = '';
  for (const byte of bytes) {
    const char = String.fromCharCode(byte);
    out += byte < 128 && SAFE.test(char) ? char : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return out;
}

function decodeName(text) {
  const bytes = [];
  for (let at = 0; at < text.length; at++) {
    const escaped = text[at] === '%' ? parseInt(text.slice(at + 1, at + 3), 16) : NaN;
    bytes.push(Number.isNaN(escaped) ? text.charCodeAt(at) & 255 : escaped);
    if (!Number.isNaN(escaped)) at += 2;
  }
  return Uint8Array.from(bytes);
}

/** Of a snapshot's id, what an address needs. */
const SHORT = 16;

/**
 * @param {string} view `snapshots`, `files`, `file`, `history`, `compare`, `search`
 * @param {string[]} [ids] of snapshots @param {Uint8Array[]} [path] @param {object} [query]
 */
export function address(view, ids = [], path = [], query = {}) {
  const asked = new URLSearchParams(query).toString();
  return `#/${[view, ...ids.map((id) => id.slice(0, SHORT)), ...path.map(encodeName)].join('/')}${asked ? `?${asked}` : ''}`;
}

/** @param {string} hash @returns {{view: string, parts: string[], query: URLSearchParams}} */
export function parse(hash) {
  const [path, query = ''] = hash.replace(/^#\/?/, '').split('?');
  const [view, ...parts] = path.split('/').filter(Boolean);
  return { view: view ?? 'snapshots', parts, query: new URLSearchParams(query) };
}

/** @param {string[]} parts of `parse` @returns {Uint8Array[]} */
export const namesOf = (parts) => parts.map(decodeName);

/** @param {Uint8Array[]} path @returns {string} for people */
export const shown = (path) => `/${path.map(textOf).join('/')}`;
