/** Tokens: what devices and scripts show. */
import { visible } from '../browse/table.js';
import { fill, h, icon } from '../dom.js';
import { dateTime, t } from '../i18n.js';
import { setTitle, toast } from '../shell.js';
import { call, sentence } from './api.js';
import { badge, card, drawn, field, form, table } from './forms.js';
import { entered } from './menu.js';

const SCOPES = ['write', 'read', 'read+write', 'list', 'maintain', 'admin'];
const DAYS = [30, 90, 365, 0];

export default function page({ main, signal }) {
  setTitle(t('tokens.title'));

  const revoke = async (token) => {
    try {
      await call('DELETE', `/tokens/${token.id}`);
      toast(t('tokens.revoked'));
      await draw();
    } catch (error) {
      toast(sentence(error), { problem: true });
    }
  };

  const maker = (me) => {
    const label = field(t('tokens.label'), { required: true, maxlength: 100 });
    const scope = field(t('tokens.scope'), { tag: 'select' }, SCOPES.map((value) => h('option', { value }, t(`scope.${value}`))));
    const place = field(t('enrol.repository'), { tag: 'select' }, h('option', { value: '' }, t('tokens.all')), me.repositories.map(({ path }) => h('option', { value: path }, path)));
    const expiry = field(t('tokens.expires'), { tag: 'select' }, DAYS.map((days) => h('option', { value: days }, days ? t('tokens.days', { n: days }) : t('tokens.never'))));
    const submit = async () => {
      const expires = Number(expiry.input.value) ? (Date.now() + Number(expiry.input.value) * 86400000) * 1e6 : 0;
      const { token } = await call('POST', '/tokens', { label: label.input.value, scope: scope.input.value, repository: place.input.value, expires_ns: Math.round(expires) });
      await draw();
      const told = h('section', { class: 'card padded', role: 'status' }, h('p', { class: 'message' }, icon('key'), h('span', {}, t('tokens.once'))), h('pre', { class: 'secret' }, h('code', {}, token)));
      main.querySelector('.page-head').after(told);
      told.scrollIntoView({ block: 'center' });
    };
    return card(t('tokens.new'), form({ fields: [label.field, scope.field, place.field, expiry.field], label: t('tokens.make'), submit, wide: false }));
  };

  const draw = () => drawn(main, async () => {
    const me = await entered();
    const { tokens } = await call('GET', '/tokens');
    if (signal.aborted) return;
    const heads = ['tokens.label', 'tokens.scope', 'tokens.used', 'tokens.expires', 'tokens.action'].map((key) => t(key));
    const rows = tokens.toReversed().map((token) => [
      h('span', {}, h('strong', {}, visible(token.label) || token.id.slice(0, 8)), token.device ? h('span', { class: 'soft small' }, ` ${t('tokens.of-device')}`) : null),
      token.scope.split('+').map((each) => badge('', t(`scope.${each}`))),
      token.used_ns ? dateTime(BigInt(token.used_ns)) : t('tokens.unused'),
      token.expires_ns ? dateTime(BigInt(token.expires_ns)) : t('tokens.never'),
      token.revoked ? badge('', t('tokens.withdrawn')) : h('button', { class: 'button compact plain', type: 'button', onclick: () => revoke(token) }, t('tokens.revoke')),
    ]);
    fill(main, h('div', { class: 'page-head' }, h('div', { class: 'titles' }, h('h1', {}, t('tokens.title')), h('p', { class: 'soft' }, t('tokens.explained')))),
      rows.length ? table(heads, rows, t('tokens.title')) : h('p', { class: 'soft' }, t('tokens.none')), maker(me));
  });
  return draw();
}
