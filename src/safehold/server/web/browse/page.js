/** The page of one repository: unlocked once, then one view or another, as the fragment of the address says. */
import { fill, h, icon } from '../dom.js';
import { t } from '../i18n.js';
import { setHeader, toast } from '../shell.js';
import { address, parse } from './paths.js';
import { isQuiet, problem } from './problems.js';
import { unlock } from './unlock.js';

const VIEWS = {
  snapshots: () => import('./snapshots.js'),
  files: () => import('./files.js'),
  file: () => import('./file.js'),
  search: () => import('./search.js'),
  history: () => import('./history.js'),
  compare: () => import('./compare.js'),
};

/** What is open in this page, and stays so when the language changes or somebody goes elsewhere and comes back. */
let opened = null;

/** What the page that is shown does when the repository was locked. */
let relock = () => {};

function lockButton() {
  return h('button', { class: 'button compact', type: 'button', onclick: () => opened.session.lock() }, icon('lock'), h('span', { class: 'label' }, t('browse.lock')));
}

/** Shown until a view has something of its own. */
const waiting = () => h('p', { class: 'working', role: 'status' }, h('span', { class: 'spinner' }), t('browse.reading'));

export default async function page({ main, params, signal }) {
  const place = `${params.account}/${params.name}`;
  if (opened && opened.place !== place) opened.session.lock();
  let leave;

  const draw = async () => {
    leave?.abort();
    leave = new AbortController();
    const own = AbortSignal.any([leave.signal, signal]);
    const { view, parts, query } = parse(location.hash);
    if (!(view in VIEWS)) return void location.replace(address('snapshots'));
    const late = setTimeout(() => fill(main, waiting()), 150);
    try {
      const { default: show } = await VIEWS[view]();
      // A view reads what it needs first, and then draws.
      await show({ main: { fill: (...children) => !own.aborted && (clearTimeout(late), fill(main, ...children)) }, session: opened.session, parts, query, signal: own });
    } catch (error) {
      if (own.aborted || isQuiet(error)) return;
      clearTimeout(late);
      fill(main, problem(error), h('p', {}, h('a', { href: address('snapshots') }, t('browse.to-snapshots'))));
    } finally {
      clearTimeout(late);
    }
  };

  const enter = () => {
    setHeader({ place, tools: [lockButton] });
    return draw();
  };

  const close = (locked) => {
    setHeader({ place });
    const enterNew = (session) => {
      opened = { place, session };
      if (session.warnings.length) toast(t('browse.warnings', { n: session.warnings.length }), { problem: true });
      void enter();
    };
    unlock(main, place, { locked, opened: enterNew, onLock: () => relock() });
  };

  relock = () => {
    opened = null;
    leave?.abort();
    close(true);
  };
  window.addEventListener('hashchange', () => {
    if (!opened) return;
    window.scrollTo(0, 0);
    // What had the focus is gone; a screen reader goes on at the new view.
    void draw().then(() => document.activeElement === document.body && main.focus({ preventScroll: true }));
  }, { signal });
  signal.addEventListener('abort', () => {
    leave?.abort();
    relock = () => (opened = null);
  });

  if (opened) await enter();
  else close(false);
}
