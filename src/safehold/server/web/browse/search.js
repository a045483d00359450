/** Names that hold a text, below a folder of a snapshot. */
import { fill, h } from '../dom.js';
import { t } from '../i18n.js';
import { setTitle } from '../shell.js';
import { FOLDER } from '../format/trees.js';
import { address, shown } from './paths.js';
import { breadcrumb, locate, searchField } from './place.js';
import { isQuiet, problem } from './problems.js';
import { entryTable, visible } from './table.js';

const MOST = 2000;
/** How often what was found so far is drawn, in milliseconds. */
const EVERY = 400;
/** After so long the page gets a turn. */
const TURN = 25;

export default async function show({ main, session, parts, query, signal }) {
  const { snapshot, path, entry } = await locate(session, parts);
  const wanted = (query.get('q') ?? '').toLocaleLowerCase();
  setTitle(t('search.title', { text: query.get('q') ?? '' }));
  const state = h('p', { class: 'soft', role: 'status' });
  const results = h('div', {});
  main.fill(breadcrumb(snapshot, path, t('search.crumb')),
    h('div', { class: 'page-head' }, h('div', { class: 'titles' }, h('h1', {}, t('search.title', { text: query.get('q') ?? '' })), state), h('div', { class: 'actions' }, searchField(snapshot, path, query.get('q') ?? ''))), results);

  const found = [];
  let looked = 0;
  let table = null;
  const draw = (done) => {
    state.textContent = t(done ? 'search.found' : 'search.looking', { n: found.length, looked });
    table?.abort();
    table = new AbortController();
    const options = { label: t('search.crumb'), signal: AbortSignal.any([table.signal, signal]), sorted: false, withNote: true };
    if (found.length) fill(results, entryTable(found, options));
    else if (done) fill(results, h('p', { class: 'empty card soft' }, t('search.nothing')));
  };
  const line = (below, each) => ({
    entry: each, note: visible(shown([...path, ...below.slice(0, -1)])),
    href: address(each.kind === FOLDER ? 'files' : 'file', [snapshot.id], [...path, ...below]),
  });

  void (async () => {
    let drawn = performance.now();
    let turn = drawn;
    try {
      for await (const { path: below, entry: each } of session.repository.trees.walk(entry.content, signal)) {
        looked++;
        if (each.name.toLocaleLowerCase().includes(wanted)) found.push(line(below, each));
        if (found.length === MOST) break;
        if (performance.now() - turn < TURN) continue;
        if (performance.now() - drawn > EVERY) {
          draw(false);
          drawn = performance.now();
        }
        await new Promise((resolve) => setTimeout(resolve));
        turn = performance.now();
      }
      draw(true);
    } catch (error) {
      if (!isQuiet(error) && !signal.aborted) fill(results, problem(error));
    }
  })();
}
