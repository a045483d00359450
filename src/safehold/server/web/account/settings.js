/** The account: second factor, recovery codes, passkeys, password, and where one is logged in. */
import { fill, h, icon } from '../dom.js';
import { t } from '../i18n.js';
import { setTitle } from '../shell.js';
import { call } from './api.js';
import { card, confirmed, drawn, field, form } from './forms.js';
import { entered } from './menu.js';
import { passkeysCard } from './passkeys.js';
import { passwordCard, sessionsCard } from './sessions.js';

function codesCard(codes) {
  const print = h('button', { class: 'button', type: 'button', onclick: () => window.print() }, t('settings.print'));
  return h('section', { class: 'card padded codes' }, h('h2', {}, t('settings.codes')), h('p', {}, t('settings.codes-explained')),
    h('ol', { class: 'code-list' }, codes.map((code) => h('li', {}, h('code', {}, `${code.slice(0, 5)}-${code.slice(5)}`)))), print);
}

async function factorCard(me, redraw) {
  const section = h('section', { class: 'card padded', id: 'second-factor' }, h('h2', {}, t('settings.factor')));
  if (me.second_factor) {
    section.append(h('p', { class: 'message' }, icon('check'), h('span', {}, t('settings.factor-on', { n: me.recovery_codes }))));
  } else {
    section.append(h('p', {}, t('settings.factor-why')));
  }
  const begin = async () => {
    const { secret, address, qr } = await call('POST', '/totp');
    const code = field(t('account.code'), { required: true, autocomplete: 'one-time-code', inputmode: 'numeric', pattern: '[0-9 ]{6,7}' });
    const submit = async () => {
      let codes = [];
      const done = await confirmed(call, async () => ({ recovery_codes: codes } = await call('POST', '/totp/confirm', { secret, code: code.input.value })));
      if (done) redraw(codes);
    };
    fill(section, h('h2', {}, t('settings.factor')), h('p', {}, t('settings.factor-scan')),
      h('img', { class: 'qr', src: `data:image/svg+xml;base64,${btoa(qr)}`, alt: t('settings.qr'), width: 200, height: 200 }),
      h('p', { class: 'small soft' }, t('settings.factor-secret'), ' ', h('code', {}, secret)),
      h('p', { class: 'small' }, h('a', { href: address }, t('settings.factor-app'))),
      form({ fields: [code.field], label: t('settings.factor-confirm'), submit, wide: false }));
    code.input.focus();
  };
  section.append(h('button', { class: me.second_factor ? 'button' : 'button primary', type: 'button', onclick: begin }, me.second_factor ? t('settings.factor-again') : t('settings.factor-begin')));
  return section;
}

/** A plain link: the server sends the browser on to the provider, and back. */
function openidCard(host) {
  return card(t('openid.title'), h('p', { class: 'soft' }, t('openid.why', { host })), h('div', {}, h('a', { class: 'button', href: '/api/v1/openid/begin?link=1', target: '_self' }, t('openid.link', { host }))));
}

export default function page({ main, signal }) {
  setTitle(t('settings.title'));
  const draw = (codes = null) => drawn(main, async () => {
    const me = await entered();
    const [factor, passkeys, sessions, state] = await Promise.all([factorCard(me, draw), passkeysCard(draw), sessionsCard(draw), call('GET', '/state')]);
    if (signal.aborted) return;
    fill(main, h('div', { class: 'narrow' }, h('h1', {}, t('settings.title')), codes ? codesCard(codes) : null, factor, passkeys, passwordCard(me, draw), state.openid ? openidCard(state.openid) : null, sessions,
      card(t('settings.account'), h('dl', { class: 'account-facts' }, h('dt', {}, t('account.name')), h('dd', {}, me.name)))));
  });
  return draw();
}
