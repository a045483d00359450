/** What was deleted, and can be brought back. */
import { fill, h } from '../dom.js';
import { bytes, dateTime, t } from '../i18n.js';
import { setTitle, toast } from '../shell.js';
import { call, sentence } from './api.js';
import { confirmed, drawn, table } from './forms.js';
import { entered } from './menu.js';

const SHOWN = 200;

export default function page({ main, params, signal }) {
  const place = `${params.account}/${params.name}`;
  setTitle(t('trash.title', { place }));

  const restore = async (ids) => {
    try {
      const { restored } = await call('POST', `/repositories/${place}/trash/restore`, { ids });
      toast(t('trash.restored', { n: restored }));
      await draw();
    } catch (error) {
      toast(sentence(error), { problem: true });
    }
  };

  const release = async () => {
    try {
      if (await confirmed(call, () => call('POST', `/repositories/${place}/brake/release`))) toast(t('trash.released'));
    } catch (error) {
      toast(sentence(error), { problem: true });
    }
  };

  const draw = () => drawn(main, async () => {
    await entered();
    const [about, { objects }] = await Promise.all([call('GET', `/repositories/${place}`), call('GET', `/repositories/${place}/trash`)]);
    if (signal.aborted) return;
    const heads = ['trash.object', 'trash.size', 'trash.deleted', 'trash.action'].map((key) => t(key));
    const rows = objects.slice(0, SHOWN).map((each) => [h('code', {}, each.key), bytes(each.size), dateTime(BigInt(each.deleted_ns)),
      h('button', { class: 'button compact', type: 'button', onclick: () => restore([each.id]) }, t('trash.restore'))]);
    fill(main,
      h('div', { class: 'page-head' },
        h('div', { class: 'titles' }, h('p', { class: 'soft small' }, h('a', { href: '/' }, t('nav.overview'))), h('h1', {}, t('trash.title', { place })),
          h('p', { class: 'soft' }, t('trash.explained', { n: about.trash.days }))),
        h('div', { class: 'actions' },
          objects.length ? h('button', { class: 'button primary', type: 'button', onclick: () => restore([]) }, t('trash.restore-all')) : null,
          h('button', { class: 'button', type: 'button', onclick: release }, t('trash.release')))),
      rows.length ? table(heads, rows, t('trash.title', { place })) : h('p', { class: 'soft' }, t('trash.empty')),
      objects.length > SHOWN ? h('p', { class: 'soft' }, t('browse.cut', { n: SHOWN })) : null);
  });
  return draw();
}
