/** What who runs the server sees among the people: everybody, invitations, and making organisations. */
import { visible } from '../browse/table.js';
import { fill, h, icon } from '../dom.js';
import { bytes, dateTime, t } from '../i18n.js';
import { call } from './api.js';
import { badge, card, field, form, table } from './forms.js';

const GIGABYTE = 1e9;
const DAYS = [1, 7, 30, 90];
const DAY_SECONDS = 86400;

const quotaField = () => field(t('people.quota'), { type: 'number', min: 0, max: 1e9, step: 'any', inputmode: 'decimal', '.value': '0', hint: t('people.quota-hint') });
const bytesOf = ({ input }) => Math.round(Number(input.value || 0) * GIGABYTE);

export async function peopleCard(me, act) {
  const { people } = await call('GET', '/people');
  const row = (each) => {
    const change = (value, said) => () => act(() => call('PATCH', `/people/${each.name}`, value), said);
    const button = (label, press) => h('button', { class: 'button compact plain', type: 'button', onclick: press, 'aria-label': `${label}: ${each.name}` }, label);
    return [
      h('span', {}, h('strong', {}, each.name), each.email && h('span', { class: 'soft small block' }, visible(each.email))),
      [each.is_operator && badge('added', t('people.operator')), each.disabled && badge('removed', t('overview.shut-out')), !each.second_factor && badge('warning', t('people.no-factor'))],
      each.quota ? t('overview.used-of', { used: bytes(each.used), quota: bytes(each.quota) }) : bytes(each.used),
      dateTime(BigInt(each.created_ns)),
      each.name === me.name ? '' : h('span', { class: 'row-actions' },
        each.disabled ? button(t('people.let-in'), change({ disabled: false }, t('people.is-in', { person: each.name }))) : button(t('devices.shut-out'), change({ disabled: true }, t('devices.done', { name: each.name }))),
        button(each.is_operator ? t('people.demote') : t('people.promote'), change({ is_operator: !each.is_operator }, t('people.changed', { person: each.name })))),
    ];
  };
  const heads = ['people.person', 'devices.state', 'overview.usage', 'shares.made', 'devices.action'].map((key) => t(key));
  const who = field(t('people.person'), { tag: 'select' }, people.map(({ name }) => h('option', { value: name }, name)));
  const quota = quotaField();
  const submit = async () => {
    const person = who.input.value;
    await act(() => call('PATCH', `/people/${person}`, { quota: bytesOf(quota) }), t('people.changed', { person }));
  };
  return card(t('people.all'), table(heads, people.map(row), t('people.all')),
    h('details', {}, h('summary', {}, t('people.set-quota')), form({ fields: [h('div', { class: 'filter-line' }, who.field, quota.field)], label: t('people.set-quota'), submit, wide: false })));
}

export async function invitationsCard(act) {
  const { invitations } = await call('GET', '/invitations');
  const now = Date.now() * 1e6;
  const rows = invitations.map((each) => [
    visible(each.label) || each.id.slice(0, 8),
    each.used_by ? badge('added', t('people.used-by', { person: each.used_by })) : each.expires_ns < now ? badge('', t('shares.state-expired')) : badge('warning', t('shares.state-open')),
    dateTime(BigInt(each.expires_ns)),
    each.used_by ? '' : h('button', { class: 'button compact plain', type: 'button', 'aria-label': `${t('tokens.revoke')}: ${visible(each.label)}`, onclick: () => act(() => call('DELETE', `/invitations/${each.id}`), t('people.withdrawn')) }, t('tokens.revoke')),
  ]);
  const label = field(t('people.for-whom'), { required: true, maxlength: 100 });
  const quota = quotaField();
  const days = field(t('tokens.expires'), { tag: 'select' }, DAYS.map((n) => h('option', { value: n, selected: n === 7 }, t('tokens.days', { n }))));
  const shown = h('div', { role: 'status' });
  const submit = async () => {
    const { code } = await call('POST', '/invitations', { label: label.input.value, quota: bytesOf(quota), expires_seconds: Number(days.input.value) * DAY_SECONDS });
    fill(shown, h('p', { class: 'message' }, icon('link'), h('span', {}, t('people.send-this'))), h('pre', { class: 'secret' }, h('code', {}, `${location.origin}/join#${code}`)));
    label.input.value = '';
  };
  const heads = ['people.for-whom', 'devices.state', 'tokens.expires', 'devices.action'].map((key) => t(key));
  return card(t('people.invitations'), rows.length ? table(heads, rows, t('people.invitations')) : h('p', { class: 'soft' }, t('people.no-invitations')),
    form({ fields: [label.field, h('div', { class: 'filter-line' }, quota.field, days.field)], label: t('people.invite'), submit, wide: false }), shown);
}

export function organisationForm(act) {
  const name = field(t('people.organisation-name'), { required: true, pattern: '[a-z0-9]([a-z0-9\\-]{0,61}[a-z0-9])?', autocapitalize: 'none', spellcheck: 'false', hint: t('setup.name-hint') });
  const submit = async () => {
    await act(() => call('POST', '/organisations', { name: name.input.value }), t('people.made', { name: name.input.value }));
  };
  return card(t('people.new-organisation'), h('p', { class: 'soft' }, t('people.organisation-why')), form({ fields: [name.field], label: t('people.new-organisation'), submit, wide: false }));
}
