/** Who may do what: in one's repositories and organisations; and, for who runs the server, its people and invitations. */
import { fill, h, icon } from '../dom.js';
import { t } from '../i18n.js';
import { setTitle, toast } from '../shell.js';
import { call, sentence } from './api.js';
import { badge, card, confirmed, drawn, field, form, table } from './forms.js';
import { entered } from './menu.js';
import { invitationsCard, organisationForm, peopleCard } from './operating.js';

const ROLES = ['write', 'read', 'read+write', 'list', 'maintain', 'admin'];
const RANKS = ['owner', 'admin', 'member'];

/** Do it, with a second factor where one is wanted; say so, and draw anew. */
export const doing = (redraw) => async (work, said) => {
  try {
    if (!(await confirmed(call, work))) return false;
    toast(said);
    await redraw();
    return true;
  } catch (error) {
    toast(sentence(error), { problem: true });
    return false;
  }
};

function chooser(label, values, chosen, textOf, change) {
  const options = [...values.map((value) => h('option', { value, selected: value === chosen }, textOf(value))), h('option', { value: '' }, t('people.none-any-more'))];
  return h('select', { class: 'input compact', 'aria-label': label, onchange: (event) => change(event.target.value) }, options);
}

/**
 * People with a role each, and a form to add one.
 * @param {{title: string, explained: string, members: {person: string, role: string}[], roles: string[], textOf: (role: string) => string,
 *   set: ((person: string, role: string) => Promise<any>)|null, act: Function}} what `set`: null for who may only look
 */
function membersCard({ title, explained, members, roles, textOf, set, act }) {
  const change = (person) => (role) => act(() => set(person, role), role ? t('people.changed', { person }) : t('people.gone', { person }));
  const rows = members.map(({ person, role }) => [h('strong', {}, person), set ? chooser(t('people.role-of', { person }), roles.includes(role) ? roles : [...roles, role], role, textOf, change(person)) : badge('', textOf(role))]);
  const name = field(t('account.name'), { required: true, autocapitalize: 'none', spellcheck: 'false', autocomplete: 'off', maxlength: 63 });
  const role = field(t('people.role'), { tag: 'select' }, roles.map((value) => h('option', { value }, textOf(value))));
  const submit = async () => {
    const person = name.input.value.trim();
    await act(() => set(person, role.input.value), t('people.changed', { person }));
  };
  return card(title, h('p', { class: 'soft' }, explained), rows.length ? table([t('people.person'), t('people.role')], rows, title) : h('p', { class: 'soft' }, t('people.nobody')),
    set && form({ fields: [h('div', { class: 'filter-line' }, name.field, role.field)], label: t('people.add'), submit, wide: false }));
}

export default function page({ main, signal }) {
  setTitle(t('people.title'));

  const repositoryCard = async ({ path }, act) => {
    const found = await call('GET', `/repositories/${path}/members`).catch(() => null);
    return found && membersCard({ title: path, explained: t('people.of-repository'), members: found.members, roles: ROLES, textOf: (role) => (role.split('+').every((each) => ROLES.includes(each)) ? role.split('+').map((each) => t(`scope.${each}`)).join(' + ') : role),
      set: (person, role) => call('PUT', `/repositories/${path}/members`, { person, role }), act });
  };

  const organisationCard = async ({ name, role }, act) => {
    const { members } = await call('GET', `/organisations/${name}/members`);
    return membersCard({ title: t('people.organisation', { name }), explained: t('people.of-organisation'), members, roles: RANKS, textOf: (rank) => (RANKS.includes(rank) ? t(`people.rank-${rank}`) : rank),
      set: role === 'owner' ? (person, rank) => call('PUT', `/organisations/${name}/members`, { person, role: rank }) : null, act });
  };

  const draw = () => drawn(main, async () => {
    const me = await entered();
    const act = doing(draw);
    const { organisations } = await call('GET', '/organisations');
    const cards = await Promise.all([
      ...organisations.map((each) => organisationCard(each, act)),
      ...me.repositories.map((each) => repositoryCard(each, act)),
      ...(me.is_operator ? [peopleCard(me, act), invitationsCard(act), organisationForm(act)] : []),
    ]);
    if (signal.aborted) return;
    fill(main, h('div', { class: 'page-head' }, h('div', { class: 'titles' }, h('h1', {}, t('people.title')), h('p', { class: 'soft' }, t('people.explained')))),
      h('p', { class: 'message' }, icon('key'), h('span', {}, t('people.keys-too'))), cards);
  });
  return draw();
}
