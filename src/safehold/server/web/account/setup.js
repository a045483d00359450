/** The first account of a new server; and further ones, by an invitation, or where strangers may make them. */
import { fill, h, icon } from '../dom.js';
import { t } from '../i18n.js';
import { navigate, setNavigation, setTitle } from '../shell.js';
import { call } from './api.js';
import { field, form } from './forms.js';
import { newKeys, toBase64 } from './password.js';

const SHORTEST = 10;

export default async function page({ main }) {
  setTitle(t('setup.title'));
  setNavigation([]);
  const state = await call('GET', '/state');
  const invitation = location.pathname === '/join' ? location.hash.slice(1) : '';
  if (!state.first_run && !state.open_registration && !invitation) {
    navigate('/login');
    return;
  }
  const code = field(t('setup.code'), { required: true, autocomplete: 'off', autocapitalize: 'none', spellcheck: 'false', hint: t('setup.code-hint'), '.value': location.hash.slice(1) });
  const name = field(t('account.name'), { name: 'username', autocomplete: 'username', autocapitalize: 'none', spellcheck: 'false', required: true, pattern: '[a-z0-9]([a-z0-9\\-]{0,61}[a-z0-9])?', hint: t('setup.name-hint') });
  const password = field(t('account.password'), { type: 'password', autocomplete: 'new-password', required: true, minlength: SHORTEST, hint: t('setup.password-hint', { n: SHORTEST }) });
  const again = field(t('setup.again'), { type: 'password', autocomplete: 'new-password', required: true });
  const submit = async (says) => {
    if (password.input.value !== again.input.value) throw new Error(t('setup.differ'));
    says(t('login.stretching'));
    const keys = await newKeys(password.input.value);
    const value = { name: name.input.value, salt: toBase64(keys.salt), login: toBase64(keys.login), setup_code: state.first_run ? code.input.value : '', invitation };
    await call('POST', '/accounts', value);
    navigate('/settings#second-factor');
  };
  fill(main, h('div', { class: 'unlock card' },
    h('div', { class: 'unlock-head' }, h('span', { class: 'medallion' }, icon('check')), h('h1', {}, t('setup.title')), h('p', { class: 'soft' }, t(invitation ? 'setup.invited' : 'setup.subtitle'))),
    form({ fields: [state.first_run ? code.field : null, name.field, password.field, again.field], label: t('setup.submit'), submit }),
    h('p', { class: 'unlock-note small soft' }, t('setup.note'))));
  (state.first_run && !code.input.value ? code : name).input.focus();
}
