/** Logging in. */
import { fill, h, icon } from '../dom.js';
import { t } from '../i18n.js';
import { navigate, setNavigation, setTitle } from '../shell.js';
import { call } from './api.js';
import { field, form, nextPage } from './forms.js';
import { fromBase64, keysOf, toBase64 } from './password.js';

/** What a password proves, stretched as the server says. */
export async function loginKey(name, password) {
  const told = await call('POST', '/prelogin', { name });
  const keys = await keysOf(password, { salt: fromBase64(told.salt), memory: told.memory_kib, passes: told.passes, lanes: told.lanes });
  return toBase64(keys.login);
}

export default async function page({ main }) {
  setTitle(t('login.title'));
  setNavigation([]);
  const state = await call('GET', '/state');
  if (state.first_run) {
    navigate('/setup');
    return;
  }
  const name = field(t('account.name'), { name: 'username', autocomplete: 'username', autocapitalize: 'none', spellcheck: 'false', required: true });
  const password = field(t('account.password'), { type: 'password', name: 'password', autocomplete: 'current-password', required: true });
  const code = field(t('account.code'), { autocomplete: 'one-time-code', hint: t('account.code-hint') });
  code.field.hidden = true;
  const submit = async (says) => {
    says(t('login.stretching'));
    const login = await loginKey(name.input.value, password.input.value);
    try {
      await call('POST', '/login', { name: name.input.value, login, code: code.input.value });
    } catch (error) {
      if (error.needs === 'code' && code.field.hidden) {
        code.field.hidden = false;
        code.input.required = true;
        code.input.focus();
        throw new Error(t('login.code-needed'));
      }
      throw error;
    }
    navigate(nextPage());
  };
  fill(main, h('div', { class: 'unlock card' },
    h('div', { class: 'unlock-head' }, h('span', { class: 'medallion' }, icon('key')), h('h1', {}, t('login.title')), h('p', { class: 'soft' }, location.host)),
    form({ fields: [name.field, password.field, code.field], label: t('login.submit'), submit }),
    h('p', { class: 'unlock-note small soft' }, t('login.note'))));
  name.input.focus();
}
