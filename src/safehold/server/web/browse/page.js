/** The page of one repository: unlocked once, then one view or another, as the fragment of the address says. */
import { h, icon } from '../dom.js';
import { t } from '../i18n.js';
import { setHeader, toast } from '../shell.js';
import { address } from './paths.js';
import { surroundings } from './surroundings.js';
import { unlock } from './unlock.js';
import { views } from './views.js';

const VIEWS = {
  snapshots: () => import('./snapshots.js'),
  files: () => import('./files.js'),
  file: () => import('./file.js'),
  search: () => import('./search.js'),
  history: () => import('./history.js'),
  compare: () => import('./compare.js'),
  keys: () => import('./keys.js'),
  restore: () => import('./restore.js'),
  restores: () => import('./restores.js'),
  plans: () => import('./plans.js'),
};

/** What is open in this page, and stays so when the language changes or somebody goes elsewhere and comes back. */
let opened = null;

/** What the page that is shown does when the repository was locked. */
let relock = () => {};

function lockButton() {
  return h('button', { class: 'button compact', type: 'button', onclick: () => opened.session.lock() }, icon('lock'), h('span', { class: 'label' }, t('browse.lock')));
}

function keysLink() {
  return h('a', { class: 'button compact plain', href: address('keys'), 'aria-label': t('keys.title') }, icon('key'), h('span', { class: 'label' }, t('keys.title')));
}

export default async function page({ main, params, signal }) {
  const place = `${params.account}/${params.name}`;
  if (opened && opened.place !== place) opened.session.lock();
  const shown = views(main, VIEWS, { session: () => opened?.session, home: () => address('snapshots'), back: 'browse.to-snapshots', signal });

  const enter = () => {
    setHeader({ place: surroundings.nameOf(place), tools: [keysLink, lockButton] });
    return shown.draw();
  };

  const close = (locked) => {
    setHeader({ place: surroundings.nameOf(place) });
    const enterNew = (session) => {
      opened = { place, session };
      if (session.warnings.length) toast(t('browse.warnings', { n: session.warnings.length }), { problem: true });
      void enter();
    };
    unlock(main, place, { locked, opened: enterNew, onLock: () => relock() });
  };

  relock = () => {
    opened = null;
    shown.leave();
    close(true);
  };
  signal.addEventListener('abort', () => {
    relock = () => (opened = null);
  });

  if (opened) await enter();
  else close(false);
}
