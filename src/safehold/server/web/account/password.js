/** The account's password: stretched here, so that the server never sees it (docs/server.md, "Accounts"). */
import { derive } from '../format/crypto.js';
import { utf8 } from '../format/bytes.js';
import { WorkerPool } from '../format/pool.js';

const FLOOR = { memory: 64 * 1024, passes: 3, lanes: 1 };
const CEILING = { memory: 1024 * 1024, passes: 16, lanes: 16 };

export const toBase64 = (bytes) => btoa(String.fromCharCode(...bytes));
export const fromBase64 = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

/**
 * @param {string} password @param {{salt: Uint8Array, memory: number, passes: number, lanes: number}} how
 * @returns {Promise<{login: Uint8Array, wrap: Uint8Array}>} what proves the password, and what seals with it.  Throws where a server
 *   asks for a derivation that is cheaper than is allowed, or absurdly costly
 */
export async function keysOf(password, { salt, ...cost }, pool = null) {
  const fits = Object.keys(FLOOR).every((name) => cost[name] >= FLOOR[name] && cost[name] <= CEILING[name]);
  if (!fits || salt.length !== 16) throw new Error('The server asks for a derivation that is not allowed. Do not log in here.');
  const worker = pool ?? new WorkerPool(1);
  try {
    const master = await worker.run('stretch', { passphrase: password, salt, ...cost });
    return { login: await derive(master, utf8('safehold/1 account login'), 32), wrap: await derive(master, utf8('safehold/1 account wrap'), 32) };
  } finally {
    worker.close();
  }
}

/** For a new password: a fresh salt, and its keys. */
export async function newKeys(password) {
  const salt = crypto.getRandomValues(new Uint8Array(16));
  return { salt, ...(await keysOf(password, { salt, ...FLOOR })) };
}
