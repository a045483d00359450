/** What was given to others, and what others were asked for: who came, until when, and its end. */
import { visible } from '../browse/table.js';
import { fill, h } from '../dom.js';
import { bytes, dateTime, number, t } from '../i18n.js';
import { ask, setTitle, toast } from '../shell.js';
import { call, sentence } from './api.js';
import { badge, card, drawn, table } from './forms.js';
import { entered } from './menu.js';

const KINDS = { open: 'added', expired: '', 'used-up': '', withdrawn: 'removed', making: 'warning' };
const SHOWN = 200;
const WHAT = ['made', 'published', 'opened', 'refused', 'over', 'revoked', 'received'];

function stateOf(share, now) {
  if (share.revoked_ns) return 'withdrawn';
  if (share.expires_ns && share.expires_ns <= now) return 'expired';
  if (share.most_opens && share.opens >= share.most_opens) return 'used-up';
  return share.generation < 0 ? 'making' : 'open';
}

const whenOr = (time, other) => (time ? dateTime(BigInt(time)) : other);

/** Who came to a share, in a dialog. */
async function showLog(place, share) {
  const { log } = await call('GET', `/repositories/${place}/shares/${share.id}/log`);
  const lines = log.slice(0, SHOWN).map(({ time_ns: time, address, what }) => h('li', {},
    h('span', {}, WHAT.includes(what) ? t(`shares.log-${what}`) : what), h('span', { class: 'soft small number' }, dateTime(BigInt(time))), h('span', { class: 'soft small' }, address)));
  const dialog = h('dialog', { class: 'share-log', 'aria-labelledby': 'log-title' });
  dialog.append(h('form', { method: 'dialog' }, h('h2', { id: 'log-title' }, t('shares.log-title', { id: share.id.slice(0, 8) })),
    lines.length ? h('ul', { tabindex: '0' }, lines) : h('p', { class: 'soft' }, t('shares.log-empty')),
    h('div', { class: 'choices' }, h('button', { class: 'button primary', autofocus: true }, t('shell.close')))));
  dialog.addEventListener('close', () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

export default function page({ main, params, signal }) {
  const place = `${params.account}/${params.name}`;
  setTitle(t('shares.title', { place }));

  /** Do it, say so, and draw anew. */
  const doing = (work, said) => async () => {
    try {
      if ((await work()) === false) return;
      if (said) {
        toast(said);
        await draw();
      }
    } catch (error) {
      toast(sentence(error), { problem: true });
    }
  };

  const sure = (title, text, label) => ask({ title, text, choices: [{ value: '', label: t('shell.cancel') }, { value: 'yes', label, primary: true }] });

  const revoke = (share) => doing(async () => {
    if (!(await sure(t('shares.revoke-title', { id: share.id.slice(0, 8) }), t('shares.revoke-text'), t('shares.revoke')))) return false;
    return call('DELETE', `/repositories/${place}/shares/${share.id}`);
  }, t('shares.revoked'));

  const end = (request) => doing(async () => {
    if (!(await sure(t('shares.end-title', { note: request.note || request.id.slice(0, 8) }), t('shares.end-text'), t('shares.end')))) return false;
    return call('DELETE', `/repositories/${place}/requests/${request.id}`);
  }, t('shares.ended'));

  const button = (label, press, plain = true) => h('button', { class: `button compact ${plain ? 'plain' : ''}`, type: 'button', onclick: press }, label);

  const shareRow = (now) => (share) => {
    const state = stateOf(share, now);
    const opens = share.most_opens ? t('shares.opens-of', { n: share.opens, most: share.most_opens }) : number(share.opens);
    const last = share.opened_ns ? h('span', { class: 'soft small' }, h('br', {}), dateTime(BigInt(share.opened_ns))) : null;
    const over = state === 'withdrawn' || state === 'expired';
    return [
      h('span', {}, h('code', {}, share.id.slice(0, 8)), h('br', {}), h('span', { class: 'soft small' }, share.has_password ? t('shares.with-password') : t('shares.by-link'))),
      badge(KINDS[state], t(`shares.state-${state}`)),
      dateTime(BigInt(share.created_ns)),
      whenOr(share.expires_ns, t('tokens.never')),
      h('span', {}, opens, last),
      h('span', { class: 'row-actions' }, button(t('shares.log'), doing(() => showLog(place, share)), false), !over && button(t('shares.revoke'), revoke(share))),
    ];
  };

  const requestRow = (now) => (request) => {
    const over = request.revoked_ns ? 'withdrawn' : request.expires_ns && request.expires_ns <= now ? 'expired' : 'open';
    return [
      visible(request.note) || h('code', {}, request.id.slice(0, 8)),
      badge(KINDS[over], t(`shares.state-${over}`)),
      whenOr(request.expires_ns, t('tokens.never')),
      t('shares.received', { n: request.files, most: request.most_files, size: bytes(request.bytes), room: bytes(request.most_bytes) }),
      over === 'open' ? button(t('shares.end'), end(request)) : '',
    ];
  };

  const draw = () => drawn(main, async () => {
    await entered();
    const [{ shares }, { requests }] = await Promise.all([call('GET', `/repositories/${place}/shares`), call('GET', `/repositories/${place}/requests`)]);
    if (signal.aborted) return;
    const now = Date.now() * 1e6;
    const heads = ['shares.share', 'devices.state', 'shares.made', 'tokens.expires', 'shares.opens', 'devices.action'].map((key) => t(key));
    const asked = ['shares.request', 'devices.state', 'tokens.expires', 'shares.arrived', 'devices.action'].map((key) => t(key));
    const repository = `${location.origin}/${place}`;
    fill(main,
      h('div', { class: 'page-head' }, h('div', { class: 'titles' }, h('p', { class: 'soft small' }, h('a', { href: '/' }, t('nav.overview'))), h('h1', {}, t('shares.title', { place })), h('p', { class: 'soft' }, t('shares.explained')))),
      shares.length ? table(heads, shares.slice(0, SHOWN).map(shareRow(now)), t('shares.title', { place })) : h('p', { class: 'empty card soft' }, t('shares.none')),
      shares.length > SHOWN ? h('p', { class: 'soft' }, t('browse.cut', { n: SHOWN })) : null,
      requests.length ? [h('h2', {}, t('shares.requests')), table(asked, requests.slice(0, SHOWN).map(requestRow(now)), t('shares.requests'))] : null,
      card(t('shares.how'), h('p', { class: 'soft' }, t('shares.how-text')),
        h('div', {}, h('p', {}, t('shares.how-share')), h('pre', {}, h('code', {}, `safehold -r ${repository} share create latest:/home/anna/Pictures --expires 30d`))),
        h('div', {}, h('p', {}, t('shares.how-request')), h('pre', {}, h('code', {}, `safehold -r ${repository} share request '${t('shares.how-note')}' --expires 14d`)))));
  });
  return draw();
}
