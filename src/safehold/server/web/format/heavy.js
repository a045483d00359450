/**
 * The work that takes time: deriving from a passphrase, opening and unpacking what is sealed, hashing.  Pure functions of bytes, so
 * that they run in a worker (pool.js) as well as where they are called.
 */
import '../vendor/argon2.umd.min.js';
import '../vendor/blake3.umd.min.js';
import { concat, equal, utf8, view } from './bytes.js';
import { derive, unseal } from './crypto.js';
import { require } from './errors.js';
import { decompress, ready } from './zstd.js';

const { argon2id, createBLAKE3 } = globalThis.hashwasm;

export const SEGMENT_LIMIT = 16 * 1024 * 1024;
export const OBJECT_LIMIT = 256 * 1024 * 1024;
export const NAME_SIZE = 24;

/** Argon2id (RFC 9106): the 32 bytes that a passphrase stands for. */
export async function stretch({ passphrase, salt, memory, passes, lanes }) {
  const password = utf8(passphrase.normalize('NFC'));
  return argon2id({ password, salt, parallelism: lanes, iterations: passes, memorySize: memory, hashLength: 32, outputType: 'binary' });
}

/** docs/format/segments.md, "Packed payload". */
export async function unpack(payload, limit) {
  require(payload.length >= 9, 'a payload is too short');
  const header = view(payload);
  const method = header.getUint8(0);
  const raw = header.getUint32(1, true);
  const packed = header.getUint32(5, true);
  require(method <= 2 && raw <= limit && packed <= payload.length - 9, 'a payload is not of this format');
  const body = payload.subarray(9, 9 + packed);
  if (method > 0) {
    await ready();
    const data = decompress(body, raw);
    return method === 2 ? fromColumns(data) : data;
  }
  require(raw === packed, 'a payload has another length than it claims');
  return body.slice();
}

const WIDTH = 16;

/** docs/format/segments.md, "Columns". */
function fromColumns(columns) {
  const data = new Uint8Array(columns.length);
  let at = 0;
  for (let first = 0; first < WIDTH; first += 1) {
    for (let to = first; to < data.length; to += WIDTH) data[to] = columns[at++];
  }
  return data;
}

const hashers = new Map();

async function hasher(key) {
  const known = String(key);
  if (!hashers.has(known)) hashers.set(known, await createBLAKE3(NAME_SIZE * 8, key));
  return hashers.get(known);
}

/** The name of a chunk: BLAKE3 keyed with the naming key of its kind, 24 bytes. */
export async function nameOf(bytes, namingKey) {
  const hash = await hasher(namingKey);
  return hash.init().update(bytes).digest('binary');
}

/** Forget the naming keys. */
export const forget = () => hashers.clear();

/** What a segment holds. @param {{sealed: Uint8Array, key: Uint8Array, id: Uint8Array, kind: number, repository: Uint8Array}} task `key` is its own */
export async function rawSegment({ sealed, key, id, kind, repository }) {
  const bound = concat(utf8('safehold/1 segment\0'), repository, Uint8Array.of(kind), id);
  return unpack(await unseal(key, sealed, bound), SEGMENT_LIMIT);
}

/**
 * A segment's raw bytes.  `wanted` are chunks whose names are compared here already.
 * @param {{sealed: Uint8Array, key: Uint8Array, id: Uint8Array, kind: number, repository: Uint8Array, namingKey: Uint8Array,
 *   wanted: {name: Uint8Array, offset: number, length: number}[]}} task `key` is the session's
 */
export async function openSegment({ sealed, key, id, kind, repository, namingKey, wanted }) {
  const segmentKey = await derive(key, concat(utf8('safehold/1 segment '), id));
  const raw = await rawSegment({ sealed, key: segmentKey, id, kind, repository });
  for (const chunk of wanted) await cut(raw, chunk, namingKey);
  return raw;
}

/** A chunk's bytes out of its segment (a view).  Throws ReadError `damaged` where they are not what its name says. */
export async function cut(raw, { name, offset, length }, namingKey) {
  const bytes = raw.subarray(offset, offset + length);
  require(bytes.length === length && equal(await nameOf(bytes, namingKey), name), 'a chunk is not what its name says');
  return bytes;
}

/** The body of a sealed object: `key` is the object's. */
export async function openObject({ sealed, key, bound }) {
  return unpack(await unseal(key, sealed, bound), OBJECT_LIMIT);
}

/** What a worker may be asked to do. */
export const TASKS = { stretch, openSegment, rawSegment, openObject };

