/** A share file that somebody was given: chosen here, opened by its words or key file, looked through, downloaded from. */
import { fill, h, icon } from '../dom.js';
import { field } from '../account/forms.js';
import { isQuiet, problem } from '../browse/problems.js';
import { visible } from '../browse/table.js';
import { views } from '../browse/views.js';
import { ofShareWords } from '../format/credentials.js';
import { ReadError } from '../format/errors.js';
import { WorkerPool } from '../format/pool.js';
import { ShareFile } from '../format/share-file.js';
import { secretOf } from '../format/shares.js';
import { t } from '../i18n.js';
import { setHeader, setNavigation, setTitle } from '../shell.js';
import { ShareSession } from './session.js';

const VIEWS = {
  files: () => import('../browse/files.js'),
  file: () => import('../browse/file.js'),
  search: () => import('../browse/search.js'),
};

/** The share that is open; it stays when the language changes. */
let session = null;

/** @param {string} typed 12 words, or the line of a key file @returns {Promise<Uint8Array>} Throws ReadError. */
async function secretIn(typed, share) {
  const line = /^\ufeff?\s*safehold-share:([0-9a-f]{32})#(\S+)\s*$/.exec(typed);
  if (!line) return ofShareWords(typed);
  if (line[1] !== share) throw new ReadError('share-key-other', 'the key file is of another share');
  return secretOf(line[2]);
}

/** What the form asks for once it is known how the file is locked. */
function keyFields({ secret, cost }) {
  const options = { tag: 'textarea', rows: 3, required: true, autocomplete: 'off', autocapitalize: 'none', spellcheck: 'false' };
  const words = secret ? field(t('open.words'), { ...options, hint: t('open.words-hint') }) : null;
  const password = cost ? field(t('share.password'), { type: 'password', autocomplete: 'off', required: true, hint: t('share.password-hint') }) : null;
  return { words, password, first: (words ?? password).input };
}

function drawForm(main, entered) {
  let file = null;
  let fields = null;
  const keys = h('div', { class: 'fields' });
  const outcome = h('div', { class: 'outcome' });
  const button = h('button', { class: 'button primary wide', hidden: true }, t('share.open'));
  const name = h('strong', {}, t('open.choose'));
  const says = h('span', { class: 'soft small' }, t('send.drop'));

  const choose = async (chosen) => {
    if (!chosen) return;
    fill(outcome);
    fill(keys);
    button.hidden = true;
    name.textContent = visible(chosen.name);
    says.textContent = t('open.another');
    try {
      file = await ShareFile.read(chosen);
    } catch (error) {
      fill(outcome, problem(error));
      return;
    }
    fields = keyFields(file.lock);
    fill(keys, fields.words?.field, fields.password?.field);
    button.hidden = false;
    fields.first.focus();
  };

  const open = async (event) => {
    event.preventDefault();
    if (!fields) return;
    button.disabled = true;
    fill(outcome, h('p', { class: 'working', role: 'status' }, h('span', { class: 'spinner' }), t('open.opening')));
    const pool = new WorkerPool();
    try {
      const secret = fields.words && (await secretIn(fields.words.input.value, file.share));
      session = await ShareSession.ofFile(file, { secret, password: fields.password?.input.value ?? '', pool });
      await entered();
    } catch (error) {
      pool.close();
      if (!isQuiet(error)) fill(outcome, problem(error));
      button.disabled = false;
      fields.first.focus();
    }
  };

  const picker = h('input', { class: 'hidden-visually', type: 'file', id: 'files', onchange: () => {
    void choose(picker.files[0]);
    picker.value = ''; // the same one can be chosen again
  } });
  const zone = h('label', { class: 'drop-zone', for: 'files' }, icon('file'), name, says);
  for (const event of ['dragover', 'drop']) zone.addEventListener(event, (happened) => happened.preventDefault());
  zone.addEventListener('drop', (event) => void choose(event.dataTransfer.files[0]));
  fill(main, h('div', { class: 'unlock send card' },
    h('div', { class: 'unlock-head' }, h('span', { class: 'medallion' }, icon('lock')), h('h1', {}, t('open.title')), h('p', { class: 'soft' }, t('open.subtitle'))),
    h('form', { class: 'unlock-form', onsubmit: open }, picker, zone, keys, button, outcome),
    h('p', { class: 'unlock-note small soft' }, t('open.note'))));
}

export default async function page({ main, signal }) {
  const close = () => {
    shown.leave();
    session.close();
    session = null;
    history.replaceState(null, '', location.pathname);
    begin();
  };
  const shown = views(main, VIEWS, { session: () => session, home: () => session.home(), back: 'share.back', signal });
  const enter = () => {
    setHeader({ place: visible(session.whole.name) || t('share.everything'), tools: [() => h('button', { class: 'button plain compact', type: 'button', onclick: close }, t('open.close'))] });
    return shown.draw();
  };
  const begin = () => {
    setHeader({});
    setTitle(t('open.title'));
    drawForm(main, () => !signal.aborted && enter());
  };
  setNavigation([]);
  if (session) await enter();
  else begin();
}
