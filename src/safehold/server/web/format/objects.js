/** Sealed objects: the envelope of snapshots, index shards and condemnations (docs/format/objects.md). */
import { concat, equal, hex, utf8, view } from './bytes.js';
import { derive, sha256 } from './crypto.js';
import { require } from './errors.js';
import { OBJECT_LIMIT } from './heavy.js';
import { decode } from './msgpack.js';

const MAGIC = utf8('SHOBJ01\n');

/**
 * @param {object} context `keyring`, `pool` @param {string} kind that is expected @param {string} name SHA-256 in hexadecimal
 * @param {Uint8Array} data @returns {Promise<{body: Uint8Array, device: object}>} and who signed.  Throws ReadError.
 */
export async function open({ keyring, pool }, kind, name, data) {
  require(data.length >= 76 && data.length <= OBJECT_LIMIT, `the ${kind} ${name} has another size`);
  require(hex(await sha256(data)) === name, `the bytes of the ${kind} ${name} are not those of its name`);
  const length = view(data).getUint32(8, true);
  require(equal(data.subarray(0, 8), MAGIC) && length <= data.length - 76, `the ${kind} ${name} is no sealed object`);
  const header = data.subarray(12, 12 + length);
  const [is, repository, id, signer, session = null] = decode(header);
  require(is === kind && id instanceof Uint8Array && id.length === 16, `the ${kind} ${name} is something else`);
  require(repository instanceof Uint8Array && equal(repository, keyring.repository), `the ${kind} ${name} is of another repository`);
  require(signer instanceof Uint8Array, `the ${kind} ${name} has no signer`);
  const signed = await sha256(data.subarray(0, data.length - 64));
  const device = await keyring.signedBy(signer, 'object', signed, data.subarray(data.length - 64));
  require((session === null) === (kind !== 'snapshot'), `the ${kind} ${name} is sealed for others`);
  const base = session === null ? keyring.indexKey : await keyring.sessionKey(session);
  const key = await derive(base, concat(utf8('safehold/1 object '), id));
  const sealed = data.slice(12 + length, data.length - 64);
  const bound = concat(utf8('safehold/1 object\0'), header);
  return { body: await pool.run('openObject', { sealed, key, bound }, sealed), device };
}
