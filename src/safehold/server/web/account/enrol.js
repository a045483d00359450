/** Admitting a device by the six words that it shows. */
import { fill, h, icon } from '../dom.js';
import { utf8, concat } from '../format/bytes.js';
import { sha256 } from '../format/crypto.js';
import { WORDS as LIST } from '../format/words.js';
import { t } from '../i18n.js';
import { setTitle } from '../shell.js';
import { call } from './api.js';
import { card, confirmed, drawn, field, form, problem } from './forms.js';
import { entered } from './menu.js';
import { fromBase64 } from './password.js';

const COUNT = 6;
const normal = (text) => (text.toLowerCase().match(/[a-z]+/g) ?? []).join('-');

/** The words of a device's keys: computed here, so that the server cannot put another device in its place (docs/server.md). */
export async function wordsOf(asking) {
  const digest = await sha256(concat(utf8('safehold/1 enrolment '), fromBase64(asking.exchange_public), fromBase64(asking.signing_public), utf8(asking.id)));
  let bits = 0n;
  for (const byte of digest) bits = (bits << 8n) | BigInt(byte);
  bits >>= BigInt(256 - 11 * COUNT);
  const words = [];
  for (let place = COUNT - 1; place >= 0; place--) words.push(LIST[Number((bits >> BigInt(11 * place)) & 0x7ffn)]);
  return words.join('-');
}

export default function page({ main, signal }) {
  setTitle(t('enrol.title'));
  return drawn(main, async () => {
    const me = await entered();
    if (signal.aborted) return;
    const words = field(t('enrol.words'), { required: true, autocomplete: 'off', autocapitalize: 'none', spellcheck: 'false', hint: t('enrol.words-hint') });
    const below = h('div', {});
    const look = async () => {
      fill(below);
      const wanted = normal(words.input.value);
      const { enrolments: [asking] } = await call('GET', `/enrolments?words=${encodeURIComponent(wanted)}`);
      if (!asking) throw new Error(t('enrol.nobody'));
      if ((await wordsOf(asking)) !== wanted) throw new Error(t('enrol.swapped'));
      fill(below, decide(asking, me));
      below.querySelector('select')?.focus();
    };
    fill(main, h('div', { class: 'narrow' }, h('h1', {}, t('enrol.title')), h('p', { class: 'soft' }, t('enrol.explained')),
      card(t('enrol.which'), form({ fields: [words.field], label: t('enrol.look'), submit: look, wide: false })), below));
    const take = () => {
      words.input.value = location.hash.slice(1).replace(/-/g, ' ');
      if (words.input.value) main.querySelector('form').requestSubmit();
    };
    window.addEventListener('hashchange', take, { signal });
    words.input.focus();
    take();
  });
}

function decide(asking, me) {
  if (!me.repositories.length) return problem(t('enrol.no-repository'));
  const place = field(t('enrol.repository'), { tag: 'select' }, me.repositories.map(({ path }) => h('option', { value: path }, path)));
  const roles = ['write', 'read+write', 'admin'];
  const role = field(t('enrol.role'), { tag: 'select', hint: t('enrol.role-hint') }, roles.map((value) => h('option', { value }, t(`enrol.role-${value}`))));
  const box = card(asking.name, h('p', { class: 'soft' }, asking.system));
  const admit = async () => {
    const done = await confirmed(call, () => call('POST', `/enrolments/${asking.id}/approve`, { repository: place.input.value, scope: role.input.value }));
    if (done) fill(box, h('p', { class: 'message' }, icon('check'), h('span', {}, t('enrol.done', { name: asking.name }))), h('p', {}, t('enrol.next')), h('a', { class: 'button', href: '/' }, t('nav.overview')));
  };
  const refuse = async () => {
    await call('POST', `/enrolments/${asking.id}/refuse`);
    fill(box, h('p', {}, t('enrol.refused', { name: asking.name })));
  };
  box.append(form({ fields: [place.field, role.field], label: t('enrol.admit'), submit: admit, wide: false }),
    h('button', { class: 'button plain', type: 'button', onclick: refuse }, t('enrol.refuse')));
  return box;
}
