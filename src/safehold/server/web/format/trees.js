/** Folders (docs/format/trees.md). */
import { compare, hex, textOf } from './bytes.js';
import { TREE } from './chunks.js';
import { ReadError, require } from './errors.js';
import { decode } from './msgpack.js';

export const FILE = 0;
export const FOLDER = 1;
export const SYMLINK = 2;
const KINDS = 7;
/** Folders in folders that anybody walks into; a path of the usual systems has 2048 names at the most. */
export const DEEPEST = 4096;

/**
 * @typedef {object} Entry
 * @property {Uint8Array} rawName as the system gave it @property {string} name for people
 * @property {number} kind @property {number} mode @property {number} uid @property {number} gid
 * @property {bigint} mtime nanoseconds since 1970 @property {number} size of a file; of a folder that of all below
 * @property {Uint8Array} content @property {Map} more
 */

function entryOf(fields) {
  require(Array.isArray(fields) && fields.length >= 10, 'an entry has another form');
  const [rawName, kind, mode, uid, gid, mtime, , size, , content, more = null] = fields;
  require(rawName instanceof Uint8Array && content instanceof Uint8Array, 'an entry has another form');
  require(Number.isInteger(kind) && kind >= 0 && kind < KINDS && Number.isSafeInteger(size) && size >= 0, 'an entry has another form');
  require(more === null || more instanceof Map, 'an entry has another form');
  const details = more ?? new Map();
  const totals = kind === FOLDER ? details.get('s') : undefined;
  return {
    rawName, name: textOf(rawName), kind, mode, uid, gid, mtime: BigInt(mtime), content, more: details,
    size: totals ? Number(totals[3]) : size, totals: totals?.map(Number),
  };
}

function isForbidden(name) {
  if (name.length === 0 || name.includes(0) || name.includes(47)) return true;
  return name.every((byte) => byte === 46) && name.length <= 2;
}

/** Throw `damaged` for a name that leads elsewhere, comes twice, or is out of order. @param {Entry[]} entries */
export function checkNames(entries) {
  let before = new Uint8Array(0);
  for (const { rawName } of entries) {
    require(!isForbidden(rawName) && compare(before, rawName) < 0, 'a folder holds a name that is not allowed there');
    before = rawName;
  }
}

async function node(chunks, id) {
  const fields = decode(await chunks.get(TREE, id));
  require(Array.isArray(fields) && Array.isArray(fields[0]), 'a folder has another form');
  const [entries, owners = new Map(), groups = new Map(), parts = []] = fields;
  require(owners instanceof Map && groups instanceof Map && Array.isArray(parts), 'a folder has another form');
  return { entries: entries.map(entryOf), owners, groups, parts };
}

/** Reads folders, and keeps the last few. */
export class Trees {
  constructor(chunks) {
    this.chunks = chunks;
    this.kept = new Map();
  }

  /** @param {Uint8Array} id @returns {Promise<{entries: Entry[], owners: Map, groups: Map}>} Throws ReadError. */
  read(id) {
    const known = hex(id);
    if (!this.kept.has(known)) {
      const reading = this.#join(id);
      this.kept.set(known, reading);
      reading.catch(() => this.kept.delete(known));
      if (this.kept.size > 256) this.kept.delete(this.kept.keys().next().value);
    }
    return this.kept.get(known);
  }

  async #join(id) {
    const whole = await node(this.chunks, id);
    const parts = await Promise.all(whole.parts.map((part) => node(this.chunks, part)));
    require(parts.every(({ parts: deeper }) => !deeper.length), 'a part of a folder has parts');
    const entries = whole.entries.concat(...parts.map((part) => part.entries));
    checkNames(entries);
    return { entries, owners: whole.owners, groups: whole.groups };
  }

  /**
   * The entry at a path; undefined where there is none; the root for no names.
   * @param {Uint8Array} root tree id @param {Uint8Array[]} names
   */
  async find(root, names) {
    let entry = { kind: FOLDER, content: root, name: '', rawName: new Uint8Array(0), more: new Map(), size: 0 };
    for (const name of names) {
      if (entry?.kind !== FOLDER) return undefined;
      const { entries } = await this.read(entry.content);
      entry = entries.find((each) => compare(each.rawName, name) === 0);
    }
    return entry;
  }

  /**
   * Everything below a folder, each folder before what is in it: `{path: Uint8Array[], entry}`.
   * @param {Uint8Array} root tree id @param {AbortSignal} [signal]
   */
  async *walk(root, signal) {
    const stack = [{ path: [], entries: (await this.read(root)).entries, at: 0 }];
    while (stack.length) {
      signal?.throwIfAborted();
      const top = stack[stack.length - 1];
      if (top.at === top.entries.length) {
        stack.pop();
        continue;
      }
      const entry = top.entries[top.at++];
      const path = [...top.path, entry.rawName];
      yield { path, entry };
      if (entry.kind === FOLDER) {
        if (stack.length >= DEEPEST) throw new ReadError('damaged', 'folders are nested too deeply');
        stack.push({ path, entries: (await this.read(entry.content)).entries, at: 0 });
      }
    }
  }
}
