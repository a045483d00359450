/** The primitives of docs/format/keys.md on WebCrypto: nothing here is written by hand that a browser has. */
import { be32, concat, utf8 } from './bytes.js';
import { ReadError } from './errors.js';

const subtle = globalThis.crypto.subtle;
const NONCE = new Uint8Array(12);
const ZEROS = new Uint8Array(32);

/** @returns {Promise<Uint8Array>} SHA-256 of the bytes */
export const sha256 = async (bytes) => new Uint8Array(await subtle.digest('SHA-256', bytes));

async function hmacKey(key) {
  return subtle.importKey('raw', key, { name: 'HMAC', hash: 'SHA-256' }, false, ['sign']);
}

/** HKDF-Extract with SHA-256 (RFC 5869, 2.2). */
export const extracted = async (salt, material) => mac(await hmacKey(salt), material);

const mac = async (key, message) => new Uint8Array(await subtle.sign('HMAC', key, message));

/**
 * HKDF-Expand with SHA-256 (RFC 5869, 2.3); WebCrypto's own HKDF cannot leave the extract step out.
 * @param {Uint8Array} key 32 bytes @param {Uint8Array|string} info @param {number} length of what is wanted
 */
export async function derive(key, info, length = 32) {
  const imported = await hmacKey(key);
  const suffix = typeof info === 'string' ? utf8(info) : info;
  let block = new Uint8Array(0);
  let out = block;
  for (let number = 1; out.length < length; number++) {
    block = await mac(imported, concat(block, suffix, Uint8Array.of(number)));
    out = concat(out, block);
  }
  return out.slice(0, length);
}

/** AES-256-GCM with a nonce of zeros: every key of the format seals one message.  Throws ReadError `damaged`. */
export async function unseal(key, sealed, bound) {
  try {
    const imported = await subtle.importKey('raw', key, 'AES-GCM', false, ['decrypt']);
    const opened = await subtle.decrypt({ name: 'AES-GCM', iv: NONCE, additionalData: bound }, imported, sealed);
    return new Uint8Array(opened);
  } catch {
    throw new ReadError('damaged', 'a seal does not open: its bytes were changed, or it belongs elsewhere');
  }
}

/** Undone by `unseal`.  `key` must never have sealed anything else. */
export async function seal(key, bytes, bound) {
  const imported = await subtle.importKey('raw', key, 'AES-GCM', false, ['encrypt']);
  return new Uint8Array(await subtle.encrypt({ name: 'AES-GCM', iv: NONCE, additionalData: bound }, imported, bytes));
}

/** What stands before everything that is signed, wrapped, or bound below keys/. */
export const domain = (kind, repository) => concat(utf8(`safehold/1/${kind}`), Uint8Array.of(0), repository);

/** Throws ReadError `damaged` unless `signature` (Ed25519) is of `message` in its domain. */
export async function verify(publicKey, kind, repository, message, signature) {
  let good = false;
  try {
    const key = await subtle.importKey('raw', publicKey, 'Ed25519', false, ['verify']);
    good = await subtle.verify('Ed25519', key, signature, concat(domain(kind, repository), message));
  } catch {
    // A public key that is no point of the curve.
  }
  if (!good) throw new ReadError('damaged', `the signature of a ${kind} is wrong`);
}

// RFC 8410's wrapping of a private X25519 key, since WebCrypto takes none bare.
const PKCS8 = Uint8Array.of(0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x6e, 4, 0x22, 4, 0x20);
const BASE_POINT = Uint8Array.of(9, ...new Uint8Array(31));

async function x25519(privateKey, publicKey) {
  const own = await subtle.importKey('pkcs8', concat(PKCS8, privateKey), 'X25519', false, ['deriveBits']);
  const other = await subtle.importKey('raw', publicKey, 'X25519', false, []);
  return new Uint8Array(await subtle.deriveBits({ name: 'X25519', public: other }, own, 256));
}

const ED25519 = Uint8Array.of(0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20);
const USES = { X25519: ['deriveBits'], Ed25519: ['sign', 'verify'] };

/** @param {'X25519'|'Ed25519'} kind @returns {Promise<{privateKey: Uint8Array, publicKey: Uint8Array}>} 32 bytes each */
export async function newPair(kind) {
  const made = await subtle.generateKey(kind, true, USES[kind]);
  const pkcs8 = new Uint8Array(await subtle.exportKey('pkcs8', made.privateKey));
  return { privateKey: pkcs8.slice(-32), publicKey: new Uint8Array(await subtle.exportKey('raw', made.publicKey)) };
}

/** The public key of a private one. */
export async function publicOf(privateKey, kind) {
  if (kind === 'X25519') return x25519(privateKey, BASE_POINT);
  const jwk = await subtle.exportKey('jwk', await subtle.importKey('pkcs8', concat(ED25519, privateKey), kind, true, ['sign']));
  return Uint8Array.from(atob(jwk.x.replace(/-/g, '+').replace(/_/g, '/')), (char) => char.charCodeAt(0));
}

/** Ed25519. @param {Uint8Array} privateKey 32 bytes */
export async function sign(privateKey, message) {
  const key = await subtle.importKey('pkcs8', concat(ED25519, privateKey), 'Ed25519', false, ['sign']);
  return new Uint8Array(await subtle.sign('Ed25519', key, message));
}

const VERSION = utf8('HPKE-v1');
const KEM = concat(utf8('KEM'), Uint8Array.of(0, 0x20));
const SUITE = concat(utf8('HPKE'), Uint8Array.of(0, 0x20, 0, 1, 0, 2));

async function extract(suite, salt, label, secret) {
  return mac(await hmacKey(salt.length ? salt : ZEROS), concat(VERSION, suite, utf8(label), secret));
}

const expand = (suite, key, label, info, length) =>
  derive(key, concat(be32(length).subarray(2), VERSION, suite, utf8(label), info), length);

/** Key and nonce of HPKE's only message. @param {Uint8Array} agreed by X25519 @param {Uint8Array} context both public keys */
async function schedule(agreed, context, info) {
  const none = new Uint8Array(0);
  const shared = await expand(KEM, await extract(KEM, none, 'eae_prk', agreed), 'shared_secret', context, 32);
  const bound = concat(Uint8Array.of(0), await extract(SUITE, none, 'psk_id_hash', none), await extract(SUITE, none, 'info_hash', info));
  const secret = await extract(SUITE, shared, 'secret', none);
  return { key: await expand(SUITE, secret, 'key', bound, 32), iv: await expand(SUITE, secret, 'base_nonce', bound, 12) };
}

/**
 * Open what was wrapped: HPKE (RFC 9180), base mode, single shot, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM.
 * @param {Uint8Array} privateKey 32 bytes @param {Uint8Array} wrapped encapsulated key (32), ciphertext and tag
 * @param {Uint8Array} info domain and context @returns {Promise<Uint8Array>} Throws ReadError `damaged`.
 */
export async function unwrap(privateKey, wrapped, info) {
  const encapsulated = wrapped.subarray(0, 32);
  let made;
  try {
    const agreed = await x25519(privateKey, encapsulated);
    made = await schedule(agreed, concat(encapsulated, await x25519(privateKey, BASE_POINT)), info);
  } catch {
    throw new ReadError('damaged', 'a wrapped key is none');
  }
  try {
    const imported = await subtle.importKey('raw', made.key, 'AES-GCM', false, ['decrypt']);
    return new Uint8Array(await subtle.decrypt({ name: 'AES-GCM', iv: made.iv }, imported, wrapped.subarray(32)));
  } catch {
    throw new ReadError('damaged', 'a wrapped key does not open');
  }
}

/** Undone by `unwrap`; different at every call. @param {Uint8Array} publicKey 32 bytes @param {Uint8Array} secret @param {Uint8Array} info */
export async function wrap(publicKey, secret, info) {
  const own = crypto.getRandomValues(new Uint8Array(32));
  const encapsulated = await x25519(own, BASE_POINT);
  const { key, iv } = await schedule(await x25519(own, publicKey), concat(encapsulated, publicKey), info);
  const imported = await subtle.importKey('raw', key, 'AES-GCM', false, ['encrypt']);
  return concat(encapsulated, new Uint8Array(await subtle.encrypt({ name: 'AES-GCM', iv }, imported, secret)));
}
