/** A share that is open in this page.  Its keys and its session are in memory and nowhere else. */
import { Opened } from '../browse/session.js';
import { address } from '../browse/paths.js';
import { tidy } from '../browse/sinks.js';
import { ReadError } from '../format/errors.js';
import { SharedFiles } from '../format/shared-files.js';
import { shareKey } from '../format/shares.js';
import { FILE } from '../format/trees.js';

/** What stands for the id of a snapshot in addresses. */
const WHOLE = 'share';

export class ShareSession extends Opened {
  constructor(files, single) {
    super(files);
    const { name, taken, entries, size } = files.root;
    const totals = { files: entries, folders: 0, others: 0, bytes: size };
    this.whole = { id: WHOLE, shared: true, tree: files.top, name, time: taken, totals, single };
  }

  /**
   * Opens a share on a server; that counts once.
   * @param {string} share id @param {{lock: object, secret: Uint8Array|null, password: string, source: object, pool: object}} options
   * @returns {Promise<ShareSession>} Throws ReadError.
   */
  static async open(share, { lock, secret, password, source, pool }) {
    const key = await shareKey(share, lock, secret, password, pool);
    if (!(await source.open(await key.auth()))) {
      throw lock.cost ? new ReadError('share-password', 'the password or the link is wrong') : new ReadError('share-link', 'the link is wrong');
    }
    // The server took the key for right: so the listing is not the one that was made with it.
    return ShareSession.#of(key, source, pool, (why) => new ReadError('share-altered', why));
  }

  /**
   * Opens a share file.
   * @param {import('../format/share-file.js').ShareFile} file @param {{secret: Uint8Array|null, password: string, pool: object}} options
   * @returns {Promise<ShareSession>} Throws ReadError.
   */
  static async ofFile(file, { secret, password, pool }) {
    const key = await shareKey(file.share, file.lock, secret, password, pool);
    const wrong = (why) => (file.lock.cost ? new ReadError('share-file-password', why) : new ReadError('share-words', why));
    return ShareSession.#of(key, file, pool, wrong);
  }

  static async #of(key, source, pool, wrong) {
    void tidy();
    try {
      const files = await SharedFiles.open(key, source, pool);
      const { entries } = await files.trees.read(files.top);
      const single = entries.length === 1 && entries[0].kind === FILE && entries[0].name === files.root.name ? entries[0] : null;
      return new ShareSession(files, single);
    } catch (error) {
      throw error.code === 'wrong-key' ? wrong(error.message) : error;
    }
  }

  /** Where to begin: in the shared folder, or at the one file. */
  home() {
    const { single } = this.whole;
    return single ? address('file', [WHOLE], [single.rawName]) : address('files', [WHOLE]);
  }

  /** There is one state of it. */
  snapshot(id) {
    return id === WHOLE ? this.whole : undefined;
  }
}
