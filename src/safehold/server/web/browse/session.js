/**
 * An opened repository in this page.  The keys are in its memory and nowhere else: not stored, not sent, gone when the page is left,
 * locked, or not used for a while.
 */
import { WorkerPool } from '../format/pool.js';
import { Repository } from '../format/repository.js';
import { tidy } from './sinks.js';
import { surroundings } from './surroundings.js';

/** After so long without a key, a click or a download the repository is locked. */
export const IDLE = 10 * 60 * 1000;
const SEEN = 'safehold-seen ';

function seen(id) {
  try {
    const found = JSON.parse(localStorage.getItem(SEEN + id));
    return found && Number.isInteger(found.epoch) && Array.isArray(found.retired) ? found : undefined;
  } catch {
    return undefined;
  }
}

/** What the store may not take back: the newest epoch and who was removed.  No secret is in it. */
function remember(id, what) {
  try {
    localStorage.setItem(SEEN + id, JSON.stringify(what));
  } catch {
    // Without storage every visit is a first one.
  }
}

/** What is open in a page, and the addresses of bytes that were made of it. */
export class Opened {
  constructor(repository) {
    Object.assign(this, { repository, busy: 0, urls: new Set() });
  }

  /** Something is being done with it. */
  touch() {}

  /** An address for bytes, which ends with the signal or the session. */
  url(blob, signal) {
    const url = URL.createObjectURL(blob);
    this.urls.add(url);
    signal?.addEventListener('abort', () => {
      URL.revokeObjectURL(url);
      this.urls.delete(url);
    });
    return url;
  }

  /** Forget keys, bytes and addresses. */
  close() {
    for (const url of this.urls) URL.revokeObjectURL(url);
    this.repository.close();
    this.locked = true;
  }
}

export class Session extends Opened {
  constructor(repository, onLock) {
    super(repository);
    Object.assign(this, { onLock, warnings: [] });
    this.touch = this.touch.bind(this);
    for (const event of ['pointerdown', 'keydown', 'wheel']) window.addEventListener(event, this.touch, { passive: true });
    this.touch();
  }

  /**
   * @param {string} place `ACCOUNT/NAME` @param {object} credential of format/credentials.js
   * @param {(step: string, done?: number, all?: number) => void} says `keys`, `snapshots`, `index`
   * @param {() => void} onLock @returns {Promise<Session>} Throws ReadError.
   */
  static async open(place, credential, says, onLock) {
    void tidy();
    const store = surroundings.store(place);
    const pool = new WorkerPool();
    const warnings = [];
    try {
      says('keys');
      const report = (warning) => warnings.push(warning);
      const repository = await Repository.open(store, credential, { pool, report, seen, remember });
      const { snapshots } = await repository.snapshots((done, all) => says('snapshots', done, all));
      await repository.loadIndex((done, all) => says('index', done, all));
      const session = new Session(repository, onLock);
      return Object.assign(session, { place, snapshots: snapshots.reverse(), warnings, again: () => repository.rereadKeys(credential) });
    } catch (error) {
      pool.close();
      throw error;
    }
  }

  /** @param {string} prefix of an id */
  snapshot(prefix) {
    return this.snapshots.find(({ id }) => prefix.length >= 8 && id.startsWith(prefix));
  }

  touch() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => (this.busy ? this.touch() : this.lock()), IDLE);
  }

  lock() {
    clearTimeout(this.timer);
    for (const event of ['pointerdown', 'keydown', 'wheel']) window.removeEventListener(event, this.touch);
    this.close();
    this.snapshots = [];
    this.onLock();
  }
}
