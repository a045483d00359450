/** Opening a repository: by passphrase, recovery words or key file. */
import * as credentials from '../format/credentials.js';
import { fill, h, icon } from '../dom.js';
import { t } from '../i18n.js';
import { setTitle } from '../shell.js';
import { isQuiet, problem } from './problems.js';
import { Session } from './session.js';
import { surroundings } from './surroundings.js';

const METHODS = ['passphrase', 'words', 'file'];

function passphraseField() {
  const input = h('input', { class: 'input', id: 'secret', type: 'password', autocomplete: 'off', required: true, autofocus: true });
  const show = h('button', { class: 'button plain compact', type: 'button', 'aria-pressed': 'false', onclick: () => {
    const hidden = input.type === 'password';
    input.type = hidden ? 'text' : 'password';
    show.setAttribute('aria-pressed', String(hidden));
    show.textContent = hidden ? t('unlock.hide') : t('unlock.show');
  } }, t('unlock.show'));
  const field = h('div', { class: 'field' }, h('div', { class: 'label-line' }, h('label', { for: 'secret' }, t('unlock.passphrase')), show), input);
  return { field, read: () => credentials.ofPassphrase(input.value) };
}

function wordsField() {
  const options = { class: 'input', id: 'secret', required: true, rows: 4, autocomplete: 'off', autocapitalize: 'none', spellcheck: 'false', 'aria-describedby': 'secret-hint' };
  const input = h('textarea', options);
  const hint = h('p', { class: 'hint', id: 'secret-hint' }, t('unlock.words-hint'));
  return { field: h('div', { class: 'field' }, h('label', { for: 'secret' }, t('unlock.words')), input, hint), read: () => credentials.ofWords(input.value) };
}

function fileField() {
  const input = h('input', { class: 'input', id: 'secret', type: 'file', required: true, 'aria-describedby': 'secret-hint' });
  const hint = h('p', { class: 'hint', id: 'secret-hint' }, t('unlock.file-hint'));
  const read = async () => credentials.ofKeyFile(await input.files[0].slice(0, 65536).text());
  return { field: h('div', { class: 'field' }, h('label', { for: 'secret' }, t('unlock.file')), input, hint), read };
}

const FIELDS = { passphrase: passphraseField, words: wordsField, file: fileField };

/**
 * @param {HTMLElement} main @param {string} place `ACCOUNT/NAME` @param {{locked: boolean, opened: (session: Session) => void, onLock: () => void}} options
 */
export function unlock(main, place, { locked, opened, onLock }) {
  setTitle(t('unlock.title'));
  const holder = h('div', {});
  const outcome = h('div', { class: 'outcome' });
  const submit = h('button', { class: 'button primary wide' }, t('unlock.open'));
  let current;

  const choose = (method) => {
    current = FIELDS[method]();
    fill(holder, current.field);
    fill(outcome);
  };
  const radios = METHODS.map((method) => h('label', { class: 'segment' },
    h('input', { type: 'radio', name: 'method', value: method, '.checked': method === 'passphrase', onchange: () => choose(method) }), h('span', {}, t(`unlock.by-${method}`))));

  const says = (step, done, all) => {
    const text = all ? t(`unlock.step-${step}-of`, { done, all }) : t(`unlock.step-${step}`);
    const line = outcome.querySelector('.step');
    if (line) line.textContent = text;
    else fill(outcome, h('p', { class: 'working', role: 'status' }, h('span', { class: 'spinner' }), h('span', { class: 'step' }, text)));
  };

  const open = async (event) => {
    event.preventDefault();
    submit.disabled = true;
    try {
      opened(await Session.open(place, await current.read(), says, onLock));
    } catch (error) {
      // Only the path goes along: what stands in the fragment is not the server's business.
      const login = error.code === 'login' && h('a', { class: 'button wide', href: `/login?next=${encodeURIComponent(location.pathname)}` }, t('login.title'));
      if (!isQuiet(error)) fill(outcome, problem(error), login);
      submit.disabled = false;
      holder.querySelector('#secret')?.focus();
    }
  };

  fill(main, h('div', { class: 'unlock card' },
    h('div', { class: 'unlock-head' }, h('span', { class: 'medallion' }, icon('lock')), h('h1', {}, t('unlock.title')), h('p', { class: 'soft' }, t('unlock.subtitle', { place: surroundings.nameOf(place) }))),
    locked && h('p', { class: 'message' }, icon('lock'), t('unlock.locked')),
    h('form', { class: 'unlock-form', onsubmit: open },
      h('fieldset', { class: 'segments' }, h('legend', { class: 'hidden-visually' }, t('unlock.method')), radios), holder, submit, outcome),
    h('p', { class: 'unlock-note small soft' }, t(surroundings.note))));
  choose('passphrase');
  holder.querySelector('#secret').focus();
}
