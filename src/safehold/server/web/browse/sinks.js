/**
 * Where a download goes.  A file that is not whole must never look like one: bytes go to a place where nobody takes them for the
 * file, and it gets its name when all of them are there and were counted.
 *
 * - **Chosen by the person** (showSaveFilePicker, Chromium): the browser writes beside the name, and moves it there on `close`.
 * - **In memory**, for what is small: it becomes a download when it is whole.
 * - **In the browser's private files** (OPFS), for the rest: written to the disk there, handed to the person when it is whole.
 *
 * A service worker that streams into a download is not used: Firefox stops such a worker after 30 seconds and leaves a truncated
 * file that looks finished.
 */
import { ReadError } from '../format/errors.js';

const IN_MEMORY = 32 * 1024 * 1024;
/** Handed to the person, and not yet removed: the browser may still be copying it. */
const LINGER = 10 * 60 * 1000;
/** A file of another visit that is older than this is removed, unless it is still being written. */
const OLD = 60 * 60 * 1000;
const FOLDER = 'downloads';
/** Small writes are put together: each costs a trip to another process. */
const BLOCK = 4 * 1024 * 1024;

function give(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), LINGER);
}

class MemorySink {
  constructor(name) {
    Object.assign(this, { name, parts: [], size: 0 });
  }

  async write(bytes) {
    this.parts.push(bytes.slice());
    this.size += bytes.length;
  }

  async close(size) {
    const blob = new Blob(this.parts, { type: 'application/octet-stream' });
    counted(blob.size, size);
    give(blob, this.name);
  }

  async abort() {
    this.parts = [];
  }
}

class FileSink {
  constructor(handle, finish, discard) {
    Object.assign(this, { handle, finish, discard, gathered: [], waiting: 0, size: 0 });
  }

  async open() {
    this.stream = await this.handle.createWritable();
    return this;
  }

  async write(bytes) {
    this.gathered.push(bytes.slice());
    this.waiting += bytes.length;
    this.size += bytes.length;
    if (this.waiting >= BLOCK) await this.#flush();
  }

  async #flush() {
    const block = new Blob(this.gathered);
    this.gathered = [];
    this.waiting = 0;
    await this.stream.write(block);
  }

  async close(size) {
    counted(this.size, size);
    await this.#flush();
    await this.stream.close();
    const file = await this.handle.getFile();
    counted(file.size, size);
    await this.finish(file);
  }

  async abort() {
    await this.stream.abort().catch(() => {});
    await this.discard();
  }
}

function counted(found, wanted) {
  if (found !== wanted) throw new ReadError('storage', `${found} bytes were written, and ${wanted} should have been`);
}

/** Remove what earlier visits left in the browser's private files; what other tabs may still need stays. */
export async function tidy() {
  const root = await navigator.storage?.getDirectory?.().catch(() => null);
  const folder = await root?.getDirectoryHandle(FOLDER).catch(() => null);
  if (!folder) return;
  for await (const name of folder.keys()) {
    if (Date.now() - Number(name.split(' ')[0]) > OLD) await folder.removeEntry(name).catch(() => {});
  }
}

/** A file among the browser's private ones, under a name of its own. */
async function privateFile(size, finish) {
  if (!navigator.storage?.getDirectory) throw new ReadError('storage', 'this browser has no private files');
  const { quota = Infinity, usage = 0 } = await navigator.storage.estimate();
  if (size > quota - usage) throw new ReadError('storage', `${size} bytes are needed, and the browser gives ${quota - usage}`);
  const root = await navigator.storage.getDirectory();
  const folder = await root.getDirectoryHandle(FOLDER, { create: true });
  const own = `${Date.now()} ${crypto.randomUUID()}`;
  const handle = await folder.getFileHandle(own, { create: true });
  const remove = () => folder.removeEntry(own).catch(() => {});
  return new FileSink(handle, (file) => finish(file, remove), remove).open();
}

function privateSink(name, size) {
  return privateFile(size, async (file, remove) => {
    give(file, name);
    setTimeout(remove, LINGER);
  });
}

/**
 * Put bytes aside until they are used: small ones in memory, the rest in the browser's private files.
 * @param {AsyncIterable<Uint8Array>} source @param {number} size @returns {Promise<{blob: Blob, remove: () => void}>} Throws ReadError `storage`.
 */
export async function aside(source, size) {
  let kept = null;
  const sink = size <= IN_MEMORY ? null : await privateFile(size, async (blob, remove) => (kept = { blob, remove }));
  const parts = [];
  try {
    for await (const bytes of source) await (sink ? sink.write(bytes) : parts.push(bytes));
    await sink?.close(size);
  } catch (error) {
    await sink?.abort();
    throw error;
  }
  kept ??= { blob: new Blob(parts), remove() {} };
  counted(kept.blob.size, size);
  return kept;
}

async function chosenSink(name, confirm) {
  if (!navigator.userActivation?.isActive) await confirm();
  const handle = await window.showSaveFilePicker({ suggestedName: name, id: 'safehold' });
  return new FileSink(handle, async () => {}, async () => {}).open();
}

/**
 * @param {string} name of the file @param {number} size in bytes @param {() => Promise<void>} confirm asks for a click
 * @returns {Promise<{write: Function, close: (size: number) => Promise<void>, abort: Function}>} `close` compares the size.  Throws
 *   AbortError where the person chose no place, ReadError `storage` where there is no room.
 */
export async function sinkFor(name, size, confirm) {
  if (size <= IN_MEMORY) return new MemorySink(name);
  if (window.showSaveFilePicker) return chosenSink(name, confirm);
  return privateSink(name, size);
}
