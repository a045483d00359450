/** What an owner does with key slots (docs/format/keys.md): list them, make one for recovery words, retire one. */
import { concat, equal, hex } from './bytes.js';
import { derive, domain, newPair, publicOf, seal, sha256, sign } from './crypto.js';
import { ReadError } from './errors.js';
import { encode } from './msgpack-write.js';
import { WORDS } from './words.js';

const random = (length) => crypto.getRandomValues(new Uint8Array(length));

/** @param {Uint8Array} secret 32 bytes @returns {Promise<string[]>} its 24 words */
export async function wordsOf(secret) {
  let bits = 0n;
  for (const byte of concat(secret, (await sha256(secret)).subarray(0, 1))) bits = (bits << 8n) | BigInt(byte);
  return Array.from({ length: 24 }, (_, at) => WORDS[Number((bits >> BigInt(11 * (23 - at))) & 0x7ffn)]);
}

/**
 * Every slot that an owner made, and what became of it.
 * @returns {{id: string, role: string, label: string, method: string, created: bigint, retired: bigint|null, own: boolean}[]} in use first, then by age
 */
export function slotsOf(keyring) {
  const found = keyring.slots.map(({ clear: [id, role, label, created, method] }) =>
    ({ id: hex(id), role, label, method: method[0], created: BigInt(created), retired: keyring.retired.includes(hex(id)) ? 0n : null, own: equal(id, keyring.slot) }));
  const known = new Map(found.map((each) => [each.id, each]));
  for (const [id, role, label, , when] of keyring.retirements) {
    const gone = known.get(hex(id)) ?? { id: hex(id), role, label, method: '', created: 0n, own: false };
    known.set(gone.id, { ...gone, retired: BigInt(when) });
  }
  const order = (each) => [each.retired === null ? 0 : 1, each.created];
  return [...known.values()].sort((a, b) => {
    const [one, other] = [order(a), order(b)];
    return one[0] - other[0] || (one[1] < other[1] ? -1 : 1);
  });
}

function requireOwner(keyring) {
  if (!keyring.adminPrivate) throw new ReadError('not-owner', 'only an owner may change who has keys');
}

async function signed(keyring, kind, body) {
  const message = encode(body);
  return concat(domain(kind, keyring.repository), message, await sign(keyring.adminPrivate, concat(domain(kind, keyring.repository), message)));
}

/**
 * A slot that 24 new words open, an owner's.
 * @param {import('./keys.js').Keyring} keyring @param {string} label @param {bigint} now nanoseconds since 1970
 * @returns {Promise<{key: string, data: Uint8Array, words: string[]}>} to be stored under `key`.  Throws ReadError `not-owner`.
 */
export async function newRecovery(keyring, label, now) {
  requireOwner(keyring);
  const [id, secret] = [random(16), random(32)];
  const both = await derive(secret, concat(domain('kek/recovery', keyring.repository), id), 64);
  const [exchange, device] = [await newPair('X25519'), await newPair('Ed25519')];
  const clear = encode([id, 'owner', label, now, ['recovery'], exchange.publicKey, device.publicKey, both.slice(32)]);
  const publicKey = keyring.epochPublic;
  const secrets = encode([keyring.idKey, keyring.indexKey, exchange.privateKey, device.privateKey, keyring.admin, keyring.epoch, publicKey, keyring.privates, keyring.adminPrivate]);
  const sealed = await seal(both.slice(0, 32), secrets, concat(domain('slot', keyring.repository), clear));
  return { key: `keys/${hex(id)}.slot`, data: await signed(keyring, 'slot', [clear, sealed]), words: await wordsOf(secret) };
}

/**
 * What takes a slot out of use.  @param {string} id in hexadecimal
 * @returns {Promise<{key: string, data: Uint8Array}>} Throws ReadError `not-owner`, `last-owner`, `missing`.
 */
export async function retirement(keyring, id, now) {
  requireOwner(keyring);
  const slot = keyring.slots.find(({ clear }) => hex(clear[0]) === id);
  if (!slot) throw new ReadError('missing', 'there is no such key slot');
  const owners = slotsOf(keyring).filter((each) => each.role === 'owner' && each.retired === null);
  if (owners.length === 1 && owners[0].id === id) throw new ReadError('last-owner', 'it is the last key of an owner');
  const [own, role, label, , , , device] = slot.clear;
  return { key: `keys/${id}.retired`, data: await signed(keyring, 'retired', [own, role, label, device, now]) };
}

/** Throw `keys-changed` where there are key objects that this keyring does not know of: another owner was at work. */
export async function requireNewest(store, keyring) {
  const now = (await store.list('keys/')).map(({ key }) => key);
  if (now.some((key) => !keyring.seenObjects.has(key))) throw new ReadError('keys-changed', 'somebody changed the keys just now');
  if (!equal(await publicOf(keyring.adminPrivate, 'Ed25519'), keyring.admin)) throw new ReadError('damaged', 'the admin key is not its own');
}
