/** One view or another of what is open, as the fragment of the address says. */
import { fill, h } from '../dom.js';
import { t } from '../i18n.js';
import { parse } from './paths.js';
import { isQuiet, problem } from './problems.js';

/** Shown until a view has something of its own. */
const waiting = () => h('p', { class: 'working', role: 'status' }, h('span', { class: 'spinner' }), t('browse.reading'));

/**
 * @param {HTMLElement} main @param {Object<string, () => Promise<{default: Function}>>} known views by name
 * @param {{session: () => object|null, home: () => string, back: string, signal: AbortSignal}} options `session`: what is open, if anything is; `home`: the
 *   address of the view to begin with; `back`: the text of the way there
 * @returns {{draw: () => Promise<void>, leave: () => void}}
 */
export function views(main, known, { session, home, back, signal }) {
  let leaving;

  const draw = async () => {
    leaving?.abort();
    leaving = new AbortController();
    const own = AbortSignal.any([leaving.signal, signal]);
    const { view, parts, query } = parse(location.hash);
    if (!Object.hasOwn(known, view)) return void location.replace(home());
    const late = setTimeout(() => fill(main, waiting()), 150);
    try {
      const { default: show } = await known[view]();
      // A view reads what it needs first, and then draws.
      await show({ main: { fill: (...children) => !own.aborted && (clearTimeout(late), fill(main, ...children)) }, session: session(), parts, query, signal: own });
    } catch (error) {
      if (own.aborted || isQuiet(error)) return;
      clearTimeout(late);
      fill(main, problem(error), h('p', {}, h('a', { href: home() }, t(back))));
    } finally {
      clearTimeout(late);
    }
  };

  window.addEventListener('hashchange', () => {
    if (!session()) return;
    window.scrollTo(0, 0);
    // What had the focus is gone; a screen reader goes on at the new view.
    void draw().then(() => document.activeElement === document.body && main.focus({ preventScroll: true }));
  }, { signal });
  const leave = () => leaving?.abort();
  signal.addEventListener('abort', leave);
  return { draw, leave };
}
