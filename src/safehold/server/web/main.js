/** The pages, by address.  A page is loaded when it is first shown. */
import { start } from './shell.js';

start([['/:account/:name', () => import('./browse/page.js')]]);
