/** Restores that an owner orders from a device (docs/format/jobs.md): offers and reports are checked and opened, jobs are made. */
import { be32, concat, hex } from './bytes.js';
import { domain, sign, unwrap, verify, wrap } from './crypto.js';
import { ReadError, require } from './errors.js';
import { decode } from './msgpack.js';
import { encode } from './msgpack-write.js';

const SIGNATURE = 64;
const MOST_BYTES = 64 * 1024;
const MOST_PATHS = 1000;
const WEEK = 7n * 86400n * 1000000000n;
const isId = (value) => value instanceof Uint8Array && value.length === 16;

function parts(data, count, what) {
  require(data.length > SIGNATURE && data.length <= MOST_BYTES, `${what} has another length`);
  const body = data.subarray(0, -SIGNATURE);
  const fields = decode(body);
  require(Array.isArray(fields) && fields.length === count, `${what} has another form`);
  return { body, signature: data.subarray(-SIGNATURE), fields };
}

function readKey(keyring, epoch) {
  const key = keyring.privates.get(epoch);
  if (!key) throw new ReadError('writer', `this key reads nothing of epoch ${epoch}`);
  return key;
}

/**
 * That a device takes jobs: as its own key signed it, a key that the owner knows.
 * @param {object} keyring @param {{device: string, offer: Uint8Array}} told what the server says, and of which device
 * @returns {Promise<{device: string, slot: Uint8Array, label: string, role: string, public: Uint8Array, folders: string[]}>} Throws ReadError.
 */
export async function openOffer(keyring, { device, offer }) {
  const { body, signature, fields } = parts(offer, 6, 'an offer');
  const [slot, named, key, , epoch, sealed] = fields;
  require(isId(slot) && key instanceof Uint8Array && key.length === 32 && sealed instanceof Uint8Array, 'an offer has another form');
  const { label, role } = await keyring.signedBy(slot, 'job-offer', body, signature);
  require(named === device && !keyring.retired.includes(hex(slot)), 'an offer is of another device');
  const info = concat(domain('job-folders', keyring.repository), be32(epoch), key);
  const folders = decode(await unwrap(readKey(keyring, epoch), sealed, info));
  require(Array.isArray(folders) && folders.length > 0 && folders.every((each) => typeof each === 'string'), 'an offer has another form');
  return { device, slot, label, role, public: key, folders };
}

/**
 * Order a restore.
 * @param {object} keyring an owner's @param {object} offer of `openOffer` @param {{snapshot: string, paths: Uint8Array[], into: string}} order
 * @param {bigint} now nanoseconds since 1970
 * @returns {Promise<{id: string, job: Uint8Array, expires: bigint}>} Throws ReadError `not-owner`, `too-many`.
 */
export async function makeJob(keyring, offer, { snapshot, paths, into }, now) {
  if (!keyring.adminPrivate) throw new ReadError('not-owner', 'only an owner may order restores');
  const id = crypto.getRandomValues(new Uint8Array(16));
  const expires = now + WEEK;
  const header = encode([id, offer.slot, offer.public, now, expires, keyring.epoch]);
  const order = encode([snapshot, paths, into]);
  const sealed = await wrap(offer.public, order, concat(domain('job', keyring.repository), header));
  const copy = await wrap(keyring.epochPublic, order, concat(domain('job-copy', keyring.repository), header));
  const body = encode([header, sealed, copy]);
  const job = concat(body, await sign(keyring.adminPrivate, concat(domain('job', keyring.repository), body)));
  if (paths.length > MOST_PATHS || job.length > MOST_BYTES) throw new ReadError('too-many', 'the names are too many for one job');
  return { id: hex(id), job, expires };
}

/**
 * What was ordered, as an owner signed it.
 * @param {object} keyring @param {{id: string, job: Uint8Array}} told
 * @returns {Promise<{slot: Uint8Array, label: string, snapshot: string, paths: Uint8Array[], into: string}>} Throws ReadError.
 */
export async function openJob(keyring, { id, job }) {
  const { body, signature, fields: [header, , copy] } = parts(job, 3, 'a job');
  await verify(keyring.admin, 'job', keyring.repository, body, signature);
  const [own, slot, , , , epoch] = decode(header);
  require(isId(own) && hex(own) === id && isId(slot), 'a job is another');
  const [snapshot, paths, into] = decode(await unwrap(readKey(keyring, epoch), copy, concat(domain('job-copy', keyring.repository), header)));
  require(typeof snapshot === 'string' && Array.isArray(paths) && paths.every((each) => each instanceof Uint8Array), 'an order has another form');
  return { slot, label: keyring.devices.get(hex(slot))?.label ?? '', snapshot, paths, into };
}

/**
 * What the device says of a job.
 * @param {object} keyring @param {{id: string, slot: Uint8Array}} job @param {Uint8Array} report
 * @returns {Promise<{state: string, message: string, hint: string, folder: string, placed: number, failed: number, damaged: number, bytes: number}>} Throws ReadError.
 */
export async function openReport(keyring, job, report) {
  const { body, signature, fields: [id, , state, epoch, sealed] } = parts(report, 5, 'a report');
  await keyring.signedBy(job.slot, 'job-report', body, signature);
  require(isId(id) && hex(id) === job.id, 'a report is of another job');
  const info = concat(domain('job-outcome', keyring.repository), be32(epoch), id);
  const outcome = decode(await unwrap(readKey(keyring, epoch), sealed, info));
  require(Array.isArray(outcome) && outcome.length === 7, 'an outcome has another form');
  const [message, hint, folder, placed, failed, damaged, bytes] = outcome;
  return { state, message, hint, folder, placed, failed, damaged, bytes: Number(bytes) };
}
