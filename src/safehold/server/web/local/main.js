/** The browsing pages as `safehold ui` shows them: the same views, of repositories that this machine reads. */
import { surroundings } from '../browse/surroundings.js';
import { start } from '../shell.js';
import { store } from './gate.js';
import { locationOf } from './page.js';

const nameOf = (place) => place.slice('local/'.length);

Object.assign(surroundings, {
  store: (place) => store(nameOf(place)),
  nameOf: (place) => locationOf(nameOf(place)),
  mayWrite: false,
  note: 'local.note',
});

start([
  ['/', () => import('./page.js')],
  ['/:account/:name', () => import('./repository.js')],
], { footer: 'local.footer' });
