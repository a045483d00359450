/** The content of files: direct names, chunk lists, holes (docs/format/contents.md), and pages (paged.md). */
import { compare, view } from './bytes.js';
import { DATA, MAP } from './chunks.js';
import { nameOf } from './heavy.js';
import { require } from './errors.js';
import { decode } from './msgpack.js';

const BLOCK = 1024 * 1024;
const GROUP = 64;

/**
 * A stretch of a file: zeros, or bytes of a chunk, or a block put together from several.  `read` makes the bytes.
 * @typedef {{length: number, read: (chunks: object) => Promise<Uint8Array>}} Piece
 */

function* rows(data, width) {
  const size = 24 + width;
  require(data.length % size === 0, 'a chunk list is not made of whole rows');
  const fields = view(data);
  for (let at = 0; at < data.length; at += size) {
    const number = width === 4 ? fields.getUint32(at + 24, true) : Number(fields.getBigUint64(at + 24, true));
    yield [data.subarray(at, at + 24), number];
  }
}

async function* listed(chunks, entry) {
  const top = entry.more.get('m');
  if (!top) {
    require(entry.content.length % 24 === 0, 'an entry does not list whole names');
    for (let at = 0; at < entry.content.length; at += 24) {
      const name = entry.content.subarray(at, at + 24);
      yield [name, await chunks.length(DATA, name)];
    }
    return;
  }
  for (const [part] of rows(await chunks.get(MAP, top), 8)) yield* rows(await chunks.get(MAP, part), 4);
}

/** The stretches between holes: `[start, end]` of what has content, in order. */
function filled(entry) {
  const holes = entry.more.get('h') ?? [];
  const edges = [0];
  for (let at = 0; at < holes.length; at += 2) edges.push(holes[at], holes[at] + holes[at + 1]);
  edges.push(entry.size);
  const ascending = edges.every((edge, at) => Number.isSafeInteger(edge) && (at === 0 || edges[at - 1] <= edge));
  require(holes.length % 2 === 0 && ascending, "a file's holes are out of order");
  return Array.from({ length: edges.length / 2 }, (_, n) => [edges[2 * n], edges[2 * n + 1]]);
}

/** Zeros, in pieces that are not large. */
export function* zeros(length) {
  for (let left = length; left > 0; left -= BLOCK) {
    const size = Math.min(left, BLOCK);
    yield { length: size, read: async () => new Uint8Array(size) };
  }
}

function chunkPiece(name, start, length, whole) {
  return {
    length,
    async read(chunks) {
      const data = await chunks.get(DATA, name);
      require(data.length === whole, 'a chunk has another length than its list says');
      return data.subarray(start, start + length);
    },
  };
}

async function* plain(chunks, entry) {
  const source = listed(chunks, entry);
  let current;
  let used = 0;
  let at = 0;
  for (const [start, end] of filled(entry)) {
    yield* zeros(start - at);
    for (at = start; at < end; ) {
      if (!current || used === current[1]) {
        const { value, done } = await source.next();
        require(!done && value[1] > 0, 'a file has less content than its size says');
        [current, used] = [value, 0];
      }
      const length = Math.min(current[1] - used, end - at);
      yield chunkPiece(current[0], used, length, current[1]);
      used += length;
      at += length;
    }
  }
  require((!current || used === current[1]) && (await source.next()).done, 'a file has more content than its size says');
}

function soundBlock(block, length) {
  require(Array.isArray(block) && Array.isArray(block[1]) && block[0] instanceof Uint8Array, 'a page map has another form');
  let at = 0;
  for (const [offset, name, start, size] of block[1]) {
    const sound = offset >= at && size > 0 && start >= 0 && offset + size <= length && name instanceof Uint8Array;
    require(sound, 'a page map describes a block that cannot be');
    at = offset + size;
  }
  require(block[0].length === 0 || block[0].length === 24, 'a page map describes a block that cannot be');
}

function blockPiece([digest, extents], length) {
  return {
    length,
    async read(chunks) {
      const out = new Uint8Array(length);
      const parts = await Promise.all(extents.map(([, name]) => chunks.get(DATA, name)));
      extents.forEach(([offset, , start, size], n) => {
        require(start + size <= parts[n].length, 'a page lies outside its chunk');
        out.set(parts[n].subarray(start, start + size), offset);
      });
      const compared = extents.length === 1 && extents[0][3] === length && compare(extents[0][1], digest) === 0;
      if (digest.length && !compared) {
        require(compare(await nameOf(out, await chunks.namingKey(DATA)), digest) === 0, 'a block of pages is not what was stored');
      }
      return out;
    },
  };
}

async function* paged(chunks, entry) {
  const top = entry.more.get('m');
  require(top, 'a paged file has no map');
  const groups = [...rows(await chunks.get(MAP, top), 8)];
  const total = groups.reduce((sum, [, length]) => sum + length, 0);
  require(total === entry.size && groups.slice(0, -1).every(([, n]) => n === GROUP * BLOCK), 'a page map does not cover its file');
  for (const [name, length] of groups) {
    const blocks = decode(await chunks.get(MAP, name));
    require(Array.isArray(blocks) && blocks.length <= GROUP && blocks.length === Math.ceil(length / BLOCK), 'a page map has other blocks');
    for (const [number, block] of blocks.entries()) {
      const size = Math.min(BLOCK, length - number * BLOCK);
      soundBlock(block, size);
      yield blockPiece(block, size);
    }
  }
}

/**
 * What a file is made of, in order; lengths add up to its size, or ReadError `damaged` is thrown.
 * @param {object} chunks @param {object} entry @returns {AsyncGenerator<Piece>}
 */
export const pieces = (chunks, entry) => (entry.more.get('p') ? paged(chunks, entry) : plain(chunks, entry));

/** Pieces that may be on their way at once, and the bytes they may have together. */
const AHEAD = 8;
const AHEAD_BYTES = 32 * 1024 * 1024;

/**
 * Read pieces ahead: yields what `source` yields, with `bytes` beside, in order.
 * @param {object} chunks @param {AsyncIterable<Piece|object>} source items without `read` pass through
 */
export async function* readAhead(chunks, source, signal) {
  const queue = [];
  let under = 0;
  const iterator = source[Symbol.asyncIterator]();
  let ended = false;
  while (!ended || queue.length) {
    while (!ended && queue.length < AHEAD && under < AHEAD_BYTES) {
      const { value, done } = await iterator.next();
      if ((ended = done)) break;
      const bytes = value.read?.(chunks);
      bytes?.catch(() => {}); // It is awaited below, when its turn comes.
      under += value.length ?? 0;
      queue.push({ item: value, bytes });
    }
    if (!queue.length) return;
    signal?.throwIfAborted();
    const { item, bytes } = queue.shift();
    yield { item, bytes: await bytes };
    under -= item.length ?? 0;
  }
}

/**
 * @param {object} chunks @param {{size: number}} entry @param {AsyncIterable<Piece>} made what it is made of
 * @returns {AsyncGenerator<Uint8Array>} a file's content, piece after piece, verified
 */
export async function* content(chunks, entry, made, signal) {
  let length = 0;
  for await (const { bytes } of readAhead(chunks, made, signal)) {
    length += bytes.length;
    yield bytes;
  }
  require(length === entry.size, 'a file has another length than its entry says');
}

/** @param {AsyncIterable<Uint8Array>} source a file's content @param {number} wanted bytes @returns {Promise<Uint8Array>} so many of its beginning */
export async function beginning(source, wanted) {
  const out = new Uint8Array(wanted);
  let at = 0;
  for await (const bytes of source) {
    out.set(bytes.subarray(0, out.length - at), at);
    at += Math.min(bytes.length, out.length - at);
    if (at === out.length) break;
  }
  return out;
}
