/**
 * Key slots, epochs and retirements (docs/format/keys.md): from a credential to a repository's secrets.
 *
 * Nothing that the store says is believed before the admin key has signed it, and the admin key is known from the slot that only the
 * credential opens.
 */
import { be32, concat, equal, hex } from './bytes.js';
import { derive, domain, unseal, unwrap, verify } from './crypto.js';
import { ReadError, require } from './errors.js';
import { decode } from './msgpack.js';

const MOST = 1024 * 1024;
/** The floor keeps a store from talking us into a cheap derivation, the ceiling from exhausting our memory. */
const ARGON = { memory: [64 * 1024, 1024 * 1024], passes: [3, 16], lanes: [1, 16] };

/** Throw `kdf` for costs of Argon2id that nobody of good will asks for. @param {{memory: number, passes: number, lanes: number}} costs */
export function requireCost(costs) {
  for (const [name, [least, most]] of Object.entries(ARGON)) {
    const fits = Number.isInteger(costs[name]) && costs[name] >= least && costs[name] <= most;
    if (!fits) throw new ReadError('kdf', `Argon2id is asked for with ${name} ${costs[name]}, which is not allowed`);
  }
}

const ROLES = new Set(['owner', 'reader', 'writer']);

const isBytes = (value, length) => value instanceof Uint8Array && (length === undefined || value.length === length);
const isCount = (value) => typeof value === 'bigint' || (Number.isInteger(value) && value >= 0);
const FORMS = {
  slot: [isBytes, isBytes],
  epoch: [isCount, (v) => isBytes(v, 32), (v) => isBytes(v, 32), (v) => isBytes(v, 80), isCount, Array.isArray, Array.isArray],
  retired: [(v) => isBytes(v, 16), (v) => ROLES.has(v), (v) => typeof v === 'string', (v) => isBytes(v, 32), isCount],
};
const CLEAR = [
  (v) => isBytes(v, 16), (v) => ROLES.has(v), (v) => typeof v === 'string' && v.length <= 200, isCount, Array.isArray,
  (v) => isBytes(v, 32), (v) => isBytes(v, 32), (v) => isBytes(v, 32),
];
const SECRETS = [
  (v) => isBytes(v, 32), (v) => isBytes(v, 32), (v) => isBytes(v, 32), (v) => isBytes(v, 32), (v) => isBytes(v, 32),
  (v) => Number.isInteger(v) && v >= 1, (v) => isBytes(v, 32), (v) => v instanceof Map, (v) => v === null || isBytes(v, 32),
];

function shaped(value, form, what) {
  const fits = Array.isArray(value) && value.length === form.length && form.every((test, at) => test(value[at]));
  require(fits, `${what} has another form`);
  return value;
}

/** A key object: kind, what its body holds, and what is needed to check its signature later. */
function parse(key, data, repository) {
  const [, stem, kind] = /^keys\/([0-9a-f]+)\.(slot|epoch|retired)$/.exec(key) ?? [];
  require(kind && data.length <= MOST, `${key} is no key object`);
  const start = domain(kind, repository);
  require(data.length > start.length + 64 && equal(data.subarray(0, start.length), start), `${key} belongs elsewhere`);
  const message = data.subarray(start.length, data.length - 64);
  const body = shaped(decode(message), FORMS[kind], key);
  const item = { key, kind, body, message, signature: data.subarray(data.length - 64) };
  if (kind === 'slot') item.clear = shaped(decode(body[0]), CLEAR, key);
  const own = kind === 'epoch' ? String(body[0]).padStart(8, '0') : hex((item.clear ?? body)[0]);
  require(own === stem, `${key} belongs under another name`);
  return item;
}

async function readAll(store, repository, report) {
  const found = [];
  for (const { key, size } of (await store.list('keys/')).sort((a, b) => (a.key < b.key ? -1 : 1))) {
    try {
      require(size <= MOST, `${key} is larger than a key object can be`);
      found.push(parse(key, await store.get(key, MOST), repository));
    } catch (error) {
      if (error.code !== 'damaged' && error.code !== 'missing') throw error;
      report({ code: 'key-object-ignored', key, message: error.message });
    }
  }
  return found;
}

/** The 32 bytes that a slot's KEK is derived from; one derivation for each cost and salt. */
class Masters {
  constructor(credential, pool) {
    this.credential = credential;
    this.pool = pool;
    this.known = new Map();
  }

  fits({ clear }) {
    const [slot, , , , method] = clear;
    if (method[0] !== this.credential.method) return false;
    return method[0] !== 'keyfile' || equal(slot, this.credential.slot);
  }

  async of(method) {
    if (method[0] !== 'passphrase') {
      require(method.length === 1, 'a slot has an unknown method');
      return this.credential.secret;
    }
    const [, salt, memory, passes, lanes] = method;
    const costs = { memory, passes, lanes };
    require(method.length === 5 && isBytes(salt, 16), 'a slot has an unknown method');
    requireCost(costs);
    const id = `${hex(salt)} ${memory} ${passes} ${lanes}`;
    if (!this.known.has(id)) this.known.set(id, await this.pool.run('stretch', { passphrase: this.credential.text, salt, ...costs }));
    return this.known.get(id);
  }
}

async function openSlot({ clear, body }, masters, repository) {
  const [slot, , , , method, , , commitment] = clear;
  const master = await masters.of(method);
  const both = await derive(master, concat(domain(`kek/${method[0]}`, repository), slot), 64);
  if (!equal(both.subarray(32), commitment)) return null;
  const opened = await unseal(both.subarray(0, 32), body[1], concat(domain('slot', repository), body[0]));
  return shaped(decode(opened), SECRETS, 'the secrets of a slot');
}

/** What the admin key signed, by kind; the rest is reported and left out. */
async function sift(objects, admin, repository, report) {
  const found = { slot: [], epoch: [], retired: [] };
  for (const item of objects) {
    try {
      await verify(admin, item.kind, repository, item.message, item.signature);
      found[item.kind].push(item);
    } catch (error) {
      report({ code: 'key-object-ignored', key: item.key, message: error.message });
    }
  }
  return found;
}

/** Epoch number -> X25519 private key, of every epoch that a slot can read. */
async function readKeys(secrets, slot, epochs, repository, report) {
  const [, , exchange, , , , , privates] = secrets;
  const keys = new Map(privates);
  for (const { body } of epochs.toSorted((a, b) => b.body[0] - a.body[0])) {
    const [number, , , previous, , wrapped] = body;
    const context = be32(number);
    try {
      const own = wrapped.find(([id]) => isBytes(id, 16) && equal(id, slot));
      if (!keys.has(number) && own) keys.set(number, await unwrap(exchange, own[1], concat(domain('epoch', repository), context, slot)));
      if (keys.has(number) && !keys.has(number - 1)) {
        keys.set(number - 1, await unwrap(keys.get(number), previous, concat(domain('previous-epoch', repository), context)));
      }
    } catch (error) {
      report({ code: 'epoch-ignored', message: `epoch ${number}: ${error.message}` });
    }
  }
  return keys;
}

/** One opened slot, and all who may sign. */
export class Keyring {
  constructor(repository, clear, secrets, found, readable, retired) {
    this.repository = repository;
    [this.slot, this.role, this.label] = clear;
    [this.idKey, this.indexKey] = secrets;
    this.admin = secrets[4];
    this.privates = readable;
    this.epoch = Math.max(secrets[5], ...found.epoch.map(({ body }) => body[0]));
    this.epochPublic = found.epoch.find(({ body }) => body[0] === this.epoch)?.body[1] ?? secrets[6];
    this.adminPrivate = secrets[8];
    this.slots = found.slot;
    this.retirements = found.retired.map(({ body }) => body);
    this.seenObjects = new Set(found.all);
    this.retired = [...retired].sort();
    this.devices = new Map();
    for (const { body: [slot, role, label, key] } of found.retired) this.devices.set(hex(slot), { role, label, key });
    for (const { clear: [slot, role, label, , , exchange, key] } of found.slot) this.devices.set(hex(slot), { role, label, key, exchange });
    this.sessions = new Map();
  }

  /** The device that signed.  Throws ReadError `damaged`: retired slots count, others don't. */
  async signedBy(slot, kind, message, signature) {
    const device = this.devices.get(hex(slot));
    require(device, `a ${kind} is signed by no key slot of this repository`);
    await verify(device.key, kind, this.repository, message, signature);
    return device;
  }

  /** @param {any[]} reference id, epoch, wrapped (README.md, "Session reference") @returns {Promise<Uint8Array>} the session's key */
  sessionKey(reference) {
    require(Array.isArray(reference) && isBytes(reference[0], 16) && isBytes(reference[2], 80), 'a session reference has another form');
    const [id, epoch, wrapped] = reference;
    const known = hex(wrapped);
    if (!this.sessions.has(known)) this.sessions.set(known, this.#unwrap(id, epoch, wrapped));
    return this.sessions.get(known);
  }

  async #unwrap(id, epoch, wrapped) {
    const key = this.privates.get(epoch);
    if (!key) throw new ReadError('writer', `this key reads nothing of epoch ${epoch}`);
    return unwrap(key, wrapped, concat(domain('session', this.repository), be32(epoch), id));
  }
}

/**
 * Open the slot that a credential fits.
 * @param {object} store @param {Uint8Array} repository its id @param {object} credential of credentials.js
 * @param {object} options `pool`; `seen` {epoch, retired}: what this browser remembers of the repository; `report`
 * @returns {Promise<Keyring>} Throws ReadError.
 */
export async function openKeys(store, repository, credential, { pool, seen = { epoch: 0, retired: [] }, report = () => {} }) {
  if (credential.method === 'keyfile' && credential.repository !== hex(repository)) {
    throw new ReadError('wrong-key', 'this key file is of another repository');
  }
  const objects = await readAll(store, repository, report);
  const masters = new Masters(credential, pool);
  const failures = [];
  let others = 0;
  for (const item of objects.filter((each) => each.kind === 'slot' && masters.fits(each))) {
    try {
      const secrets = await openSlot(item, masters, repository);
      if (!secrets) {
        others++;
        continue;
      }
      await verify(secrets[4], 'slot', repository, item.message, item.signature);
      return await assemble(repository, item.clear, secrets, objects, seen, report);
    } catch (error) {
      if (!(error instanceof ReadError)) throw error;
      failures.push(error);
    }
  }
  const worst = failures.find(({ code }) => code !== 'kdf') ?? (others ? undefined : failures[0]);
  throw worst ?? new ReadError('wrong-key', 'no key slot of this repository opens with that key');
}

async function assemble(repository, clear, secrets, objects, seen, report) {
  const found = { ...(await sift(objects, secrets[4], repository, report)), all: objects.map(({ key }) => key) };
  const retired = new Set([...seen.retired, ...found.retired.map(({ body }) => hex(body[0]))]);
  for (const { body } of found.epoch) for (const slot of body[6]) retired.add(hex(slot));
  if (retired.has(hex(clear[0]))) throw new ReadError('removed', `the key slot "${clear[2]}" was removed`, { label: clear[2] });
  const readable = await readKeys(secrets, clear[0], found.epoch, repository, report);
  if (!readable.size) throw new ReadError('writer', 'a writer key adds backups and reads none');
  const keyring = new Keyring(repository, clear, secrets, found, readable, retired);
  if (keyring.epoch < seen.epoch) throw new ReadError('rolled-back', `the store shows epoch ${keyring.epoch}, and ${seen.epoch} was seen`);
  return keyring;
}

