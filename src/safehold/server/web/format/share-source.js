/** A share on a server, as a friend sees it (docs/sharing.md, "On the server").  No cookie goes along: nobody is logged in here. */
import { hex, unbase64 } from './bytes.js';
import { ReadError, require } from './errors.js';
import { fetchWhole, isComplete } from './http-store.js';

const OVER = {
  withdrawn: () => new ReadError('share-withdrawn', 'the share was taken back'),
  expired: () => new ReadError('share-expired', 'the share has expired'),
  'used-up': () => new ReadError('share-used-up', 'the share was opened as often as it may be'),
};

/** What a refusal means. @param {Response} response */
export async function refusal(response) {
  const { code, message } = await response.json().catch(() => ({}));
  if (response.status === 410) return OVER[code]?.() ?? new ReadError('share-over', message ?? 'it has ended');
  if (response.status === 404) return new ReadError('share-unknown', 'there is no such share');
  if (response.status === 429) return new ReadError('share-tries', 'too many tries');
  return new ReadError('refused', message ?? `the server answered ${response.status}`, { status: response.status });
}

async function lost(response) {
  if (response.status === 401) return new ReadError('share-lapsed', 'the share was opened too long ago');
  if (response.status === 404) return new ReadError('missing', 'a part of the share is lost');
  return refusal(response);
}

const toBase64 = (bytes) => btoa(String.fromCharCode(...bytes));

export class ShareSource {
  /** @param {string} share its id @param {object} [options] `base` of the server, `wait`: first pause, ms */
  constructor(share, { base = '', wait } = {}) {
    Object.assign(this, { base: `${base}/api/v1/shares/${share}`, options: { wait, credentials: 'omit' }, session: '', size: 0 });
  }

  /** @returns {Promise<import('./shares.js').Lock>} which kind of key it takes.  Throws ReadError. */
  async see() {
    const told = JSON.parse(new TextDecoder().decode(await fetchWhole(this.base, {}, { ...this.options, refusal })));
    return { salt: unbase64(told.salt), secret: told.secret === true, cost: told.password ?? null };
  }

  /**
   * Count an opening.  It is asked for once and not again: nobody knows whether one that broke off was counted.
   * @param {Uint8Array} auth @returns {Promise<boolean>} whether that is the key.  Throws ReadError.
   */
  async open(auth) {
    const order = { method: 'POST', body: JSON.stringify({ auth: toBase64(auth) }), headers: { 'Content-Type': 'application/json' }, cache: 'no-store', credentials: 'omit', redirect: 'error' };
    let response;
    try {
      response = await fetch(`${this.base}/open`, order);
    } catch (error) {
      throw new ReadError('network', String(error.message));
    }
    if (response.status === 401) return false;
    if (!response.ok) throw response.status >= 500 ? new ReadError('network', `the server answered ${response.status}`) : await refusal(response);
    const told = await response.json();
    Object.assign(this, { session: told.session, size: told.manifest_size });
    return true;
  }

  #get(path, headers = {}) {
    return fetchWhole(`${this.base}/${path}`, { ...headers, Authorization: `Bearer ${this.session}` }, { ...this.options, refusal: lost, isWhole: isComplete });
  }

  /** Bytes of the listing, fewer at its end. */
  async manifest(offset, length) {
    const end = Math.min(offset + length, this.size);
    return end > offset ? this.#get('manifest', { Range: `bytes=${offset}-${end - 1}` }) : new Uint8Array(0);
  }

  /** A sealed segment. */
  async segment({ id, object, offset, length }) {
    const reading = object
      ? this.#get(`objects/${object}`, { Range: `bytes=${offset}-${offset + length - 1}` })
      : this.#get(`segments/${hex(id)}`);
    const sealed = await reading.catch((error) => {
      throw error.code === 'missing' ? new ReadError('damaged', error.message) : error;
    });
    require(sealed.length === length, 'a segment has another length than the listing says');
    return sealed;
  }
}
