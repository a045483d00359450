/** Bytes: joining, comparing, and between text, hexadecimal and base64. */

const encoder = new TextEncoder();
const strict = new TextDecoder('utf-8', { fatal: true });
const lenient = new TextDecoder('utf-8');

/** @param {string} text @returns {Uint8Array} UTF-8 */
export const utf8 = (text) => encoder.encode(text);

/** @param {Uint8Array} bytes @returns {string} with U+FFFD for what is no UTF-8 */
export const textOf = (bytes) => lenient.decode(bytes);

/** @param {Uint8Array} bytes @returns {string} Throws TypeError where it is no UTF-8. */
export const strictTextOf = (bytes) => strict.decode(bytes);

/** @param {...Uint8Array} parts @returns {Uint8Array} */
export function concat(...parts) {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

const DIGITS = Array.from({ length: 256 }, (_, n) => n.toString(16).padStart(2, '0'));

/** @param {Uint8Array} bytes @returns {string} lower-case hexadecimal */
export function hex(bytes) {
  let out = '';
  for (const byte of bytes) out += DIGITS[byte];
  return out;
}

/** @param {string} text an even number of hexadecimal digits @returns {Uint8Array} */
export function unhex(text) {
  if (!/^([0-9a-fA-F]{2})*$/.test(text)) throw new TypeError('not hexadecimal');
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

/** @param {string} text base64 @returns {Uint8Array} */
export const unbase64 = (text) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0));

/** Whether two byte strings are equal; the time taken depends on their lengths alone. */
export function equal(a, b) {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let at = 0; at < a.length; at++) difference |= a[at] ^ b[at];
  return difference === 0;
}

/** -1, 0 or 1: how names are sorted. */
export function compare(a, b) {
  const shorter = Math.min(a.length, b.length);
  for (let at = 0; at < shorter; at++) if (a[at] !== b[at]) return a[at] < b[at] ? -1 : 1;
  return Math.sign(a.length - b.length);
}

/** @param {number} number @returns {Uint8Array} four bytes, big-endian */
export const be32 = (number) => Uint8Array.of(number >>> 24, number >>> 16, number >>> 8, number);

/** A view for reading fixed-width fields. */
export const view = (bytes) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
