/**
 * Reads MessagePack (msgpack.org).  Maps become Map, bin Uint8Array (a view, not a copy), integers Number, or BigInt where a Number
 * could not hold them exactly.  Extension types are not part of the format and are refused, and so is what is nested deeper than
 * anything of the format, or claims more elements than bytes are left: nothing is allocated for a claim.
 */
import { strictTextOf, view } from './bytes.js';
import { ReadError } from './errors.js';

const DEEPEST = 32;
const broken = (why) => new ReadError('damaged', `msgpack: ${why}`);

class Decoder {
  constructor(bytes) {
    this.bytes = bytes;
    this.view = view(bytes);
    this.at = 0;
  }

  take(count) {
    const start = this.at;
    if (count > this.bytes.length - start) throw broken('it ends too early');
    this.at += count;
    return start;
  }

  value(depth) {
    const type = this.bytes[this.take(1)];
    if (type < 0x80) return type;
    if (type < 0x90) return this.map(type & 15, depth);
    if (type < 0xa0) return this.array(type & 15, depth);
    if (type < 0xc0) return this.text(type & 31);
    if (type >= 0xe0) return type - 256;
    return this.long(type, depth);
  }

  long(type, depth) {
    switch (type) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: return this.bin(this.uint(1));
      case 0xc5: return this.bin(this.uint(2));
      case 0xc6: return this.bin(this.uint(4));
      case 0xca: return this.view.getFloat32(this.take(4));
      case 0xcb: return this.view.getFloat64(this.take(8));
      case 0xcc: return this.uint(1);
      case 0xcd: return this.uint(2);
      case 0xce: return this.uint(4);
      case 0xcf: return small(this.view.getBigUint64(this.take(8)));
      case 0xd0: return this.view.getInt8(this.take(1));
      case 0xd1: return this.view.getInt16(this.take(2));
      case 0xd2: return this.view.getInt32(this.take(4));
      case 0xd3: return small(this.view.getBigInt64(this.take(8)));
      case 0xd9: return this.text(this.uint(1));
      case 0xda: return this.text(this.uint(2));
      case 0xdb: return this.text(this.uint(4));
      case 0xdc: return this.array(this.uint(2), depth);
      case 0xdd: return this.array(this.uint(4), depth);
      case 0xde: return this.map(this.uint(2), depth);
      case 0xdf: return this.map(this.uint(4), depth);
      default: throw broken(`type ${type}`);
    }
  }

  uint(width) {
    const at = this.take(width);
    return width === 1 ? this.bytes[at] : width === 2 ? this.view.getUint16(at) : this.view.getUint32(at);
  }

  bin(length) {
    const at = this.take(length);
    return this.bytes.subarray(at, at + length);
  }

  text(length) {
    try {
      return strictTextOf(this.bin(length));
    } catch (error) {
      throw error instanceof ReadError ? error : broken('text is no UTF-8');
    }
  }

  /** Before anything is made for `count` elements of at least one byte each. */
  fits(count, depth) {
    if (depth >= DEEPEST) throw broken('it is nested too deeply');
    if (count > this.bytes.length - this.at) throw broken('it claims more than it has');
  }

  array(count, depth) {
    this.fits(count, depth);
    const out = [];
    for (let n = 0; n < count; n++) out.push(this.value(depth + 1));
    return out;
  }

  map(count, depth) {
    this.fits(2 * count, depth);
    const out = new Map();
    for (let n = 0; n < count; n++) {
      const key = this.value(depth + 1);
      out.set(key, this.value(depth + 1));
    }
    return out;
  }
}

function small(number) {
  const converted = Number(number);
  return Number.isSafeInteger(converted) ? converted : number;
}

/**
 * @param {Uint8Array} bytes exactly one value
 * @returns {any} Throws ReadError `damaged`.
 */
export function decode(bytes) {
  const decoder = new Decoder(bytes);
  const value = decoder.value(0);
  if (decoder.at !== bytes.length) throw broken('something follows it');
  return value;
}
