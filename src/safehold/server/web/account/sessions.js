/** Where one is logged in, and the password. */
import { visible } from '../browse/table.js';
import { h, icon } from '../dom.js';
import { dateTime, t } from '../i18n.js';
import { toast } from '../shell.js';
import { call, sentence } from './api.js';
import { badge, card, confirmed, field, form } from './forms.js';
import { keysOf, newKeys, fromBase64, toBase64 } from './password.js';

const SHORTEST = 10;

/** What a password proves, stretched as the server says. */
export async function loginKey(name, password) {
  const told = await call('POST', '/prelogin', { name });
  const keys = await keysOf(password, { salt: fromBase64(told.salt), memory: told.memory_kib, passes: told.passes, lanes: told.lanes });
  return toBase64(keys.login);
}

export async function sessionsCard(redraw) {
  const { sessions } = await call('GET', '/sessions');
  const doing = (work) => async () => {
    try {
      await work();
      await redraw(null);
    } catch (error) {
      toast(sentence(error), { problem: true });
    }
  };
  const line = (each) => h('li', { class: 'device' }, icon('device'),
    h('div', { class: 'device-words' }, h('span', {}, visible(each.agent).slice(0, 120) || each.address), h('span', { class: 'soft small' }, `${each.address} · ${dateTime(BigInt(each.used_ns))}`)),
    each.current ? badge('added', t('sessions.here')) : h('button', { class: 'button compact plain', type: 'button', 'aria-label': `${t('sessions.end')}: ${each.address}`, onclick: doing(() => call('DELETE', `/sessions/${each.id}`)) }, t('sessions.end')));
  return card(t('sessions.title'), h('ul', { class: 'devices' }, sessions.map(line)),
    sessions.length > 1 ? h('div', {}, h('button', { class: 'button', type: 'button', onclick: doing(() => call('POST', '/sessions/end-others')) }, t('sessions.end-others'))) : null);
}

export function passwordCard(me, redraw) {
  const old = field(t('password.now'), { type: 'password', autocomplete: 'current-password', required: true });
  const password = field(t('password.new'), { type: 'password', autocomplete: 'new-password', required: true, minlength: SHORTEST, hint: t('setup.password-hint', { n: SHORTEST }) });
  const again = field(t('setup.again'), { type: 'password', autocomplete: 'new-password', required: true });
  const submit = async (says) => {
    if (password.input.value !== again.input.value) throw new Error(t('setup.differ'));
    says(t('login.stretching'));
    const login = await loginKey(me.name, old.input.value);
    const keys = await newKeys(password.input.value);
    const order = { login, new_salt: toBase64(keys.salt), new_login: toBase64(keys.login) };
    if (!(await confirmed(call, () => call('POST', '/password', order)))) return;
    toast(t('password.done'));
    await redraw(null);
  };
  const name = h('input', { type: 'text', name: 'username', autocomplete: 'username', hidden: true, '.value': me.name }); // for password managers
  return card(t('account.password'), h('p', { class: 'soft' }, t('password.what')),
    h('details', {}, h('summary', {}, t('password.change')), form({ fields: [name, old.field, password.field, again.field], label: t('password.change'), submit, wide: false })));
}
