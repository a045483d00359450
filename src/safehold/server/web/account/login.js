/** Logging in. */
import { fill, h, icon } from '../dom.js';
import { t } from '../i18n.js';
import { navigate, setNavigation, setTitle } from '../shell.js';
import { call, sentence } from './api.js';
import { field, form, nextPage, problem } from './forms.js';
import { loginKey } from './sessions.js';
import { available, logIn } from './webauthn.js';

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
  const other = h('div', { class: 'outcome' });
  const byPasskey = async () => {
    fill(other);
    try {
      await logIn();
      navigate(nextPage());
    } catch (error) {
      fill(other, problem(sentence(error)));
    }
  };
  const ways = [
    available() && h('button', { class: 'button wide', type: 'button', onclick: byPasskey }, icon('key'), t('login.passkey')),
    state.openid && h('a', { class: 'button wide', href: '/api/v1/openid/begin', target: '_self' }, t('login.openid', { host: state.openid })),
  ].filter(Boolean);
  fill(main, h('div', { class: 'unlock card' },
    h('div', { class: 'unlock-head' }, h('span', { class: 'medallion' }, icon('key')), h('h1', {}, t('login.title')), h('p', { class: 'soft' }, location.host)),
    form({ fields: [name.field, password.field, code.field], label: t('login.submit'), submit }),
    ways.length ? h('div', { class: 'ways' }, ways, other) : null,
    h('p', { class: 'unlock-note small soft' }, t('login.note'), ' ', h('a', { href: '/open' }, t('open.link')))));
  name.input.focus();
}
