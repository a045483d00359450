/**
 * What a person opens a repository with (docs/format/keys.md).  A credential is `{method: 'passphrase', text}`, `{method: 'keyfile', slot,
 * secret, repository}` or `{method: 'recovery', secret}`.
 */
import { hex, unbase64, unhex, utf8 } from './bytes.js';
import { sha256 } from './crypto.js';
import { ReadError } from './errors.js';
import { WORDS } from './words.js';

/** @param {string} text @returns {object} a credential */
export const ofPassphrase = (text) => ({ method: 'passphrase', text });

/** @param {string} text of a key file @returns {Promise<object>} a credential.  Throws ReadError `key-file`. */
export async function ofKeyFile(text) {
  const values = new Map();
  const lines = text.replace(/^\ufeff/, '').split(/\r?\n/).map((line) => line.trim()).filter((line) => line && !line.startsWith('#'));
  if (lines.shift() !== 'safehold key file 1') throw new ReadError('key-file', 'this is no key file');
  for (const line of lines) {
    const [, name, value] = /^(\w+):\s*(\S+)$/.exec(line) ?? [];
    values.set(name, value);
  }
  const body = ['repository', 'slot', 'secret'].map((name) => `${name}: ${values.get(name)}\n`).join('');
  const sum = hex(await sha256(utf8(`safehold key file 1\n${body}`))).slice(0, 16);
  if (sum !== values.get('checksum')?.toLowerCase()) throw new ReadError('key-file', 'the key file is damaged');
  return { method: 'keyfile', repository: values.get('repository'), slot: unhex(values.get('slot')), secret: unbase64(values.get('secret')) };
}

const PLACES = new Map(WORDS.map((word, place) => [word.slice(0, 4), place]));

/**
 * @param {string} text 24 words: any case, separators and numbers between them, four letters are enough
 * @returns {Promise<object>} a credential.  Throws ReadError `words`, with `details.word` where one is not in the list.
 */
export async function ofWords(text) {
  const typed = text.toLowerCase().match(/[a-z]+/g) ?? [];
  const strange = typed.find((word) => !isListed(word));
  if (strange) throw new ReadError('words', `"${strange}" is not in the list of words`, { word: strange });
  if (typed.length !== 24) throw new ReadError('words', `24 words are needed, these are ${typed.length}`, { count: typed.length });
  let number = 0n;
  for (const word of typed) number = (number << 11n) | BigInt(PLACES.get(word.slice(0, 4)));
  const bytes = unhex(number.toString(16).padStart(66, '0'));
  const secret = bytes.slice(0, 32);
  if ((await sha256(secret))[0] !== bytes[32]) throw new ReadError('words', 'the words do not fit together', { count: 24 });
  return { method: 'recovery', secret };
}

function isListed(word) {
  const place = PLACES.get(word.slice(0, 4));
  return place !== undefined && (word.length <= 4 ? word.length === Math.min(4, WORDS[place].length) : WORDS[place] === word);
}
