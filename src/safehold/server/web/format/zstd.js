/**
 * Zstandard, by the WebAssembly module of the npm package zstddec (vendor/README.md).  The module lies in a file of its own: the
 * package keeps it in a data: URL, which a page without `connect-src data:` must not fetch.
 */
import { ReadError } from './errors.js';

let loading;
let exports;

async function moduleBytes() {
  const url = new URL('../vendor/zstddec.wasm', import.meta.url);
  if (url.protocol !== 'file:') return (await fetch(url)).arrayBuffer();
  const { readFile } = await import('node:fs/promises');
  return readFile(url);
}

async function load() {
  const imports = { env: { emscripten_notify_memory_growth: () => {} } };
  ({ exports } = (await WebAssembly.instantiate(await moduleBytes(), imports)).instance);
}

/** Must have been awaited once before `decompress`. */
export const ready = () => (loading ??= load());

/**
 * @param {Uint8Array} packed zstd frames @param {number} size of what they unpack to; they never get more memory than that
 * @returns {Uint8Array} Throws ReadError `damaged` where they unpack to another size, or don't.
 */
export function decompress(packed, size) {
  const from = exports.malloc(packed.length || 1);
  const to = exports.malloc(size || 1);
  try {
    if (!from || !to) throw new ReadError('storage', 'there is no memory to decompress into');
    new Uint8Array(exports.memory.buffer).set(packed, from);
    const length = exports.ZSTD_decompress(to, size, from, packed.length);
    if (length !== size) throw new ReadError('damaged', 'a payload has another length than it claims');
    return new Uint8Array(exports.memory.buffer).slice(to, to + size);
  } finally {
    exports.free(from);
    exports.free(to);
  }
}
