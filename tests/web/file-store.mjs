/** A repository in a folder, for the tests in node. */
import { open, readFile, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ReadError } from '../../src/safehold/server/web/format/errors.js';

const missing = (error) => {
  throw error.code === 'ENOENT' ? new ReadError('missing', error.message) : error;
};

export class FileStore {
  constructor(folder) {
    this.folder = folder;
  }

  async get(key) {
    return new Uint8Array(await readFile(join(this.folder, key)).catch(missing));
  }

  async getRange(key, start, length) {
    const file = await open(join(this.folder, key)).catch(missing);
    try {
      const bytes = new Uint8Array(length);
      const { bytesRead } = await file.read(bytes, 0, length, start);
      if (bytesRead !== length) throw new ReadError('damaged', `${key} ends before byte ${start + length}`);
      return bytes;
    } finally {
      await file.close();
    }
  }

  async list(prefix) {
    const names = await readdir(join(this.folder, prefix), { recursive: true }).catch(() => []);
    const found = [];
    for (const name of names) {
      const info = await stat(join(this.folder, prefix, name));
      if (info.isFile()) found.push({ key: prefix + name, size: info.size });
    }
    return found;
  }
}
