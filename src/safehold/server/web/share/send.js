/** A link by which somebody sends files to who asked for them: sealed here, before a byte of them leaves. */
import { fill, h, icon } from '../dom.js';
import { field } from '../account/forms.js';
import { problem, sentence } from '../browse/problems.js';
import { tidy } from '../browse/sinks.js';
import { visible } from '../browse/table.js';
import { equal, unbase64, unhex } from '../format/bytes.js';
import { sha256 } from '../format/crypto.js';
import { ReadError } from '../format/errors.js';
import { fetchWhole } from '../format/http-store.js';
import { headerOf, sealedSize } from '../format/sent.js';
import { refusal } from '../format/share-source.js';
import { hashOf } from '../format/shares.js';
import { bytes, dateTime, t } from '../i18n.js';
import { setHeader, setNavigation, setTitle } from '../shell.js';
import { takeFragment } from './fragment.js';
import { sendFile } from './sending.js';

/** The link of this page; it stays when the language changes. */
let held = null;

/** What is asked for.  Throws ReadError `share-link`, `send-swapped` where the server put another key in the place of the link's. */
async function look(request, fragment) {
  const hash = hashOf(fragment ?? '');
  const answer = await fetchWhole(`/api/v1/requests/${request}`, {}, { credentials: 'omit', refusal });
  const told = JSON.parse(new TextDecoder().decode(answer));
  const publicKey = unbase64(told.public);
  if (publicKey.length !== 32 || !equal(await sha256(publicKey), hash)) throw new ReadError('send-swapped', 'the key is not the one of the link');
  return { ...told, publicKey, id: unhex(request), request };
}

/** One chosen file: its line, and what became of it. */
function chosen(file, remove) {
  const says = h('p', { class: 'state small soft' }, bytes(file.size));
  const bar = h('progress', { class: 'bar', max: 1, value: 0, hidden: true, 'aria-label': file.name });
  const label = t('send.remove', { name: visible(file.name) });
  const button = h('button', { class: 'button plain compact', type: 'button', 'aria-label': label, title: label }, icon('close'));
  const line = h('li', { class: 'sent-file' }, icon('file'), h('div', { class: 'sent-words' }, h('span', { class: 'name' }, visible(file.name)), says, bar), button);
  const item = { file, line, done: false, says, bar, button };
  button.onclick = () => remove(item);
  return item;
}

function drawForm(main, wanted, signal) {
  const items = [];
  const { left } = wanted;
  const list = h('ul', { class: 'sent-files' });
  const outcome = h('div', { class: 'outcome', 'aria-live': 'polite' });
  const sender = field(t('send.sender'), { autocomplete: 'name', maxlength: 200, hint: t('send.sender-hint') });
  const limits = h('p', { class: 'soft small' });
  const button = h('button', { class: 'button primary wide' }, icon('up'), t('send.send'));
  const waiting = () => items.filter((item) => !item.done);

  const draw = () => {
    limits.textContent = t('send.left', { n: left.files, size: bytes(left.bytes) });
    button.disabled = !waiting().length;
  };
  const remove = (item) => {
    item.stop?.();
    if (item.sending) return;
    items.splice(items.indexOf(item), 1);
    item.line.remove();
    draw();
  };
  const add = (files) => {
    fill(outcome);
    for (const file of files) {
      const item = chosen(file, remove);
      items.push(item);
      list.append(item.line);
    }
    draw();
  };

  const one = async (item) => {
    const stopper = new AbortController();
    Object.assign(item, { sending: true, stop: () => stopper.abort() });
    item.bar.hidden = false;
    const header = headerOf(item.file, sender.input.value.trim());
    const size = sealedSize(header, item.file.size);
    if (left.files < 1 || size > left.bytes) throw new ReadError('send-too-much', 'more than was asked for');
    const progress = (share, key) => {
      item.bar.value = share;
      item.says.textContent = t(key, { done: bytes(Math.round(share * item.file.size)), all: bytes(item.file.size) });
    };
    await sendFile(wanted, item.file, header, { progress, signal: AbortSignal.any([stopper.signal, signal]) });
    left.files -= 1;
    left.bytes -= size;
  };

  const send = async (event) => {
    event.preventDefault();
    button.disabled = true;
    fill(outcome);
    const warn = (leaving) => leaving.preventDefault();
    window.addEventListener('beforeunload', warn);
    for (const item of waiting()) {
      item.line.classList.remove('failed');
      try {
        await one(item);
        item.done = true;
        item.button.remove();
        item.line.classList.add('done');
        item.says.textContent = t('send.arrived', { size: bytes(item.file.size) });
      } catch (error) {
        item.line.classList.add('failed');
        item.says.textContent = error.name === 'AbortError' ? t('send.stopped') : sentence(error);
      }
      Object.assign(item, { sending: false, stop: null });
      item.bar.hidden = true;
    }
    window.removeEventListener('beforeunload', warn);
    if (signal.aborted) return;
    const sent = items.filter((item) => item.done).length;
    fill(outcome, sent && h('p', { class: 'message', role: 'status' }, icon('check'), h('span', {}, t('send.done', { n: sent }))));
    draw();
  };

  const picker = h('input', { class: 'hidden-visually', type: 'file', id: 'files', multiple: true, onchange: () => {
    add(picker.files);
    picker.value = '';
  } });
  const zone = h('label', { class: 'drop-zone', for: 'files' }, icon('up'), h('strong', {}, t('send.choose')), h('span', { class: 'soft small' }, t('send.drop')));
  for (const name of ['dragover', 'drop']) zone.addEventListener(name, (event) => event.preventDefault());
  zone.addEventListener('drop', (event) => add(event.dataTransfer.files));

  setTitle(t('send.title'));
  fill(main, h('div', { class: 'unlock send card' },
    h('div', { class: 'unlock-head' }, h('span', { class: 'medallion' }, icon('up')), h('h1', {}, t('send.title')), wanted.note ? h('p', { class: 'sent-note' }, visible(wanted.note)) : h('p', { class: 'soft' }, t('send.no-note'))),
    h('form', { class: 'unlock-form', onsubmit: send }, picker, zone, list, sender.field, button, outcome,
      h('div', {}, limits, wanted.expires_ns ? h('p', { class: 'soft small' }, t('send.until', { time: dateTime(BigInt(wanted.expires_ns)) })) : null)),
    h('p', { class: 'unlock-note small soft' }, t('send.note'))));
  draw();
}

export default async function page({ main, params, signal }) {
  const fragment = takeFragment();
  if (fragment !== null || held?.request !== params.request) held = { request: params.request, fragment };
  void tidy();
  setNavigation([]);
  setHeader({ place: '' });
  setTitle(t('send.title'));
  fill(main, h('p', { class: 'working', role: 'status' }, h('span', { class: 'spinner' }), t('share.opening')));
  try {
    const wanted = await look(params.request, held.fragment);
    if (!signal.aborted) drawForm(main, wanted, signal);
  } catch (error) {
    if (signal.aborted) return;
    setTitle(t('send.closed'));
    fill(main, h('div', { class: 'unlock card' }, h('div', { class: 'unlock-head' }, h('span', { class: 'medallion' }, icon('link')), h('h1', {}, t('send.closed')), h('p', { class: 'soft' }, t('share.closed-hint'))), problem(error)));
  }
}
