/** Writes MessagePack in the shortest form of each value, as the program does: null, true, false, whole numbers from 0, text, bytes, arrays and maps. */
import { concat, utf8 } from './bytes.js';

/** A type's byte and a count, by the least width that holds it. */
function headed(count, [fixed, room], ...wider) {
  if (count < room) return Uint8Array.of(fixed + count);
  for (const [type, bytes] of wider) {
    if (count < 2 ** (8 * bytes)) return Uint8Array.of(type, ...Array.from({ length: bytes }, (_, at) => Math.floor(count / 2 ** (8 * (bytes - 1 - at))) % 256));
  }
  throw new RangeError('too much for msgpack');
}

function whole(value) {
  if (value < 0) throw new RangeError('numbers below 0 are not written');
  if (value < 2 ** 32) return headed(Number(value), [0, 128], [0xcc, 1], [0xcd, 2], [0xce, 4]);
  const out = new Uint8Array(9);
  out[0] = 0xcf;
  new DataView(out.buffer).setBigUint64(1, BigInt(value));
  return out;
}

/** @param {any} value a BigInt where a Number could not hold it @returns {Uint8Array} */
export function encode(value) {
  if (value === null) return Uint8Array.of(0xc0);
  if (typeof value === 'boolean') return Uint8Array.of(value ? 0xc3 : 0xc2);
  if (typeof value === 'bigint' || Number.isSafeInteger(value)) return whole(value);
  if (value instanceof Uint8Array) return concat(headed(value.length, [0, 0], [0xc4, 1], [0xc5, 2], [0xc6, 4]), value);
  if (Array.isArray(value)) return concat(headed(value.length, [0x90, 16], [0xdc, 2], [0xdd, 4]), ...value.map(encode));
  if (value instanceof Map) return concat(headed(value.size, [0x80, 16], [0xde, 2], [0xdf, 4]), ...[...value].flat().map(encode));
  if (typeof value !== 'string') throw new TypeError('nothing that msgpack holds');
  const text = utf8(value);
  return concat(headed(text.length, [0xa0, 32], [0xd9, 1], [0xda, 2], [0xdb, 4]), text);
}
