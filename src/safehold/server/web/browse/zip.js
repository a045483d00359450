/**
 * ZIP archives (APPNOTE 6.3.10), written from front to back and stored without compression, so that their size is known before the
 * first byte; with ZIP64 where 32 bits do not do.  CRC-32 follows the content in a data descriptor.
 */
import { concat, utf8 } from '../format/bytes.js';

const LARGE = 0xffffffff;
const MANY = 0xffff;
const FLAGS = 0x0808; // a data descriptor follows; names are UTF-8
const UNIX = 3 << 8;

const TABLES = (() => {
  const tables = Array.from({ length: 4 }, () => new Uint32Array(256));
  for (let n = 0; n < 256; n++) {
    let value = n;
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
    tables[0][n] = value;
  }
  for (let n = 0; n < 256; n++) for (let k = 1; k < 4; k++) tables[k][n] = (tables[k - 1][n] >>> 8) ^ tables[0][tables[k - 1][n] & 255];
  return tables;
})();

/** CRC-32 of more bytes, four at a time. @param {number} crc of those before, 0 at first */
export function crc32(bytes, crc = 0) {
  const [t0, t1, t2, t3] = TABLES;
  let value = ~crc;
  let at = 0;
  for (const end = bytes.length - 3; at < end; at += 4) {
    value ^= bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
    value = t3[value & 255] ^ t2[(value >>> 8) & 255] ^ t1[(value >>> 16) & 255] ^ t0[value >>> 24];
  }
  for (; at < bytes.length; at++) value = (value >>> 8) ^ t0[(value ^ bytes[at]) & 255];
  return ~value >>> 0;
}

/** Fields of 2, 4 and 8 bytes, little-endian: `[2, value]`. */
function fields(...list) {
  const out = new Uint8Array(list.reduce((sum, [width]) => sum + width, 0));
  const view = new DataView(out.buffer);
  let at = 0;
  for (const [width, value] of list) {
    if (width === 2) view.setUint16(at, value, true);
    else if (width === 4) view.setUint32(at, value, true);
    else view.setBigUint64(at, BigInt(value), true);
    at += width;
  }
  return out;
}

function dosTime(seconds) {
  const date = new Date(seconds * 1000);
  const year = Math.min(2107, Math.max(1980, date.getFullYear()));
  const time = (date.getHours() << 11) | (date.getMinutes() << 5) | (date.getSeconds() >> 1);
  return [[2, time], [2, ((year - 1980) << 9) | ((date.getMonth() + 1) << 5) | date.getDate()]];
}

const isLarge = (size) => size >= LARGE;

function extras({ seconds, size }, offset) {
  const clamped = Math.max(-0x80000000, Math.min(0x7fffffff, seconds));
  const time = concat(fields([2, 0x5455], [2, 5]), Uint8Array.of(1), fields([4, clamped >>> 0]));
  if (offset === undefined) return isLarge(size) ? concat(fields([2, 1], [2, 16], [8, size], [8, size]), time) : time;
  const long = [...(isLarge(size) ? [[8, size], [8, size]] : []), ...(isLarge(offset) ? [[8, offset]] : [])];
  return long.length ? concat(fields([2, 1], [2, 8 * long.length], ...long), time) : time;
}

/**
 * @typedef {object} Member
 * @property {string} name with slashes; a folder's ends with one @property {number} size @property {number} seconds since 1970
 * @property {number} mode permission bits
 */

/** Header before a member's content. @param {Member} member */
export function head(member) {
  const { name, size } = member;
  const written = utf8(name);
  const extra = extras(member);
  const flags = name.endsWith('/') ? 0x0800 : FLAGS;
  const stated = isLarge(size) ? LARGE : size;
  return concat(fields([4, 0x04034b50], [2, isLarge(size) ? 45 : 20], [2, flags], [2, 0], ...dosTime(member.seconds), [4, 0], [4, stated], [4, stated], [2, written.length], [2, extra.length]), written, extra);
}

/** Descriptor after a member's content; folders have none. */
export function foot({ name, size }, crc) {
  if (name.endsWith('/')) return new Uint8Array(0);
  const width = isLarge(size) ? 8 : 4;
  return fields([4, 0x08074b50], [4, crc], [width, size], [width, size]);
}

/** A member's line in the directory at the end. */
export function line(member, crc, offset) {
  const { name, size, mode } = member;
  const written = utf8(name);
  const extra = extras(member, offset);
  const folder = name.endsWith('/');
  const kind = folder ? 0o040000 : 0o100000;
  const long = isLarge(size) || isLarge(offset);
  const stated = isLarge(size) ? LARGE : size;
  return concat(
    fields([4, 0x02014b50], [2, UNIX | (long ? 45 : 20)], [2, long ? 45 : 20], [2, folder ? 0x0800 : FLAGS], [2, 0], ...dosTime(member.seconds), [4, crc], [4, stated], [4, stated],
      [2, written.length], [2, extra.length], [2, 0], [2, 0], [2, 0], [4, ((kind | (mode & 0o777)) << 16 | (folder ? 16 : 0)) >>> 0], [4, Math.min(offset, LARGE)]),
    written, extra);
}

/** The end of an archive. @param {number} count of members @param {number} start of the directory @param {number} length of it */
export function end(count, start, length) {
  const long = count >= MANY || isLarge(start) || isLarge(length);
  const wide = long
    ? concat(
        fields([4, 0x06064b50], [8, 44], [2, UNIX | 45], [2, 45], [4, 0], [4, 0], [8, count], [8, count], [8, length], [8, start]),
        fields([4, 0x07064b50], [4, 0], [8, start + length], [4, 1]))
    : new Uint8Array(0);
  const few = Math.min(count, MANY);
  return concat(wide, fields([4, 0x06054b50], [2, 0], [2, 0], [2, few], [2, few], [4, Math.min(length, LARGE)], [4, Math.min(start, LARGE)], [2, 0]));
}

/** @param {Member[]} members @returns {number} bytes of the whole archive */
export function sizeOf(members) {
  let start = 0;
  let length = 0;
  for (const member of members) {
    length += line(member, 0, start).length;
    start += head(member).length + member.size + foot(member, 0).length;
  }
  return start + length + end(members.length, start, length).length;
}

/** Names as every system can unpack them: no name can lead out of the folder, and none comes twice. */
export class Names {
  constructor() {
    this.taken = new Set();
  }

  /** @param {string[]} path @param {boolean} folder @returns {string} */
  take(path, folder) {
    const clean = path.map((name) => name.replace(/[\\:*?"<>|\p{Cc}\ufffd]/gu, '_').replace(/^\.{1,2}$/, '_')).join('/');
    let name = clean;
    for (let n = 2; this.taken.has(name.toLowerCase()); n++) name = clean.replace(/(\.[^./]*)?$/, ` (${n})$1`);
    this.taken.add(name.toLowerCase());
    return folder ? `${name}/` : name;
  }
}
