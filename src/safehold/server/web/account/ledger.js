/** The chain of the audit log, computed here: a line that was changed or taken out has another hash than those after it say (docs/server.md). */
import { hex, utf8 } from '../format/bytes.js';
import { sha256 } from '../format/crypto.js';

const NEWEST = 'safehold-log';

/** @param {string} text of the answer; times need more digits than a Number has, so they stay text @returns {{lines: object[], next: string|null}} */
export const parse = (text) => JSON.parse(text.replace(/"time_ns":(\d+)/g, '"time_ns":"$1"'));

/** What the server hashed of a line: its fields by name, as JSON. */
function written(line) {
  const texts = ['account', 'actor', 'address', 'detail', 'number', 'repository', 'time_ns', 'what'];
  return `{${texts.map((name) => `"${name}":${name === 'number' || name === 'time_ns' ? line[name] : JSON.stringify(line[name])}`).join(',')}}`;
}

/** @param {string} before hash of the line before @returns {Promise<string>} what the line's own hash has to be */
export const lineHash = async (before, line) => hex(await sha256(utf8(before + written(line))));

/**
 * Compare every line with the one before it, where that is there: others' lines stand between one's own.
 * @param {object[]} lines newest first @returns {Promise<{checked: number, wrong: number|null}>} `wrong`: the number of the first line that does not follow
 */
export async function verify(lines) {
  let checked = 0;
  for (let at = lines.length - 1; at >= 0; at--) {
    const [line, before] = [lines[at], lines[at + 1]];
    const known = line.number === 1 ? '0'.repeat(64) : before?.number === line.number - 1 ? before.hash : null;
    if (known === null) continue;
    if ((await lineHash(known, line)) !== line.hash) return { checked, wrong: line.number };
    checked++;
  }
  return { checked, wrong: null };
}

/**
 * Whether the log is still the one that this browser saw last time; and remember the newest line.
 * @param {object[]} lines newest first @param {boolean} all whether they are everybody's, so that none may be missing
 */
export function isSame(lines, all) {
  try {
    const seen = JSON.parse(localStorage.getItem(NEWEST) ?? 'null');
    const [newest] = lines;
    if (newest && !(seen && seen.number > newest.number)) localStorage.setItem(NEWEST, JSON.stringify({ number: newest.number, hash: newest.hash }));
    if (!seen) return true;
    const again = lines.find(({ number }) => number === seen.number);
    if (again) return again.hash === seen.hash;
    return !(all && newest.number < seen.number);
  } catch {
    return true; // no storage: every visit is a first one
  }
}
