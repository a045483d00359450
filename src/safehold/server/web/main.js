/** The pages, by address.  A page is loaded when it is first shown. */
import { start } from './shell.js';

start([
  ['/', () => import('./account/overview.js')],
  ['/login', () => import('./account/login.js')],
  ['/setup', () => import('./account/setup.js')],
  ['/join', () => import('./account/setup.js')],
  ['/people', () => import('./account/people.js')],
  ['/activity', () => import('./account/activity.js')],
  ['/storage', () => import('./account/storage.js')],
  ['/settings', () => import('./account/settings.js')],
  ['/tokens', () => import('./account/tokens.js')],
  ['/enrol', () => import('./account/enrol.js')],
  ['/open', () => import('./share/open-file.js')],
  ['/s/:share', () => import('./share/page.js')],
  ['/r/:request', () => import('./share/send.js')],
  ['/:account/:name', () => import('./browse/page.js')],
  ['/:account/:name/devices', () => import('./account/devices.js')],
  ['/:account/:name/trash', () => import('./account/trash.js')],
  ['/:account/:name/shares', () => import('./account/shares.js')],
]);
