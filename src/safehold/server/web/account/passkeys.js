/** The passkeys that one has. */
import { visible } from '../browse/table.js';
import { h, icon } from '../dom.js';
import { dateTime, t } from '../i18n.js';
import { toast } from '../shell.js';
import { call, sentence } from './api.js';
import { card, confirmed, field, form } from './forms.js';
import { add, available } from './webauthn.js';

/** @param {(codes: string[]|null) => Promise<void>} redraw */
export async function passkeysCard(redraw) {
  const { passkeys } = await call('GET', '/passkeys');
  const remove = async (each) => {
    try {
      if (!(await confirmed(call, () => call('DELETE', `/passkeys/${each.id}`)))) return;
      toast(t('passkeys.removed'));
      await redraw(null);
    } catch (error) {
      toast(sentence(error), { problem: true });
    }
  };
  const line = (each) => h('li', { class: 'device' }, icon('key'),
    h('div', { class: 'device-words' }, h('strong', {}, visible(each.label) || t('passkeys.one')), h('span', { class: 'soft small' }, dateTime(BigInt(each.created_ns)))),
    h('button', { class: 'button compact plain', type: 'button', 'aria-label': `${t('keys.remove')}: ${visible(each.label)}`, onclick: () => remove(each) }, t('keys.remove')));
  const label = field(t('passkeys.label'), { required: true, maxlength: 100, placeholder: t('passkeys.example') });
  const submit = async () => {
    let codes = [];
    if (!(await confirmed(call, async () => (codes = await add(label.input.value))))) return;
    toast(t('passkeys.added'));
    await redraw(codes.length ? codes : null);
  };
  return card(t('passkeys.title'), h('p', { class: 'soft' }, t('passkeys.why')), passkeys.length ? h('ul', { class: 'devices' }, passkeys.map(line)) : null,
    available() ? form({ fields: [label.field], label: t('passkeys.add'), submit, wide: false }) : h('p', { class: 'soft' }, t('passkeys.not-here')));
}
