/**
 * From a chunk's name to its places (docs/format/index.md).  Shards stay as they were stored: a search is a bisection over an array of
 * numbers, and nothing is made for a chunk that nobody asks for.
 */
import { equal, hex, textOf, view } from './bytes.js';
import { require } from './errors.js';
import { decode } from './msgpack.js';
import * as objects from './objects.js';

/** @typedef {{pack: string, kind: number, segment: Uint8Array, at: number, size: number, session: any[], offset: number, length: number}} Place */

export class Shard {
  /** @param {Uint8Array} body Throws ReadError `damaged`. */
  constructor(body) {
    // Columns of numbers must begin at a multiple of their width.
    this.body = body.byteOffset % 8 ? body.slice() : body;
    this.view = view(this.body);
    require(body.length >= 32 && textOf(body.subarray(0, 8)) === 'SHINDEX1', 'an index shard does not begin as one does');
    this.chunks = Number(this.view.getBigUint64(8, true));
    this.segments = this.view.getUint32(16, true);
    this.packs = this.view.getUint32(20, true);
    const tail = Number(this.view.getBigUint64(24, true));
    this.rests = 32 + 8 * this.chunks;
    this.places = this.rests + 16 * this.chunks;
    this.segmentRows = this.places + 12 * this.chunks;
    this.packRows = this.segmentRows + 32 * this.segments;
    const end = this.packRows + 48 * this.packs;
    require(end + tail === body.length, 'the parts of an index shard do not add up');
    const [sessions, replaces = []] = decode(this.body.subarray(end));
    require(Array.isArray(sessions) && Array.isArray(replaces), 'the tail of an index shard has another form');
    Object.assign(this, { sessions, replaces });
    this.halves = new Uint32Array(this.body.buffer, this.body.byteOffset + 32, 2 * this.chunks);
  }

  /** The first row whose prefix is not below these two halves. */
  #bisect(high, low) {
    let from = 0;
    let to = this.chunks;
    while (from < to) {
      const middle = (from + to) >>> 1;
      const above = this.halves[2 * middle + 1];
      if (above < high || (above === high && this.halves[2 * middle] < low)) from = middle + 1;
      else to = middle;
    }
    return from;
  }

  /** @param {number} kind @param {Uint8Array} name @returns {Place[]} */
  find(kind, name) {
    const prefix = view(name);
    const high = prefix.getUint32(0);
    const low = prefix.getUint32(4);
    const found = [];
    for (let row = this.#bisect(high, low); row < this.chunks; row++) {
      if (this.halves[2 * row + 1] !== high || this.halves[2 * row] !== low) break;
      const rest = this.rests + 16 * row;
      if (!equal(this.body.subarray(rest, rest + 16), name.subarray(8))) continue;
      const place = this.#place(row);
      if (place?.kind === kind) found.push(place);
    }
    return found;
  }

  /** Undefined where a number points outside its table. */
  #place(row) {
    const at = this.places + 12 * row;
    const number = this.view.getUint32(at, true);
    if (number >= this.segments) return undefined;
    const segment = this.segmentRows + 32 * number;
    const packNumber = this.view.getUint32(segment + 16, true);
    const session = this.sessions[this.view.getUint32(segment + 20, true)];
    if (packNumber >= this.packs || !session) return undefined;
    const pack = this.packRows + 48 * packNumber;
    return {
      pack: hex(this.body.subarray(pack, pack + 32)),
      kind: this.body[pack + 40],
      segment: this.body.subarray(segment, segment + 16),
      at: this.view.getUint32(segment + 24, true),
      size: this.view.getUint32(segment + 28, true),
      session,
      offset: this.view.getUint32(at + 4, true),
      length: this.view.getUint32(at + 8, true),
    };
  }
}

const AT_ONCE = 4;

/**
 * Read every shard.
 * @returns {Promise<{shards: Shard[], whole: boolean}>} `whole` is false where one could not be read: then packs may know more
 */
export async function load(context, { report, progress }) {
  const listed = await context.store.list('index/');
  const found = [];
  let whole = listed.length > 0;
  let done = 0;
  const waiting = [...listed];
  const next = async () => {
    for (let info = waiting.shift(); info; info = waiting.shift()) {
      const name = info.key.slice('index/'.length);
      try {
        const { body, device } = await objects.open(context, 'index', name, await context.store.get(info.key));
        found.push({ name, device, shard: new Shard(body) });
      } catch (error) {
        if (error.code !== 'damaged' && error.code !== 'missing') throw error;
        whole = false;
        report({ code: 'shard-ignored', key: info.key, message: error.message });
      }
      progress(++done, listed.length);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, next));
  // A writer may not say that its shard stands for others.
  const replaced = new Set(found.flatMap(({ device, shard }) => (device.role === 'writer' ? [] : shard.replaces)));
  return { shards: found.filter(({ name }) => !replaced.has(name)).map(({ shard }) => shard), whole };
}
