/** What the forms of these pages share: fields, a button that waits, and where problems are said. */
import { fill, h, icon } from '../dom.js';
import { t } from '../i18n.js';
import { navigate } from '../shell.js';
import { Refused, sentence } from './api.js';
import { available, stepUp } from './webauthn.js';

let made = 0;

/**
 * A labelled field.
 * @param {string} label @param {object} attributes of the input; `hint` is said below it
 * @returns {{field: HTMLElement, input: HTMLInputElement}}
 */
export function field(label, { hint = '', tag = 'input', ...attributes } = {}, ...children) {
  const id = `field-${made++}`;
  const described = hint ? { 'aria-describedby': `${id}-hint` } : {};
  const input = h(tag, { class: 'input', id, ...described, ...attributes }, ...children);
  return { input, field: h('div', { class: 'field' }, h('label', { for: id }, label), input, hint && h('p', { class: 'hint', id: `${id}-hint` }, hint)) };
}

/** A message that something went wrong. */
export const problem = (text) => h('p', { class: 'message problem', role: 'alert' }, icon('warning'), h('span', {}, text));

/**
 * A form.  `submit` is called with what shows progress; what it throws is said, and the form can be sent again.
 * @param {{fields: (Node|null)[], label: string, submit: (says: (text: string) => void) => Promise<void>, wide?: boolean, say?: (error: Error) => string}} form
 */
export function form({ fields, label, submit, wide = true, say = sentence }) {
  const outcome = h('div', { class: 'outcome' });
  const button = h('button', { class: `button primary ${wide ? 'wide' : ''}` }, label);
  const says = (text) => fill(outcome, h('p', { class: 'working', role: 'status' }, h('span', { class: 'spinner' }), h('span', {}, text)));
  const send = async (event) => {
    event.preventDefault();
    button.disabled = true;
    fill(outcome);
    try {
      await submit(says);
      fill(outcome);
    } catch (error) {
      fill(outcome, problem(say(error)));
    }
    button.disabled = false;
  };
  return h('form', { class: 'form', onsubmit: send }, fields, button, outcome);
}

/** Draw a page that asks the server first; who is not logged in is sent to do so, and comes back. */
export async function drawn(main, draw) {
  try {
    await draw();
  } catch (error) {
    if (error instanceof Refused && error.status === 401) {
      navigate(`/login?next=${encodeURIComponent(location.pathname + location.hash)}`);
    } else {
      fill(main, problem(sentence(error)));
    }
  }
}

/** Where to go after logging in: only to a page of these, whatever the address says. */
export function nextPage() {
  const wanted = new URLSearchParams(location.search).get('next') ?? '/';
  const target = new URL(wanted, location.origin);
  return target.origin === location.origin && wanted.startsWith('/') && !wanted.startsWith('//') ? target.pathname + target.hash : '/';
}

/** A card with a heading. */
export const card = (title, ...children) => h('section', { class: 'card padded' }, h('h2', {}, title), ...children);

/** A table; on a phone its rows become blocks, whose cells say their heading. */
export function table(heads, rows, caption) {
  return h('div', { class: 'table-holder' }, h('table', { class: 'listing' },
    h('caption', { class: 'hidden-visually' }, caption),
    h('thead', {}, h('tr', {}, heads.map((text) => h('th', { scope: 'col' }, text)))),
    h('tbody', {}, rows.map((cells) => h('tr', {}, cells.map((cell, at) => h(at ? 'td' : 'th', { 'data-label': heads[at], scope: at ? null : 'row' }, cell)))))));
}

export const badge = (kind, text) => h('span', { class: `badge ${kind}` }, text);

/** Ask for a code of the second factor. @returns {Promise<boolean>} whether one was given and taken */
export function askCode(call) {
  return new Promise((resolve) => {
    const code = field(t('account.code'), { autocomplete: 'one-time-code', inputmode: 'text', required: true, hint: t('account.code-hint') });
    let given = false;
    const dialog = h('dialog', { 'aria-labelledby': 'code-title' });
    const sending = form({
      fields: [h('h2', { id: 'code-title' }, t('account.confirm-title')), h('p', {}, t('account.confirm-text')), code.field],
      label: t('account.confirm'),
      submit: async () => {
        await call('POST', '/step-up', { code: code.input.value });
        given = true;
        dialog.close();
      },
    });
    const passkey = available() && h('button', { class: 'button wide', type: 'button', onclick: () => byPasskey() }, icon('key'), t('passkeys.use'));
    const outcome = h('div', { class: 'outcome' });
    const byPasskey = async () => {
      try {
        await stepUp();
        given = true;
        dialog.close();
      } catch (error) {
        fill(outcome, problem(sentence(error)));
      }
    };
    const cancel = h('button', { class: 'button plain wide', type: 'button', onclick: () => dialog.close() }, t('shell.cancel'));
    dialog.append(sending, h('div', { class: 'ways' }, passkey || '', cancel, outcome));
    dialog.addEventListener('close', () => {
      dialog.remove();
      resolve(given);
    });
    document.body.append(dialog);
    dialog.showModal();
    code.input.focus();
  });
}

/** Do what needs a second factor: it is asked for where the server wants one. @returns {Promise<boolean>} whether it was done */
export async function confirmed(call, action) {
  try {
    await action();
    return true;
  } catch (error) {
    if (!(error instanceof Refused) || error.code !== 'second-factor-needed') throw error;
  }
  if (!(await askCode(call))) return false;
  await action();
  return true;
}
