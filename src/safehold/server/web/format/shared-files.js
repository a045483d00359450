/**
 * What a share gives: its tree, and the bytes of its files.  It answers as a repository does (repository.js), so that the same views
 * and downloads serve both.
 *
 * Whoever made a share may be hostile: references lead forward only, and there is no more of anything than the root announces.
 */
import { hex, textOf } from './bytes.js';
import { DATA } from './chunks.js';
import { beginning, content, readAhead, zeros } from './contents.js';
import { ReadError, require } from './errors.js';
import { isAfter, Manifest, trusted } from './shares.js';
import { checkNames, FILE, FOLDER, Trees } from './trees.js';

/** Bytes of opened segments that are kept for the next file of the same segment. */
const KEPT = 48 * 1024 * 1024;
const KEPT_PARTS = 16;
const TOP = [0, 0];

/** Folders of a share; the id of one is its place: part and number. */
class SharedTrees extends Trees {
  constructor(share) {
    super(null);
    this.share = share;
  }

  /** @param {number[]} place @returns {Promise<{entries: object[]}>} Throws ReadError `share-altered`. */
  read(place) {
    return trusted(() => this.#joined(place));
  }

  async #joined(place) {
    const entries = [];
    for (let at = place; at; ) {
      const { nodes } = await this.share.part(at[0]);
      const node = nodes[at[1]];
      require(node, 'the listing points outside itself');
      for (const entry of node.entries) entries.push(shown(entry, at));
      require(entries.length <= this.share.root.entries, 'the listing holds more than it announces');
      require(!node.more || isAfter(node.more, at), 'the listing points back');
      at = node.more;
    }
    checkNames(entries);
    return { entries };
  }

  /** Everything below a folder; a folder that is reached twice, or more than was announced, is refused. */
  async *walk(place, signal) {
    const { root } = this.share;
    const entered = new Set();
    let count = 0;
    let size = 0;
    for await (const found of super.walk(place, signal)) {
      const { entry } = found;
      size += entry.kind === FILE ? entry.size : 0;
      const known = String(entry.content);
      await trusted(async () => require(++count <= root.entries && size <= root.size && !(entry.kind === FOLDER && entered.has(known)), 'the listing holds more than it announces'));
      if (entry.kind === FOLDER) entered.add(known);
      yield found;
    }
  }
}

/** An entry as views know it. */
function shown(entry, at) {
  require(entry.kind !== FOLDER || isAfter(entry.below, at), 'the listing points back');
  return { ...entry, name: textOf(entry.rawName), part: at[0], content: entry.below, more: new Map([['t', entry.target]]) };
}

function* resolved({ segments }, slices) {
  for (let at = 0; at < slices.length; at += 3) {
    const [number, offset, length] = slices.slice(at, at + 3);
    if (number === 0) yield* zeros(length);
    else yield { length, read: async (share) => (await share.raw(segments[number - 1])).subarray(offset, offset + length) };
  }
}

export class SharedFiles {
  constructor(manifest, source, pool) {
    Object.assign(this, { manifest, source, pool, root: manifest.root, parts: new Map(), opened: new Map(), kept: 0 });
    this.trees = new SharedTrees(this);
  }

  /**
   * @param {object} key ShareKey @param {{manifest: Function, segment: Function}} source where bytes come from; all it gives is checked
   * @param {object} pool of pool.js @returns {Promise<SharedFiles>} Throws ReadError.
   */
  static async open(key, source, pool) {
    return new SharedFiles(await Manifest.open(key, (offset, length) => source.manifest(offset, length)), source, pool);
  }

  /** The folder that was shared. */
  get top() {
    return TOP;
  }

  /** A part of the listing, fetched when somebody looks there. */
  part(number) {
    if (!this.manifest) throw new ReadError('locked', 'the share was closed');
    if (!this.parts.has(number)) {
      const reading = this.manifest.part(number);
      this.parts.set(number, reading);
      reading.catch(() => this.parts.delete(number));
      if (this.parts.size > KEPT_PARTS) this.parts.delete(this.parts.keys().next().value);
    }
    return this.parts.get(number);
  }

  /** What a file is made of, not read yet. */
  async *pieces(entry) {
    let length = 0;
    const counted = (more) => require((length += more) <= entry.size, 'a file has more bytes than its size says');
    const own = await this.part(entry.part);
    for (let at = 2; at < entry.slices.length; at += 3) counted(entry.slices[at]);
    yield* resolved(own, entry.slices);
    for (const number of entry.rest) {
      require(number > entry.part, 'the listing points back');
      const part = await this.part(number);
      counted(part.length);
      yield* resolved(part, part.slices);
    }
    require(length === entry.size, 'a file has fewer bytes than its size says');
  }

  /** @param {object} entry a file @returns {AsyncGenerator<Uint8Array>} its content, verified */
  content(entry, signal) {
    return content(this, entry, this.pieces(entry), signal);
  }

  readAhead(source, signal) {
    return readAhead(this, source, signal);
  }

  beginning(entry, most, signal) {
    return beginning(this.content(entry, signal), Math.min(most, entry.size));
  }

  /** What a segment holds.  Throws ReadError `damaged` where it is not what was shared. */
  raw(segment) {
    const known = hex(segment.id) + segment.object;
    const held = this.opened.get(known);
    this.opened.delete(known);
    const entry = held ?? { size: 0, raw: this.#load(segment) };
    this.opened.set(known, entry);
    if (!held) {
      const forget = () => this.opened.get(known) === entry && this.opened.delete(known);
      entry.raw.then((raw) => this.#keep(entry, raw.length), forget);
    }
    return entry.raw;
  }

  async #load(segment) {
    if (!this.source) throw new ReadError('locked', 'the share was closed');
    const sealed = await this.source.segment(segment);
    const values = { sealed, key: segment.key, id: segment.id, kind: DATA, repository: this.root.repository };
    const raw = await this.pool.run('rawSegment', values, sealed);
    require(raw.length === segment.raw, 'a segment has another length than the listing says');
    return raw;
  }

  #keep(entry, size) {
    entry.size = size;
    this.kept += size;
    for (const [known, each] of this.opened) {
      if (this.kept <= KEPT) return;
      if (!each.size) continue;
      this.kept -= each.size;
      this.opened.delete(known);
    }
  }

  /** Forget keys and everything that was opened. */
  close() {
    this.pool.close();
    this.opened.clear();
    this.parts.clear();
    Object.assign(this, { manifest: null, source: null });
  }
}
