/** A repository of format 1, opened (docs/format/README.md): what the pages and the tests read with. */
import { Chunks } from './chunks.js';
import * as config from './config.js';
import { beginning, content, pieces, readAhead } from './contents.js';
import { verify } from './crypto.js';
import { ReadError } from './errors.js';
import { hex } from './bytes.js';
import { load } from './index.js';
import { openKeys } from './keys.js';
import { readSnapshots, trash } from './snapshots.js';
import { Trees } from './trees.js';

const silent = () => {};

/**
 * @typedef {object} Store
 * @property {(key: string, most?: number) => Promise<Uint8Array>} get a whole object
 * @property {(key: string, start: number, length: number) => Promise<Uint8Array>} getRange exactly so many bytes
 * @property {(prefix: string) => Promise<{key: string, size: number}[]>} list
 * All throw ReadError: `missing` where there is no such object, `network` where the store stopped in the middle, `damaged`
 * where an object ends before the range does.
 */

export class Repository {
  constructor(context, parameters, options) {
    Object.assign(this, { context, id: hex(parameters.id), keyring: context.keyring, report: options.report ?? silent });
  }

  /**
   * @param {Store} store @param {object} credential of credentials.js
   * @param {object} options `pool` (pool.js) and, where wanted, `report` (a warning: {code, key, message}), `seen(id)` (what this
   *   browser remembers: {epoch, retired}), `remember(id, seen)`
   * @returns {Promise<Repository>} Throws ReadError.
   */
  static async open(store, credential, options) {
    let problem;
    for (const key of ['config', 'config-copy']) {
      try {
        return await Repository.#openWith(await store.get(key, 1024 * 1024), store, credential, options);
      } catch (error) {
        if (!(error instanceof ReadError)) throw error;
        if (!['damaged', 'missing', 'wrong-key'].includes(error.code)) throw error;
        // Both may be whole and the key wrong: the first error then says it.
        problem = problem && problem.code !== 'missing' ? problem : error;
        if (error.code === 'damaged') (options.report ?? silent)({ code: 'config-damaged', key, message: error.message });
      }
    }
    throw problem;
  }

  static async #openWith(data, store, credential, options) {
    const parameters = config.parse(data);
    const seen = options.seen?.(hex(parameters.id));
    const keyring = await openKeys(store, parameters.id, credential, { pool: options.pool, seen, report: options.report });
    await verify(keyring.admin, 'config', parameters.id, parameters.line, parameters.signature);
    options.remember?.(hex(parameters.id), { epoch: keyring.epoch, retired: keyring.retired });
    return new Repository({ store, keyring, pool: options.pool }, parameters, options);
  }

  /** Read the keys anew, after they were changed.  Throws ReadError. */
  async rereadKeys(credential) {
    const { store, keyring, pool } = this.context;
    const seen = { epoch: keyring.epoch, retired: keyring.retired };
    const found = await openKeys(store, keyring.repository, credential, { pool, seen, report: this.report });
    this.context.keyring = found;
    this.keyring = found;
  }

  /** @returns {Promise<{snapshots: object[], trashed: object[]}>} oldest first */
  async snapshots(progress = silent) {
    const hidden = await trash(this.context, this);
    const all = await readSnapshots(this.context, { report: this.report, progress });
    return { snapshots: all.filter(({ id }) => !hidden.has(id)), trashed: all.filter(({ id }) => hidden.has(id)) };
  }

  /** Read the index; folders and files can be read afterwards. */
  async loadIndex(progress = silent) {
    const { shards, whole } = await load(this.context, { report: this.report, progress });
    this.chunks = new Chunks(this.context, shards, whole, this.report);
    this.trees = new Trees(this.chunks);
  }

  /** @param {object} entry a file @param {AbortSignal} [signal] @returns {AsyncGenerator<Uint8Array>} its content, verified */
  content(entry, signal) {
    return content(this.chunks, entry, this.pieces(entry), signal);
  }

  /** What a file is made of (contents.js), not read yet. */
  pieces(entry) {
    return pieces(this.chunks, entry);
  }

  /** Read pieces of many files ahead (contents.js). */
  readAhead(source, signal) {
    return readAhead(this.chunks, source, signal);
  }

  /** @param {object} entry a file @param {number} most bytes @returns {Promise<Uint8Array>} the beginning of its content */
  beginning(entry, most, signal) {
    return beginning(this.content(entry, signal), Math.min(most, entry.size));
  }

  /** Forget keys and everything that was opened. */
  close() {
    this.chunks?.close();
    this.context.pool.close();
    Object.assign(this, { chunks: null, trees: null, keyring: null, context: { store: null, keyring: null, pool: null } });
  }
}
