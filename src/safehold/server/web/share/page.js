/** A link that somebody was given: opened without an account, looked through, downloaded from. */
import { fill, h, icon } from '../dom.js';
import { field } from '../account/forms.js';
import { isQuiet, problem } from '../browse/problems.js';
import { visible } from '../browse/table.js';
import { views } from '../browse/views.js';
import { WorkerPool } from '../format/pool.js';
import { ShareSource } from '../format/share-source.js';
import { secretOf } from '../format/shares.js';
import { t } from '../i18n.js';
import { setHeader, setNavigation, setTitle } from '../shell.js';
import { takeFragment } from './fragment.js';
import { ShareSession } from './session.js';

const VIEWS = {
  files: () => import('../browse/files.js'),
  file: () => import('../browse/file.js'),
  search: () => import('../browse/search.js'),
};

/** The link of this page, and what it opened; both stay when the language changes. */
let held = null;

/** What the page that is shown does when something was opened. */
let arrived = () => {};

function hold(share) {
  const fragment = takeFragment();
  if (held?.share === share && (held.session || fragment === null)) return;
  held?.session?.close();
  held?.pool?.close();
  held = { share, fragment, session: null, opening: null, pool: null };
}

/** Ask for the session; whoever asks meanwhile waits for the same. */
function open(lock, password, source) {
  const own = held;
  own.pool ??= new WorkerPool();
  const secret = lock.secret ? secretOf(own.fragment ?? '') : null;
  own.opening ??= ShareSession.open(own.share, { lock, secret, password, source, pool: own.pool }).then(
    (session) => {
      // The secret has done its work.
      Object.assign(own, { session, fragment: null });
      if (held === own) arrived();
    },
  ).finally(() => (own.opening = null));
  return own.opening;
}

const head = (name, title, text) => h('div', { class: 'unlock-head' }, h('span', { class: 'medallion' }, icon(name)), h('h1', {}, title), h('p', { class: 'soft' }, text));
const note = () => h('p', { class: 'unlock-note small soft' }, t('share.note'));

/** Nothing is shown here, and why. */
function closed(main, error, again) {
  setTitle(t('share.closed'));
  const retry = error.code === 'network' && h('button', { class: 'button wide', type: 'button', onclick: again }, t('share.again'));
  fill(main, h('div', { class: 'unlock card' }, head('link', t('share.closed'), t('share.closed-hint')), problem(error), retry));
}

function passwordForm(main, submit) {
  setTitle(t('share.title'));
  const password = field(t('share.password'), { type: 'password', autocomplete: 'off', required: true, hint: t('share.password-hint') });
  const outcome = h('div', { class: 'outcome' });
  const button = h('button', { class: 'button primary wide' }, t('share.open'));
  const send = async (event) => {
    event.preventDefault();
    button.disabled = true;
    fill(outcome, h('p', { class: 'working', role: 'status' }, h('span', { class: 'spinner' }), t('share.deriving')));
    try {
      await submit(password.input.value);
    } catch (error) {
      if (!isQuiet(error)) fill(outcome, problem(error));
      button.disabled = false;
      password.input.select();
    }
  };
  fill(main, h('div', { class: 'unlock card' }, head('lock', t('share.title'), t('share.locked')), h('form', { class: 'unlock-form', onsubmit: send }, password.field, button, outcome), note()));
  password.input.focus();
}

export default async function page({ main, params, signal }) {
  hold(params.share);
  setNavigation([]);
  const session = () => held.session;
  const shown = views(main, VIEWS, { session, home: () => session().home(), back: 'share.back', signal });

  const enter = () => {
    setHeader({ place: visible(session().whole.name) || t('share.everything') });
    return shown.draw();
  };

  const begin = async () => {
    setHeader({ place: '' });
    setTitle(t('share.title'));
    fill(main, h('p', { class: 'working', role: 'status' }, h('span', { class: 'spinner' }), t('share.opening')));
    try {
      const source = new ShareSource(params.share);
      const lock = await source.see();
      if (lock.secret && !held.session) secretOf(held.fragment ?? '');
      if (signal.aborted) return;
      if (lock.cost) passwordForm(main, (password) => open(lock, password, source));
      else await open(lock, '', source);
    } catch (error) {
      if (!signal.aborted) closed(main, error, begin);
    }
  };

  arrived = () => !signal.aborted && void enter();
  window.addEventListener('hashchange', () => {
    if (!location.hash.slice(1) || location.hash.startsWith('#/') || session()) return;
    hold(params.share);
    void begin();
  }, { signal });
  signal.addEventListener('abort', () => (arrived = () => {}));
  if (session()) await enter();
  else await begin();
}

