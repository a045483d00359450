/** One repository: what it is called is asked for first. */
import browse from '../browse/page.js';
import { fill } from '../dom.js';
import { problem } from '../account/forms.js';
import { sentence } from './gate.js';
import { known } from './page.js';

export default async function page(given) {
  try {
    await known();
  } catch (error) {
    fill(given.main, problem(sentence(error)));
    return;
  }
  if (!given.signal.aborted) await browse(given);
}
