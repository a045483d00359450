/** Chunks by name: found, fetched, opened, and compared with their names (docs/format/segments.md). */
import { hex } from './bytes.js';
import { derive } from './crypto.js';
import { ReadError, require } from './errors.js';
import { cut, forget, SEGMENT_LIMIT } from './heavy.js';
import { Survey } from './packs.js';

export const DATA = 1;
export const TREE = 2;
export const MAP = 3;

/** Bytes of opened segments that are kept for the next chunk of the same segment. */
const KEPT = 48 * 1024 * 1024;

export class Chunks {
  /** @param {object} context store, keyring, pool @param {{find: Function}[]} shards @param {boolean} whole whether they are all */
  constructor(context, shards, whole, report) {
    Object.assign(this, { context, shards, whole, report });
    this.opened = new Map();
    this.kept = 0;
    this.naming = new Map();
  }

  /** The key that names chunks of a kind. */
  async namingKey(kind) {
    if (!this.naming.has(kind)) {
      this.naming.set(kind, await derive(this.context.keyring.idKey, Uint8Array.of(...PREFIX, kind)));
    }
    return this.naming.get(kind);
  }

  #places(kind, name) {
    return this.shards.flatMap((shard) => shard.find(kind, name));
  }

  /** Where a chunk may lie, best first; asks the packs themselves where the index has gaps. */
  async places(kind, name) {
    require(name instanceof Uint8Array && name.length === 24, 'a chunk has no name');
    const found = this.#places(kind, name);
    if (found.length || this.whole) return found;
    await this.#survey();
    return this.#places(kind, name);
  }

  async #survey() {
    this.surveying ??= Survey.of(this.context, this.report);
    const survey = await this.surveying;
    if (!this.whole) this.shards.push(survey);
    this.whole = true;
  }

  /** The length of a chunk, by the index. */
  async length(kind, name) {
    const [place] = await this.places(kind, name);
    if (!place) throw lost(name);
    return place.length;
  }

  /** @param {number} kind @param {Uint8Array} name @returns {Promise<Uint8Array>} a view.  Throws ReadError. */
  async get(kind, name) {
    let problem = lost(name);
    for (const place of await this.places(kind, name)) {
      try {
        return await this.#from(place, kind, name);
      } catch (error) {
        if (error.code !== 'damaged' && error.code !== 'missing') throw error;
        problem = error;
      }
    }
    throw problem.code === 'missing' ? lost(name) : problem;
  }

  async #from(place, kind, name) {
    const namingKey = await this.namingKey(kind);
    const chunk = { name, offset: place.offset, length: place.length };
    const known = hex(place.segment) + kind;
    const kept = this.opened.get(known);
    if (kept) {
      // To the end of the line of those that are dropped.
      this.opened.delete(known);
      this.opened.set(known, kept);
      const shared = await kept.raw.catch(() => null); // Opened for another chunk, whose fault it may have been.
      if (shared) return cut(shared, chunk, namingKey);
    }
    const raw = await this.#open(place, known, chunk, namingKey);
    require(chunk.offset + chunk.length <= raw.length, 'a chunk lies outside its segment');
    return raw.subarray(chunk.offset, chunk.offset + chunk.length);
  }

  #open(place, known, chunk, namingKey) {
    const entry = { size: 0, raw: this.#fetch(place, chunk, namingKey) };
    this.opened.set(known, entry);
    entry.raw.then(
      (raw) => {
        entry.size = raw.length;
        this.kept += raw.length;
        this.#drop();
      },
      () => this.opened.delete(known),
    );
    return entry.raw;
  }

  async #fetch({ pack, kind, segment, at, size, session }, chunk, namingKey) {
    require(size <= SEGMENT_LIMIT + 1024, 'a segment is longer than any can be');
    const { store, keyring, pool } = this.context;
    const [sealed, key] = await Promise.all([store.getRange(`packs/${pack.slice(0, 2)}/${pack}`, at, size), keyring.sessionKey(session)]);
    const values = { sealed, key, id: segment.slice(), kind, repository: keyring.repository, namingKey, wanted: [chunk] };
    return pool.run('openSegment', values, sealed);
  }

  #drop() {
    for (const [known, entry] of this.opened) {
      if (this.kept <= KEPT) return;
      if (!entry.size) continue;
      this.kept -= entry.size;
      this.opened.delete(known);
    }
  }

  /** Forget everything. */
  close() {
    this.opened.clear();
    this.naming.clear();
    forget();
  }
}

const PREFIX = new TextEncoder().encode('safehold/1 names ');
const lost = (name) => new ReadError('damaged', `the chunk ${hex(name)} is in no pack`);
