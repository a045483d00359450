/** The recovery kit: a page to print.  The words were made in this browser, and are on this page only. */
import { fill, h, icon } from '../dom.js';
import { dateTime, t } from '../i18n.js';
import { ask } from '../shell.js';
import { qr } from './qr.js';
import { visible } from './table.js';

/**
 * @param {{words: string[], address: string, id: string, label: string, done: () => void}} what `address`: where the repository is
 * @returns {HTMLElement}
 */
export function kit({ words, address, id, label, done }) {
  const leave = async () => {
    const choices = [{ value: '', label: t('shell.cancel') }, { value: 'yes', label: t('kit.have-it'), primary: true }];
    if (!(await ask({ title: t('kit.leave-title'), text: t('kit.leave-text'), choices }))) return;
    fill(page);
    done();
  };
  const fact = (name, value) => [h('dt', {}, name), h('dd', {}, h('code', {}, visible(value)))];
  const where = `-r ${address}`;
  const page = h('article', { class: 'kit card' },
    h('h1', { tabindex: '-1' }, t('kit.title')),
    h('p', { class: 'message warning screen-only' }, icon('warning'), h('span', {}, t('kit.once'))),
    h('div', { class: 'actions screen-only' },
      h('button', { class: 'button primary', type: 'button', onclick: () => window.print() }, t('kit.print')),
      h('button', { class: 'button', type: 'button', onclick: leave }, t('kit.done'))),
    h('dl', { class: 'account-facts' }, fact(t('kit.repository'), address), fact(t('kit.id'), id), fact(t('keys.made'), dateTime(new Date())), fact(t('keys.label'), label)),
    h('h2', {}, t('kit.words')),
    h('ol', { class: 'words' }, words.map((word) => h('li', { translate: 'no', lang: 'en' }, word))),
    h('h2', {}, t('kit.qr')),
    qr(words.join(' ').toUpperCase(), t('kit.qr-label')),
    h('h2', {}, t('kit.lost')),
    h('ol', { class: 'steps' },
      h('li', {}, t('kit.step-browser')),
      h('li', {}, t('kit.step-look'), h('pre', {}, h('code', {}, `safehold --recovery ${where} snapshots`))),
      h('li', {}, t('kit.step-restore'), h('pre', {}, h('code', {}, `safehold --recovery ${where} restore latest --target ${t('kit.folder')}`))),
      h('li', {}, t('kit.step-new'), h('pre', {}, h('code', {}, `safehold --recovery ${where} key add`)))),
    h('h2', {}, t('kit.keep')),
    h('p', {}, t('kit.keep-text')));
  return page;
}
