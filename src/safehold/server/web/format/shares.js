/**
 * Shares (docs/format/shares.md): from the end of a link, and a password, to the keys; and the sealed manifest, of which parts are
 * fetched when somebody looks there.
 */
import { concat, equal, unhex, utf8, view } from './bytes.js';
import { derive, extracted, unseal } from './crypto.js';
import { ReadError, require } from './errors.js';
import { SEGMENT_LIMIT, unpack } from './heavy.js';
import { requireCost } from './keys.js';
import { decode } from './msgpack.js';
import { checkNames, FILE, FOLDER, SYMLINK } from './trees.js';

const VERSION = '1';
const SECRET = /^[A-Za-z0-9_-]{22}$/;
const HASH = /^[A-Za-z0-9_-]{43}$/;
const MAGIC = utf8('SHSHARE1');
const HEADER = 76;
const LIMIT = 16 * 1024 * 1024;
/** Bytes that are asked for first: the root of a small share is among them. */
const FIRST = 64 * 1024;
const SLICE = 3;
const NONE = new Uint8Array(0);
const LATEST = (1n << 63n) - 1n;

/** @param {number} number @returns {Uint8Array} four bytes, little-endian */
export function le32(number) {
  const out = new Uint8Array(4);
  view(out).setUint32(0, number, true);
  return out;
}

function decoded(text, form, size) {
  const body = text.slice(1);
  const known = text.startsWith(VERSION) && form.test(body);
  const bytes = known ? Uint8Array.from(atob(body.replace(/-/g, '+').replace(/_/g, '/')), (char) => char.charCodeAt(0)) : null;
  const again = known && btoa(String.fromCharCode(...bytes)).replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '');
  if (bytes?.length !== size || again !== body) throw new ReadError('share-link', 'the end of the link is not whole');
  return bytes;
}

/** @param {string} text what stands behind `#` of a share's link @returns {Uint8Array} 16 bytes.  Throws ReadError `share-link`. */
export const secretOf = (text) => decoded(text, SECRET, 16);

/** @param {string} text what stands behind `#` of a request's link @returns {Uint8Array} hash of its public key.  Throws ReadError `share-link`. */
export const hashOf = (text) => decoded(text, HASH, 32);

/**
 * @typedef {object} Lock
 * @property {Uint8Array} salt 16 bytes @property {boolean} secret whether the link's secret takes part
 * @property {number[]|null} cost of the password: memory in KiB, passes, lanes; null: there is none
 */

/**
 * @param {string} share id in hexadecimal @param {Lock} lock @param {Uint8Array|null} secret @param {string} password
 * @param {object} pool of pool.js @returns {Promise<ShareKey>} Throws ReadError `kdf` for a cost that is not allowed, `share-altered` for a lock that locks nothing.
 */
export async function shareKey(share, lock, secret, password, pool) {
  const id = unhex(share);
  const sound = lock.salt.length === 16 && id.length === 16 && (lock.secret || lock.cost);
  if (!sound) throw new ReadError('share-altered', 'the share asks for no key at all');
  if (lock.secret && !secret) throw new ReadError('share-link', 'the end of the link is missing');
  let material = lock.secret ? secret : new Uint8Array(0);
  if (lock.cost) {
    const [memory, passes, lanes] = lock.cost;
    requireCost({ memory, passes, lanes });
    material = concat(material, await pool.run('stretch', { passphrase: password, salt: lock.salt, memory, passes, lanes }));
  }
  return new ShareKey(id, await derive(await extracted(lock.salt, material), concat(utf8('safehold/1 share key '), id)));
}

/** K of a share. */
export class ShareKey {
  constructor(share, key) {
    Object.assign(this, { share, key });
  }

  #of(what) {
    return derive(this.key, concat(utf8(`safehold/1 share ${what} `), this.share));
  }

  /** What is shown to a server as proof. */
  auth() {
    return this.#of('auth');
  }

  /** Fixes a manifest to this key. */
  commitment() {
    return this.#of('commitment');
  }

  async partKey(manifest, number) {
    const own = await derive(this.key, concat(utf8('safehold/1 share manifest '), this.share, manifest));
    return derive(own, concat(utf8('safehold/1 share part '), le32(number)));
  }
}

const isBytes = (value, length) => value instanceof Uint8Array && value.length === length;
const isSize = (value) => Number.isSafeInteger(value) && value >= 0;
const isTime = (value) => (Number.isInteger(value) || typeof value === 'bigint') && BigInt(value) >= -LATEST && BigInt(value) <= LATEST;
const isPlace = (value) => Array.isArray(value) && value.length === 2 && value.every(isSize);

/** Whether a place lies further on: so nothing leads in circles. */
export const isAfter = ([part, number], [earlierPart, earlierNumber]) => part > earlierPart || (part === earlierPart && number > earlierNumber);

function segmentOf(fields) {
  require(Array.isArray(fields) && fields.length >= 4, 'a segment has another form');
  const [id, key, raw, length, object = 0, offset = 0, pack = NONE] = fields;
  const sound = isBytes(id, 16) && isBytes(key, 32) && isSize(object) && isSize(offset) && (isBytes(pack, 0) || isBytes(pack, 32));
  require(sound && isSize(raw) && raw > 0 && raw <= SEGMENT_LIMIT && isSize(length) && length > 0 && length <= SEGMENT_LIMIT + 1024, 'there is a segment that cannot be');
  return { id: id.slice(), key: key.slice(), raw, length, object, offset };
}

/** The bytes of slices together.  Throws ReadError `damaged` for any outside its segment. */
function lengthOf(slices, segments) {
  require(Array.isArray(slices) && slices.length % SLICE === 0, 'there is half a slice');
  let total = 0;
  for (let at = 0; at < slices.length; at += SLICE) {
    const [number, offset, length] = slices.slice(at, at + SLICE);
    require(isSize(number) && number <= segments.length && isSize(offset) && isSize(length) && length > 0, 'a slice points outside the listing');
    require(number === 0 || offset + length <= segments[number - 1].raw, 'a slice points outside its segment');
    total += length;
  }
  return total;
}

function checkHoles(holes, size) {
  require(Array.isArray(holes) && holes.length % 2 === 0 && holes.every(isSize), 'a file has other holes');
  let end = 0;
  for (let at = 0; at < holes.length; at += 2) {
    require(holes[at] >= end && holes[at + 1] > 0, 'a file has holes that cannot be');
    end = holes[at] + holes[at + 1];
  }
  require(end <= size, 'a file has holes beyond its end');
}

function entryOf(fields, segments) {
  require(Array.isArray(fields) && fields.length >= 4, 'an entry has another form');
  const [name, kind, mode, mtime, size = 0, slices = [], target = NONE, holes = [], below = null, rest = []] = fields;
  require(name instanceof Uint8Array && target instanceof Uint8Array, 'an entry has another form');
  const known = [FILE, FOLDER, SYMLINK].includes(kind) && isSize(mode) && mode <= 0o777 && isTime(mtime);
  require(known && isSize(size) && Array.isArray(rest) && rest.every(isSize), 'there is an entry that cannot be');
  require(kind === FOLDER ? isPlace(below) : below === null, 'a folder leads nowhere');
  const length = lengthOf(slices, segments);
  require(kind !== FILE || rest.length > 0 || length === size, 'a file does not have the bytes that its size says');
  checkHoles(holes, size);
  return { rawName: name, kind, mode, mtime: BigInt(mtime), size, slices, target, below, rest };
}

function nodeOf(fields, segments) {
  require(Array.isArray(fields), 'a folder has another form');
  const [entries = [], more = null] = fields;
  require(Array.isArray(entries) && (more === null || isPlace(more)), 'a folder has another form');
  const made = entries.map((entry) => entryOf(entry, segments));
  checkNames(made);
  return { entries: made, more };
}

function partOf(fields) {
  require(Array.isArray(fields), 'a part has another form');
  const [segments = [], nodes = [], slices = []] = fields;
  require(Array.isArray(segments) && Array.isArray(nodes), 'a part has another form');
  const made = segments.map(segmentOf);
  return { segments: made, nodes: nodes.map((node) => nodeOf(node, made)), slices, length: lengthOf(slices, made) };
}

function rootOf(fields, share) {
  require(Array.isArray(fields) && fields.length >= 9, 'the root has another form');
  const [id, repository, name, taken, made, generation, entries, size, part, parts = [], objects = []] = fields;
  const times = isTime(taken) && isTime(made);
  require(isBytes(id, 16) && equal(id, share) && isBytes(repository, 16) && typeof name === 'string' && times, 'the root is of another share');
  require(isSize(generation) && isSize(entries) && isSize(size) && Array.isArray(parts) && parts.every(isPlace) && Array.isArray(objects), 'the root has another form');
  return { repository: repository.slice(), name, taken: BigInt(taken), generation, entries, size, part: partOf(part), parts };
}

/** Whatever is wrong with a listing, somebody changed it, or it is damaged: nothing of it is used. */
export async function trusted(reading) {
  try {
    return await reading();
  } catch (error) {
    if (error.code !== 'damaged') throw error;
    throw new ReadError('share-altered', error.message);
  }
}

/** An opened manifest. */
export class Manifest {
  constructor(key, id, fetch, begins) {
    Object.assign(this, { key, id, fetch, begins });
  }

  /**
   * @param {ShareKey} key @param {(offset: number, length: number) => Promise<Uint8Array>} fetch bytes of the manifest object, fewer at its end
   * @returns {Promise<Manifest>} Throws ReadError `wrong-key`, `share-altered`.
   */
  static open(key, fetch) {
    return trusted(async () => {
      const begin = await fetch(0, FIRST);
      require(begin.length >= HEADER && equal(begin.subarray(0, 8), MAGIC), 'this is no listing of a share');
      const length = view(begin).getUint32(72, true);
      require(length <= LIMIT && equal(begin.subarray(8, 24), key.share), 'the listing is of another share');
      if (!equal(begin.subarray(40, 72), await key.commitment())) throw new ReadError('wrong-key', 'that key does not open this share');
      const manifest = new Manifest(key, begin.slice(24, 40), fetch, HEADER + length);
      const top = begin.subarray(HEADER, HEADER + length);
      const rest = top.length < length ? await fetch(HEADER + top.length, length - top.length) : new Uint8Array(0);
      require(top.length + rest.length === length, 'the listing is cut off');
      manifest.root = rootOf(await manifest.#opened(0, concat(top, rest)), key.share);
      return manifest;
    });
  }

  /** @param {number} number @returns {Promise<object>} a part: segments, nodes, slices.  Throws ReadError `share-altered`. */
  part(number) {
    return trusted(async () => {
      if (number === 0) return this.root.part;
      const place = this.root.parts[number - 1];
      require(place && place[1] <= LIMIT, 'the listing points outside itself');
      const sealed = await this.fetch(this.begins + place[0], place[1]);
      require(sealed.length === place[1], 'the listing is cut off');
      return partOf(await this.#opened(number, sealed));
    });
  }

  async #opened(number, sealed) {
    const bound = concat(utf8('safehold/1 share part\0'), this.key.share, this.id, le32(number));
    const packed = await unseal(await this.key.partKey(this.id, number), sealed, bound);
    return decode(await unpack(packed, LIMIT));
  }
}
