/** Who can open the repository: as the owner signed it, not as the server says.  Owners make recovery kits here, and take keys back. */
import { field, form, table } from '../account/forms.js';
import { call } from '../account/api.js';
import { h, icon } from '../dom.js';
import { newRecovery, requireNewest, retirement, slotsOf } from '../format/key-slots.js';
import { dateTime, t } from '../i18n.js';
import { ask, setTitle, toast } from '../shell.js';
import { kit } from './kit.js';
import { sentence } from './problems.js';
import { surroundings } from './surroundings.js';
import { visible } from './table.js';

const ROLES = ['owner', 'reader', 'writer'];
const METHODS = ['passphrase', 'keyfile', 'recovery'];
const NANOSECONDS = 1000000n;
const now = () => BigInt(Date.now()) * NANOSECONDS;

const named = (kind, known, value) => (known.includes(value) ? t(`keys.${kind}-${value}`) : visible(value));

export default async function show({ main, session, signal }) {
  setTitle(t('keys.title'));
  const { repository } = session;
  const { store } = repository.context;
  const keyring = () => repository.context.keyring; // another one after each change
  const mayChange = Boolean(keyring().adminPrivate) && surroundings.mayWrite;

  const remove = async (slot) => {
    const choices = [{ value: '', label: t('shell.cancel') }, { value: 'yes', label: t('keys.remove'), primary: true }];
    if (!(await ask({ title: t('keys.remove-title', { name: visible(slot.label) }), text: t('keys.remove-text'), choices }))) return;
    try {
      await requireNewest(store, keyring());
      const { key, data } = await retirement(keyring(), slot.id, now());
      await store.put(key, data);
      // From here on the key is refused everywhere.  What is left of it goes at once where a second factor was given just now, else later.
      await call('DELETE', surroundings.objectPath(session.place, `keys/${slot.id}.slot`)).catch(() => null);
      await session.again();
      toast(t('keys.removed', { name: visible(slot.label) }));
    } catch (error) {
      toast(sentence(error), { problem: true });
    }
    draw();
  };

  const make = async (label) => {
    await requireNewest(store, keyring());
    const made = await newRecovery(keyring(), label, now());
    await store.put(made.key, made.data);
    await session.again().catch(() => null); // the words open the repository, and must be seen
    session.busy++; // the words are read from the screen and printed, without a touch: the page is not locked meanwhile
    const over = new AbortController();
    const end = () => session.busy--;
    signal.addEventListener('abort', end, { signal: over.signal });
    const page = kit({ words: made.words, address: surroundings.address(session.place), id: repository.id, label, done: () => {
      over.abort();
      end();
      draw();
    } });
    main.fill(page);
    setTitle(t('kit.title'));
    page.querySelector('h1').focus();
    window.scrollTo(0, 0);
  };

  const row = (slot) => [
    h('span', {}, h('strong', {}, visible(slot.label) || slot.id.slice(0, 8)), slot.own && [' ', h('span', { class: 'badge added' }, t('keys.own'))], h('br', {}), h('code', { class: 'soft small' }, slot.id.slice(0, 8))),
    named('role', ROLES, slot.role),
    slot.method ? named('method', METHODS, slot.method) : '',
    slot.created ? dateTime(slot.created) : '',
    slot.retired !== null ? h('span', { class: 'badge' }, slot.retired ? t('keys.gone-since', { when: dateTime(slot.retired) }) : t('keys.gone'))
      : mayChange && !slot.own ? h('button', { class: 'button compact plain', type: 'button', onclick: () => remove(slot) }, t('keys.remove')) : '',
  ];

  const maker = () => {
    const label = field(t('keys.label'), { required: true, maxlength: 100, '.value': t('keys.label-default'), hint: t('keys.label-hint') });
    return h('section', { class: 'card padded' }, h('h2', {}, t('kit.make')), h('p', { class: 'soft' }, t('kit.why')),
      form({ fields: [label.field], label: t('kit.make'), submit: () => make(label.input.value), wide: false, say: sentence }));
  };

  const draw = () => {
    setTitle(t('keys.title'));
    const slots = slotsOf(keyring());
    const heads = ['keys.label', 'keys.role', 'keys.method', 'keys.made', 'keys.state'].map((key) => t(key));
    const why = mayChange ? null : h('p', { class: 'message' }, icon('key'), h('span', {}, t(surroundings.mayWrite ? 'keys.not-owner' : 'keys.by-program')));
    main.fill(
      h('div', { class: 'page-head' }, h('div', { class: 'titles' }, h('p', { class: 'soft small' }, h('a', { href: '#/snapshots' }, t('snapshots.title'))), h('h1', {}, t('keys.title')), h('p', { class: 'soft' }, t('keys.explained')))),
      table(heads, slots.map(row), t('keys.title')), why, mayChange && maker());
  };
  draw();
}
