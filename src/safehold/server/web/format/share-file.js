/** A share file that somebody chose (docs/format/shares.md, "Share file"): read where it lies, a part at a time; nothing of it is sent. */
import { equal, hex, utf8, view } from './bytes.js';
import { ReadError, require } from './errors.js';
import { decode } from './msgpack.js';

const MAGIC = utf8('SHSHFIL1');
const END = utf8('SHSHEND1');
const TAIL = 12;
const MOST_HEADER = 1024 * 1024;

const isSize = (value) => Number.isSafeInteger(value) && value >= 0;

/** The header that ends the file.  Throws ReadError `share-file`, `share-file-cut`. */
async function headerOf(take, size) {
  const [begin, end] = [await take(0, MAGIC.length), await take(Math.max(0, size - TAIL), TAIL)];
  if (!equal(begin, MAGIC)) throw new ReadError('share-file', 'it does not begin as a share file does');
  const length = end.length === TAIL && equal(end.subarray(4), END) ? view(end).getUint32(0, true) : Infinity;
  if (length > Math.min(MOST_HEADER, size)) throw new ReadError('share-file-cut', 'its end is missing');
  const [share, lock, data, manifest] = decode(await take(size - TAIL - length, length));
  const [salt, secret, cost] = lock;
  const sound = share.length === 16 && salt.length === 16 && isSize(data) && isSize(manifest);
  if (!sound || MAGIC.length + data + manifest + length + TAIL !== size) throw new ReadError('share-file-cut', 'it has another size than it says');
  return { share: hex(share), lock: { salt: salt.slice(), secret: secret === true, cost: cost ?? null }, data, listing: manifest };
}

/** It answers as a server does (share-source.js); whether a key is right, its listing says. */
export class ShareFile {
  /** @param {Blob} file @param {{share: string, lock: import('./shares.js').Lock, data: number, listing: number}} header */
  constructor(file, header) {
    Object.assign(this, { file, ...header });
  }

  /** @param {Blob} file @returns {Promise<ShareFile>} Throws ReadError `share-file`, `share-file-cut`. */
  static async read(file) {
    try {
      return new ShareFile(file, await headerOf((offset, length) => taken(file, offset, length), file.size));
    } catch (error) {
      throw error.code?.startsWith('share-file') ? error : new ReadError('share-file', String(error.message));
    }
  }

  /** Bytes of the listing, fewer at its end. */
  async manifest(offset, length) {
    return taken(this.file, MAGIC.length + this.data + offset, Math.max(0, Math.min(length, this.listing - offset)));
  }

  /** A sealed segment.  Of a share without its data the owner's repository has it, which only the program reaches. */
  async segment({ object, offset, length }) {
    if (object === 0) throw new ReadError('share-elsewhere', 'its data lies in the repository of whoever made it');
    require(object === 1 && offset + length <= this.data, 'the listing points outside the file');
    const sealed = await taken(this.file, MAGIC.length + offset, length);
    require(sealed.length === length, 'the file is cut off');
    return sealed;
  }
}

async function taken(file, offset, length) {
  try {
    return new Uint8Array(await file.slice(offset, offset + length).arrayBuffer());
  } catch (error) {
    throw new ReadError('share-file-gone', String(error.message));
  }
}
