/** The `config` object (docs/format/config.md). */
import { hex, strictTextOf, unhex } from './bytes.js';
import { ReadError, require } from './errors.js';

const VERSION = 1;
const FEATURES = new Set();

/**
 * @param {Uint8Array} data of `config` or its copy
 * @returns {{line: Uint8Array, signature: Uint8Array, id: Uint8Array, values: object}} Nothing of it is proven before `signature` is.
 *   Throws ReadError `damaged` or `unsupported`.
 */
export function parse(data) {
  const end = data.indexOf(10);
  require(end > 0, 'config has no first line');
  const line = data.subarray(0, end);
  let values, signature, id;
  try {
    values = JSON.parse(strictTextOf(line));
    signature = unhex(strictTextOf(data.subarray(end + 1)).trim());
    id = unhex(values.id);
  } catch {
    throw new ReadError('damaged', 'config cannot be read');
  }
  require(values.safehold === 'repository' && Array.isArray(values.requires), 'config is not of a repository');
  const unknown = values.requires.filter((feature) => !FEATURES.has(feature));
  if (values.version > VERSION || unknown.length) {
    throw new ReadError('unsupported', `version ${values.version}, features ${unknown.join(', ')}`, { features: unknown.join(', ') });
  }
  require(values.version === VERSION && id.length === 16 && signature.length === 64 && hex(id) === values.id, 'config has another form');
  return { line, signature, id, values };
}
