/** The repositories that `safehold ui` was started for; of a single one, at once its page. */
import { problem } from '../account/forms.js';
import { visible } from '../browse/table.js';
import { fill, h, icon } from '../dom.js';
import { t } from '../i18n.js';
import { navigate, setTitle } from '../shell.js';
import { repositories, sentence } from './gate.js';

let found = null;

/** Ask once what there is. */
export const known = async () => (found ??= await repositories());

/** Where a repository is, for people. */
export const locationOf = (name) => visible(found?.find((each) => each.name === name)?.location ?? name);

const address = ({ name }) => `/local/${encodeURIComponent(name)}`;

let first = true;

export default async function page({ main, signal }) {
  setTitle(t('local.title'));
  try {
    await known();
  } catch (error) {
    fill(main, problem(sentence(error)));
    return;
  }
  if (signal.aborted) return;
  if (found.length === 1 && first) {
    first = false;
    navigate(address(found[0]));
    return;
  }
  const line = (each) => h('li', { class: 'device' }, icon('folder'),
    h('div', { class: 'device-words' }, h('a', { href: address(each) }, visible(each.name)), h('span', { class: 'soft small' }, visible(each.location))));
  fill(main, h('div', { class: 'page-head' }, h('div', { class: 'titles' }, h('h1', {}, t('local.title')))),
    h('ul', { class: 'devices card padded' }, found.map(line)));
}
