/**
 * What stands around every page: header, navigation, language and theme, toasts, dialogs, the list of downloads, and the router.
 * docs/web.md says how a page is added.
 */
import { fill, h, icon } from './dom.js';
import { chooseLanguage, language, LANGUAGES, t } from './i18n.js';

const THEME = 'safehold-theme';
const dark = matchMedia('(prefers-color-scheme: dark)');

const state = { routes: [], navigation: [], place: '', tools: [], leave: null, current: null, footer: 'shell.footer' };
const parts = {};

/** @returns {'light'|'dark'} what is shown just now */
const theme = () => document.documentElement.dataset.theme ?? (dark.matches ? 'dark' : 'light');

function switchTheme() {
  const next = theme() === 'dark' ? 'light' : 'dark';
  document.documentElement.dataset.theme = next;
  try {
    localStorage.setItem(THEME, next);
  } catch {
    // It is forgotten when the page is left.
  }
  drawHeader();
}

function languageChoice() {
  const options = Object.entries(LANGUAGES).map(([code, name]) => h('option', { value: code, selected: code === language, lang: code }, name));
  const change = (event) => {
    chooseLanguage(event.target.value);
    drawHeader();
    void show();
    parts.header.querySelector('select').focus();
  };
  return h('select', { 'aria-label': t('shell.language'), onchange: change }, options);
}

function navigationLinks() {
  if (!state.navigation.length) return null;
  const links = state.navigation.map(({ href, key }) => {
    const here = location.pathname === href || (href !== '/' && location.pathname.startsWith(`${href}/`));
    return h('a', { href, 'aria-current': here ? 'page' : null }, t(key));
  });
  return h('nav', { class: 'navigation', 'aria-label': t('shell.navigation') }, links);
}

function drawHeader() {
  const label = theme() === 'dark' ? t('shell.light') : t('shell.dark');
  fill(
    parts.header,
    h('div', { class: 'header-inner' },
      h('a', { class: 'brand', href: '/', 'aria-label': 'Safehold' }, h('img', { src: '/web/style/icon.svg', alt: '' }), h('span', {}, 'Safehold')),
      state.place && h('span', { class: 'place' }, state.place),
      navigationLinks(),
      h('div', { class: 'space' }),
      h('div', { class: 'tools' },
        state.tools.map((tool) => tool()),
        languageChoice(),
        h('button', { class: 'button plain square', type: 'button', 'aria-label': label, title: label, onclick: switchTheme }, icon(theme() === 'dark' ? 'sun' : 'moon')))),
  );
  const links = parts.header.querySelector('.navigation');
  const here = links?.querySelector('[aria-current]');
  if (here && here.offsetLeft + here.offsetWidth > links.offsetLeft + links.clientWidth) links.scrollLeft = here.offsetLeft - links.offsetLeft; // a narrow screen
  parts.skip.textContent = t('shell.skip');
  parts.footer.textContent = t(state.footer);
}

/** What the header shows of this page: a name after the brand, and functions that make buttons. */
export function setHeader({ place = '', tools = [] }) {
  Object.assign(state, { place, tools });
  drawHeader();
}

/** @param {{href: string, key: string}[]} items of the navigation; `key` names a text of i18n */
export function setNavigation(items) {
  state.navigation = items;
  drawHeader();
}

/** The title of the window, and what a screen reader says when a view has changed. */
export function setTitle(text) {
  document.title = `${text} · Safehold`;
  parts.announcer.textContent = text;
}

/** Let a screen reader say this. */
export function announce(text) {
  parts.announcer.textContent = text;
}

/** A message that goes away by itself; problems stay until they are closed. */
export function toast(text, { problem = false } = {}) {
  const remove = () => made.remove();
  const close = h('button', { class: 'button plain compact', type: 'button', 'aria-label': t('shell.close'), onclick: remove }, icon('close'));
  const made = h('div', { class: `message toast ${problem ? 'problem' : ''}`, role: problem ? 'alert' : 'status' }, icon(problem ? 'warning' : 'check'), h('p', {}, text), close);
  parts.toasts.append(made);
  if (!problem) setTimeout(remove, 6000);
}

/**
 * Ask something.  Escape and the first choice mean no.
 * @param {{title: string, text: string, choices: {value: string, label: string, primary?: boolean}[]}} question
 * @returns {Promise<string>} the value of a choice, or '' @see HTMLDialogElement, which keeps the focus inside
 */
export function ask({ title, text, choices }) {
  return new Promise((resolve) => {
    const buttons = choices.map(({ value, label, primary }) => h('button', { class: `button ${primary ? 'primary' : ''}`, value }, label));
    const dialog = h('dialog', { 'aria-labelledby': 'dialog-title' },
      h('form', { method: 'dialog' }, h('h2', { id: 'dialog-title' }, title), h('p', {}, text), h('div', { class: 'choices' }, buttons)));
    dialog.addEventListener('close', () => {
      dialog.remove();
      resolve(dialog.returnValue);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** A line in the list of things that take time (downloads).  `stop` is called when the person wants it to end. */
export function job(name, stop) {
  const label = t('shell.stop', { name });
  const bar = h('progress', { class: 'bar', max: 1, 'aria-label': name });
  const says = h('p', { class: 'state' });
  const button = h('button', { class: 'button plain compact', type: 'button', 'aria-label': label, title: label }, icon('close'));
  const line = h('li', { class: 'job' }, h('span', { class: 'name', title: name }, name), button, bar, says);
  const remove = () => {
    line.remove();
    parts.jobs.hidden = !parts.jobList.children.length;
  };
  button.onclick = stop;
  const end = (kind, text) => {
    line.classList.add(kind);
    bar.remove();
    says.textContent = text;
    announce(`${name}: ${text}`);
    button.setAttribute('aria-label', t('shell.close'));
    button.title = t('shell.close');
    button.onclick = remove;
  };
  parts.jobHead.textContent = t('shell.jobs');
  parts.jobList.append(line);
  parts.jobs.hidden = false;
  return {
    /** @param {number|null} share from 0 to 1, null where nobody knows */
    progress(share, text) {
      if (share === null) bar.removeAttribute('value');
      else bar.value = share;
      says.textContent = text;
    },
    done: (text) => end('done', text),
    failed: (text) => end('failed', text),
    remove,
  };
}

/** Go to a page of these pages. */
export function navigate(url) {
  const target = new URL(url, location.href);
  const inside = target.pathname === location.pathname;
  history.pushState(null, '', target);
  if (inside) window.dispatchEvent(new HashChangeEvent('hashchange'));
  else void show();
}

function find(pathname) {
  for (const [pattern, load] of state.routes) {
    const names = [];
    const source = pattern.replace(/:(\w+)/g, (_, name) => {
      names.push(name);
      return '([^/]+)';
    });
    const found = new RegExp(`^${source}/?$`).exec(pathname);
    if (found) return { load, params: Object.fromEntries(names.map((name, at) => [name, decodeURIComponent(found[at + 1])])) };
  }
  return null;
}

/** Draw the page that the address names. */
async function show() {
  state.leave?.abort();
  state.leave = new AbortController();
  const { signal } = state.leave;
  state.current = location.pathname;
  const found = find(location.pathname);
  Object.assign(state, { place: '', tools: [] });
  drawHeader();
  if (!found) {
    setTitle(t('shell.nothing'));
    fill(parts.main, h('h1', {}, t('shell.nothing')), h('p', {}, t('shell.nothing-here')));
    return;
  }
  const { default: page } = await found.load();
  if (!signal.aborted) await page({ main: parts.main, params: found.params, signal });
}

function followLinks(event) {
  const link = event.target.closest?.('a[href]');
  const plain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey && !event.defaultPrevented;
  if (!link || !plain || link.target || link.hasAttribute('download') || link.origin !== location.origin) return;
  if (link.pathname === location.pathname) return;
  event.preventDefault();
  navigate(link.href);
}

/** @param {[string, () => Promise<{default: Function}>][]} routes path patterns (`/:account/:name`) and what loads their pages
 * @param {{footer?: string}} [options] the text below every page */
export function start(routes, { footer = 'shell.footer' } = {}) {
  Object.assign(state, { routes, footer });
  parts.skip = h('a', { class: 'button skip', href: '#main', onclick: (event) => (event.preventDefault(), parts.main.focus()) });
  parts.header = h('header', { class: 'header' });
  parts.main = h('main', { class: 'main', id: 'main', tabindex: '-1' });
  parts.footer = h('footer', { class: 'footer' });
  parts.announcer = h('div', { class: 'hidden-visually', 'aria-live': 'polite' });
  parts.toasts = h('div', { class: 'toasts' });
  parts.jobHead = h('h2', {});
  parts.jobList = h('ul', {});
  parts.jobs = h('section', { class: 'jobs', hidden: true, 'aria-live': 'off' }, parts.jobHead, parts.jobList);
  document.body.replaceChildren(parts.skip, parts.header, parts.main, parts.footer, parts.jobs, parts.toasts, parts.announcer);
  document.addEventListener('click', followLinks);
  window.addEventListener('popstate', () => state.current !== location.pathname && void show());
  dark.addEventListener('change', drawHeader);
  void show();
}
