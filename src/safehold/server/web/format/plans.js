/** Plans that an owner hands to a device (docs/format/plans.md): letters are made, and what was handed is read again. */
import { be32, concat, equal, hex } from './bytes.js';
import { domain, sign, unwrap, verify, wrap } from './crypto.js';
import { ReadError, require } from './errors.js';
import { decode } from './msgpack.js';
import { encode } from './msgpack-write.js';

const SIGNATURE = 64;
const MOST_BYTES = 44 * 1024;
const MOST_PLANS = 50;

function be64(number) {
  const low = BigInt(number);
  return concat(be32(Number(low >> 32n)), be32(Number(low & 0xffffffffn)));
}

const bound = (kind, keyring, slot, made) => concat(domain(kind, keyring.repository), slot, be64(made));

/**
 * The keys in use that letters can be sealed to.
 * @param {object} keyring @returns {{slot: Uint8Array, label: string, role: string, exchange: Uint8Array}[]}
 */
export function receivers(keyring) {
  return [...keyring.devices].filter(([id, { exchange }]) => exchange && !keyring.retired.includes(id))
    .map(([id, { label, role, exchange }]) => ({ slot: Uint8Array.from(id.match(/../g), (two) => parseInt(two, 16)), label, role, exchange }));
}

/**
 * All the plans that a device is to have from elsewhere.
 * @param {object} keyring an owner's @param {{slot: Uint8Array, exchange: Uint8Array}} to @param {Map<string, string>} plans name to text
 * @param {bigint} now nanoseconds since 1970 @returns {Promise<Uint8Array>} Throws ReadError `not-owner`, `too-many`.
 */
export async function makeLetter(keyring, to, plans, now) {
  if (!keyring.adminPrivate) throw new ReadError('not-owner', 'only an owner may hand out plans');
  const message = encode(plans);
  const sealed = await wrap(to.exchange, message, bound('plans', keyring, to.slot, now));
  const copy = await wrap(keyring.epochPublic, message, bound('plans-copy', keyring, to.slot, now));
  const body = encode([to.slot, now, sealed, keyring.epoch, copy]);
  const letter = concat(body, await sign(keyring.adminPrivate, concat(domain('plans', keyring.repository), body)));
  if (plans.size > MOST_PLANS || letter.length > MOST_BYTES) throw new ReadError('too-many', 'the plans are too many for one device');
  return letter;
}

/**
 * What a device was handed, as an owner signed it.
 * @param {object} keyring @param {Uint8Array} data
 * @returns {Promise<{slot: Uint8Array, label: string, made: bigint, plans: Map<string, string>}>} Throws ReadError.
 */
export async function openLetter(keyring, data) {
  require(data.length > SIGNATURE && data.length <= MOST_BYTES, 'plans have another length');
  const body = data.subarray(0, -SIGNATURE);
  await verify(keyring.admin, 'plans', keyring.repository, body, data.subarray(-SIGNATURE));
  const fields = decode(body);
  require(Array.isArray(fields) && fields.length === 5, 'plans have another form');
  const [slot, made, , epoch, copy] = fields;
  require(slot instanceof Uint8Array && slot.length === 16 && copy instanceof Uint8Array, 'plans have another form');
  const key = keyring.privates.get(epoch);
  if (!key) throw new ReadError('writer', `this key reads nothing of epoch ${epoch}`);
  const plans = decode(await unwrap(key, copy, bound('plans-copy', keyring, slot, made)));
  require(plans instanceof Map && [...plans].flat().every((each) => typeof each === 'string'), 'plans have another form');
  return { slot, label: keyring.devices.get(hex(slot))?.label ?? '', made: BigInt(made), plans };
}

/** A letter is of that slot. */
export const isFor = (letter, { slot }) => equal(letter.slot, slot);

const quoted = (text) => JSON.stringify(text).replace(/\u007f/g, '\\u007f');

/**
 * The text of a plan.
 * @param {{sources: string[], exclude: string[], every: string, at: string, keep: Record<string, number>}} plan
 * @returns {string} TOML, as docs/plans.md has it
 */
export function planText({ sources, exclude, every, at, keep }) {
  const list = (values) => `[${values.map(quoted).join(', ')}]`;
  const lines = [`sources = ${list(sources)}`];
  if (every) lines.push(`every = ${quoted(every)}`);
  if (at) lines.push(`at = ${list([at])}`);
  if (exclude.length) lines.push(`exclude = ${list(exclude)}`);
  for (const [unit, count] of Object.entries(keep)) if (count) lines.push(`keep-${unit} = ${count}`);
  return `${lines.join('\n')}\n`;
}
