/**
 * Reads a repository with the pages' own reader and says what it found, as JSON.
 *
 *     node read.mjs < {"folder", "passphrase" | "keyFile" | "words", "what": "list" | "describe" | "walk", "seen", "flips": [[key, offset], ...]}
 *
 * `walk`: goes through all folders.  `describe`: for every snapshot, path (hexadecimal) -> record; what cannot be read has `error`.  With `flips`: a list of results, one for
 * each, read from a store in which that one bit is wrong.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { concat, hex, utf8 } from '../../src/safehold/server/web/format/bytes.js';
import * as credentials from '../../src/safehold/server/web/format/credentials.js';
import { InlinePool } from '../../src/safehold/server/web/format/pool.js';
import { Repository } from '../../src/safehold/server/web/format/repository.js';
import { FileStore } from './file-store.mjs';

const KINDS = ['file', 'directory', 'symlink', 'fifo', 'socket', 'char-device', 'block-device'];
const order = JSON.parse(readFileSync(0, 'utf8'));
let warnings = [];

class FlippedStore extends FileStore {
  constructor(folder, [key, offset]) {
    super(folder);
    Object.assign(this, { key, offset });
  }

  async get(key) {
    return this.#flip(key, 0, await super.get(key));
  }

  async getRange(key, start, length) {
    return this.#flip(key, start, await super.getRange(key, start, length));
  }

  #flip(key, start, bytes) {
    if (key === this.key && this.offset >= start && this.offset < start + bytes.length) bytes[this.offset - start] ^= 1;
    return bytes;
  }
}

function credential() {
  if (order.keyFile) return credentials.ofKeyFile(order.keyFile);
  if (order.words) return credentials.ofWords(order.words);
  return credentials.ofPassphrase(order.passphrase);
}

const joined = (path) => hex(path.reduce((all, name) => (all.length ? concat(all, utf8('/'), name) : name), new Uint8Array(0)));

async function record(repository, entry) {
  const made = { kind: KINDS[entry.kind], uid: entry.uid, gid: entry.gid, mtime_ns: String(entry.mtime), mode: entry.mode };
  const { more } = entry;
  made.xattrs = Object.fromEntries([...(more.get('x') ?? [])].map(([name, value]) => [hex(name), hex(value)]));
  if (more.has('l')) made.link = String(more.get('l'));
  if (more.has('d')) made.device = more.get('d');
  if (entry.kind === 2) made.target = hex(more.get('t'));
  if (entry.kind !== 0) return made;
  const sum = createHash('sha256');
  try {
    for await (const bytes of repository.content(entry)) sum.update(bytes);
  } catch (error) {
    return { ...made, error: error.code };
  }
  return { ...made, size: entry.size, holes: more.get('h') ?? [], sha256: sum.digest('hex') };
}

async function describe(repository, { tree }) {
  const found = {};
  if (order.what === 'walk') {
    for await (const { entry } of repository.trees.walk(tree)) found.last = entry.kind;
    return found;
  }
  for await (const { path, entry } of repository.trees.walk(tree)) found[joined(path)] = await record(repository, entry);
  return found;
}

async function run(store) {
  warnings = [];
  const options = { pool: new InlinePool(), report: (warning) => warnings.push(warning), seen: () => order.seen };
  const repository = await Repository.open(store, await credential(), options);
  const { keyring } = repository;
  const listed = await repository.snapshots();
  const result = {
    role: keyring.role, label: keyring.label, epoch: keyring.epoch, retired: keyring.retired,
    snapshots: listed.snapshots.map(({ id }) => id), trashed: listed.trashed.map(({ id }) => id),
    idKey: hex(keyring.idKey), indexKey: hex(keyring.indexKey), admin: hex(keyring.admin),
    privates: Object.fromEntries([...keyring.privates].map(([number, key]) => [number, hex(key)])),
  };
  if (order.what === 'list') return result;
  await repository.loadIndex();
  result.described = {};
  for (const snapshot of [...listed.snapshots, ...listed.trashed]) {
    result.described[snapshot.id] = await describe(repository, snapshot).catch((error) => ({ error: error.code, message: error.message }));
  }
  return result;
}

async function outcome(store) {
  const result = await run(store).catch((error) => {
    if (!error.code) throw error;
    return { error: error.code, message: error.message };
  });
  return { ...result, warnings };
}

const results = [];
for (const flip of order.flips ?? []) results.push(await outcome(new FlippedStore(order.folder, flip)));
const said = order.flips ? results : await outcome(new FileStore(order.folder));
process.stdout.write(JSON.stringify(said));
