/** Files that are sent in by a request link, sealed here for who asked (docs/format/shares.md, "Sent file"). */
import { concat, utf8, view } from './bytes.js';
import { derive, domain, seal, wrap } from './crypto.js';
import { ReadError } from './errors.js';
import { le32 } from './shares.js';

const MAGIC = utf8('SHSENT01');
const HEAD = 108;
const TAG = 16;
export const BLOCK = 1024 * 1024;
const MOST_NAME = 255;
const MOST_SENDER = 200;

/** MessagePack of a whole number from 0 on, as short as it can be. */
function uint(value) {
  const number = BigInt(value);
  if (number < 128n) return Uint8Array.of(Number(number));
  const [mark, width] = number < 256n ? [0xcc, 1] : number < 65536n ? [0xcd, 2] : number < 4294967296n ? [0xce, 4] : [0xcf, 8];
  const out = new Uint8Array(9);
  view(out).setBigUint64(1, number);
  out[8 - width] = mark;
  return out.slice(8 - width);
}

function text(value) {
  const bytes = utf8(value);
  const mark = bytes.length < 32 ? [0xa0 | bytes.length] : bytes.length < 256 ? [0xd9, bytes.length] : [0xda, bytes.length >> 8, bytes.length & 255];
  return concat(Uint8Array.from(mark), bytes);
}

/**
 * @param {{name: string, size: number, lastModified: number}} file @param {string} sender as the sender says
 * @returns {Uint8Array} the header.  Throws ReadError `send-name` for a name that nobody could store.
 */
export function headerOf(file, sender) {
  const name = utf8(file.name);
  if (!name.length || name.length > MOST_NAME || /^\.{1,2}$|[/\0]/.test(file.name)) throw new ReadError('send-name', 'this name cannot be sent', { name: file.name });
  const moment = BigInt(Math.max(0, Math.round(file.lastModified))) * 1000000n;
  return concat(Uint8Array.of(0x94, 0xc4, name.length), name, uint(file.size), uint(moment), text(sender.slice(0, MOST_SENDER)));
}

const blocksOf = (size) => Math.max(1, Math.ceil(size / BLOCK));

/** Bytes of the sealed object. */
export const sealedSize = (header, size) => HEAD + header.length + TAG + size + blocksOf(size) * TAG;

async function sealed(key, number, last, bytes, request) {
  const own = await derive(key, concat(utf8('safehold/1 sent '), le32(number), Uint8Array.of(last ? 1 : 0)));
  return seal(own, bytes, concat(utf8('safehold/1 sent\0'), request));
}

/**
 * @param {Uint8Array} publicKey of who asked @param {Uint8Array} request its id @param {Uint8Array} header @param {Blob} file
 * @returns {AsyncGenerator<Uint8Array>} the object.  Throws ReadError `send-read` where the file cannot be read, or changed.
 */
export async function* sealedFile(publicKey, request, header, file) {
  const key = crypto.getRandomValues(new Uint8Array(32));
  const wrapped = await wrap(publicKey, key, domain('request', request));
  const first = await sealed(key, 0, false, header, request);
  yield concat(MAGIC, request, wrapped, le32(first.length), first);
  const blocks = blocksOf(file.size);
  for (let number = 1; number <= blocks; number++) {
    const start = (number - 1) * BLOCK;
    const part = file.slice(start, Math.min(file.size, start + BLOCK));
    const bytes = await part.arrayBuffer().then((read) => new Uint8Array(read), (error) => {
      throw new ReadError('send-read', error.message);
    });
    if (bytes.length !== part.size) throw new ReadError('send-read', 'the file became shorter');
    yield sealed(key, number, number === blocks, bytes, request);
  }
}
