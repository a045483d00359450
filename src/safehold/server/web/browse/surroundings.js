/** Where repositories come from and what is said of that: an online server, unless `safehold ui` puts itself in its place (local/main.js). */
import { HttpStore } from '../format/http-store.js';

export const surroundings = {
  /** @param {string} place `ACCOUNT/NAME` @returns {object} a store, as format/repository.js describes it */
  store: (place) => new HttpStore(`/api/v1/repositories/${place}`),
  /** What a repository is called, for people. */
  nameOf: (place) => place,
  /** Where a repository is, as one gives it to the program. */
  address: (place) => `${location.origin}/${place}`,
  /** Of an object, for requests about it. */
  objectPath: (place, key) => `/repositories/${place}/objects/${key}`,
  /** Whether keys can be changed from here. */
  mayWrite: true,
  /** The text that says how far these pages can be trusted. */
  note: 'unlock.note',
};
