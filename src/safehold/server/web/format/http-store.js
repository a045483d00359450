/** A repository's store over HTTP (docs/server.md, "The store over HTTP"). */
import { ReadError } from './errors.js';

const ATTEMPTS = 4;
const FIRST_WAIT = 300;

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const encoded = (key) => key.split('/').map(encodeURIComponent).join('/');

export class HttpStore {
  /**
   * @param {string} base address of the repository, as in docs/server.md @param {object} [options] `wait`: first pause, ms; `headers` that go with
   *   each request; `refusal`: as in `fetchWhole`
   */
  constructor(base, { wait = FIRST_WAIT, headers = {}, refusal = refused } = {}) {
    this.base = base.replace(/\/$/, '');
    Object.assign(this, { wait, headers, refusal });
  }

  async get(key) {
    return this.#bytes(key, {}, isComplete);
  }

  async getRange(key, start, length) {
    if (length === 0) return new Uint8Array(0);
    const headers = { Range: `bytes=${start}-${start + length - 1}` };
    const bytes = await this.#bytes(key, headers, (response, body) => response.status !== 206 || body.length > 0);
    if (bytes.length !== length) throw new ReadError('damaged', `${key} ends before byte ${start + length}`);
    return bytes;
  }

  async list(prefix) {
    const found = [];
    let after = '';
    do {
      const query = new URLSearchParams({ prefix, after, limit: 10000 });
      const page = JSON.parse(new TextDecoder().decode(await this.#fetch(`?${query}`, {})));
      for (const [key, size] of page.objects) found.push({ key, size });
      // A server that repeats itself would keep us here for ever.
      if (page.next !== null && page.next <= after) throw new ReadError('network', 'the server lists in circles');
      after = page.next;
    } while (after !== null);
    return found;
  }

  /** Store an object.  Throws ReadError `refused`, `login`, `network`. */
  async put(key, bytes) {
    const options = { method: 'PUT', headers: { ...this.headers, 'X-Safehold': '1' }, body: bytes, cache: 'no-store', credentials: 'same-origin', redirect: 'error' };
    const response = await fetch(`${this.base}/objects/${encoded(key)}`, options).catch((error) => {
      throw new ReadError('network', String(error.message));
    });
    if (!response.ok) throw await this.refusal(response);
  }

  #bytes(key, headers, isWhole) {
    return this.#fetch(`/${encoded(key)}`, headers, { isWhole });
  }

  #fetch(rest, headers, options = {}) {
    return fetchWhole(`${this.base}/objects${rest}`, { ...this.headers, ...headers }, { wait: this.wait, refusal: this.refusal, ...options });
  }
}

/** Whether a body has the length that was announced. */
export function isComplete(response, body) {
  const length = response.headers.get('Content-Length');
  return response.headers.has('Content-Encoding') || length === null || Number(length) === body.length;
}

/**
 * Fetch bytes; again where the connection broke or the server is busy.  A body that is cut short counts as broken.
 * @param {string} url @param {object} headers @param {object} options `wait`: first pause, ms; `credentials`; `isWhole(response, body)`;
 *   `refusal(response)`: what an answer that is no success means
 * @returns {Promise<Uint8Array>} Throws ReadError.
 */
export async function fetchWhole(url, headers, { wait = FIRST_WAIT, credentials = 'same-origin', isWhole = () => true, refusal = refused }) {
  let problem;
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    if (attempt) await pause(wait * 2 ** (attempt - 1));
    try {
      const response = await fetch(url, { headers, cache: 'no-store', credentials, redirect: 'error' });
      if (response.status < 500 && response.status !== 429) {
        if (!response.ok) throw await refusal(response);
        if (headers.Range && response.status !== 206) throw new ReadError('damaged', 'the server ignores ranges');
        const body = new Uint8Array(await response.arrayBuffer());
        if (isWhole(response, body)) return body;
      }
      problem = new ReadError('network', `the server answered ${response.status}`);
    } catch (error) {
      if (error instanceof ReadError) throw error;
      problem = new ReadError('network', String(error.message));
    }
  }
  throw problem;
}

export async function refused(response) {
  if (response.status === 404) return new ReadError('missing', 'there is no such object');
  if (response.status === 416) return new ReadError('damaged', 'an object ends before the range does');
  if (response.status === 401) return new ReadError('login', 'the server wants to know who asks');
  const said = await response.json().catch(() => ({}));
  return new ReadError('refused', said.message ?? `the server answered ${response.status}`, { status: response.status });
}
