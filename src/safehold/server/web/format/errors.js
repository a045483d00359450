/**
 * What can go wrong while a repository is read.  `code` is one of a few words for which the pages have a sentence in every language;
 * the message is English and says more, for logs and tests.
 *
 * wrong-key     no slot opens with what was given          removed      the slot was removed
 * damaged       bytes are not what they should be          unsupported  a later format, or an unknown feature
 * missing       an object or a path is not there           writer       a key that reads nothing
 * rolled-back   the store shows less than it once did      network      the server could not be reached, or stopped in the middle
 * refused       the server says no                         login        the server wants to know who asks
 * locked        the repository was locked                  kdf          a slot asks for a forbidden derivation
 * key-file          what was given is no key file, or a damaged one
 * words         what was given are no recovery words       storage      the browser has no room
 * share-file    a file is no share, or was cut off         share-words  what was given is not the key of a share
 */
export class ReadError extends Error {
  /** @param {string} code @param {string} message @param {object} [details] values for the sentence */
  constructor(code, message, details = {}) {
    super(message);
    this.name = 'ReadError';
    this.code = code;
    this.details = details;
  }
}

/** Throw `damaged` unless the condition holds. */
export function require(condition, message) {
  if (!condition) throw new ReadError('damaged', message);
}
