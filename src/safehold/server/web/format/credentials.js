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

/** The number that so many words spell, 11 bits each.  Throws ReadError `words` where one is not in the list, `other` for another count. */
function spelled(text, count, other) {
  const typed = text.toLowerCase().match(/[a-z]+/g) ?? [];
  const strange = typed.find((word) => !isListed(word));
  if (strange) throw new ReadError('words', `"${strange}" is not in the list of words`, { word: strange });
  if (typed.length !== count) throw other(typed.length);
  return typed.reduce((number, word) => (number << 11n) | BigInt(PLACES.get(word.slice(0, 4))), 0n);
}

/**
 * @param {string} text 24 words: any case, separators and numbers between them, four letters are enough
 * @returns {Promise<object>} a credential.  Throws ReadError `words`, with `details.word` where one is not in the list.
 */
export async function ofWords(text) {
  const other = (count) => new ReadError('words', `24 words are needed, these are ${count}`, { count });
  const bytes = unhex(spelled(text, 24, other).toString(16).padStart(66, '0'));
  const secret = bytes.slice(0, 32);
  if ((await sha256(secret))[0] !== bytes[32]) throw new ReadError('words', 'the words do not fit together', { count: 24 });
  return { method: 'recovery', secret };
}

/**
 * @param {string} text the 12 words of a share (docs/format/shares.md, "Secret, link, words")
 * @returns {Promise<Uint8Array>} its secret, 16 bytes.  Throws ReadError `words`, `share-words`.
 */
export async function ofShareWords(text) {
  const other = (count) => new ReadError('share-words', `12 words are needed, these are ${count}`);
  const number = spelled(text, 12, other);
  const secret = unhex((number >> 4n).toString(16).padStart(32, '0'));
  if ((await sha256(secret))[0] >> 4 !== Number(number & 15n)) throw new ReadError('share-words', 'the words do not fit together');
  return secret;
}

function isListed(word) {
  const place = PLACES.get(word.slice(0, 4));
  return place !== undefined && (word.length <= 4 ? word.length === Math.min(4, WORDS[place].length) : WORDS[place] === word);
}
