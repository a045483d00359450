/** A table of files: sorted by a click on a head, walked with the arrow keys, drawn bit by bit as one scrolls. */
import { fill, h, icon } from '../dom.js';
import { bytes, compareNames, dateTime, t } from '../i18n.js';
import { FILE, FOLDER, SYMLINK } from '../format/trees.js';

const ICONS = { [FILE]: 'file', [FOLDER]: 'folder', [SYMLINK]: 'link' };
const STEP = 200;

/** The symbol of an entry's kind, with its name for who does not see it. */
export const kindIcon = ({ kind }) => [icon(ICONS[kind] ?? 'special'), h('span', { class: 'hidden-visually' }, t(`kind.${kind}`))];

/** Control characters and the like would hide what a name is, or turn it round. */
export const visible = (name) => name.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '\ufffd');

const ORDERS = {
  name: (a, b) => compareNames(a.entry.name, b.entry.name),
  size: (a, b) => a.entry.size - b.entry.size,
  time: (a, b) => (a.entry.mtime < b.entry.mtime ? -1 : Number(a.entry.mtime > b.entry.mtime)),
};

const FIELDS = 'input, select, textarea, button, dialog *';

function walkWithKeys(event, body, up) {
  if (event.target.matches?.(FIELDS)) return;
  const links = [...body.querySelectorAll('a.entry')];
  const at = links.indexOf(document.activeElement);
  const moves = { ArrowDown: at + 1, ArrowUp: Math.max(0, at - 1), Home: 0, End: links.length - 1, PageDown: at + 12, PageUp: Math.max(0, at - 12) };
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  if (event.key in moves && (at >= 0 || event.key.startsWith('Arrow'))) {
    links[Math.min(links.length - 1, moves[event.key])]?.focus();
    event.preventDefault();
  } else if (event.key === 'Backspace' && up) {
    location.hash = up;
    event.preventDefault();
  }
}

/**
 * @param {{entry: object, href: string, note?: string}[]} lines @param {{label: string, up?: string, folderFirst?: boolean, sorted?: boolean, signal: AbortSignal,
 *   withNote?: boolean}} options `up` is where Backspace leads
 * @returns {HTMLElement}
 */
export function entryTable(lines, { label, up, signal, sorted = true, withNote = false }) {
  const order = { by: sorted ? 'name' : null, down: false };
  const body = h('tbody', {});
  const end = h('div', { class: 'table-end' });
  let shown = [];

  const line = ({ entry, href, note }) => h('tr', {},
    h('td', { class: 'name' }, h('a', { class: 'entry', href }, kindIcon(entry), h('span', { class: 'text' }, visible(entry.name), note && h('span', { class: 'note small soft' }, note)))),
    h('td', { class: 'size number' }, entry.kind === FILE || entry.totals ? bytes(entry.size) : ''),
    h('td', { class: 'time number' }, dateTime(entry.mtime)));

  const more = () => {
    const from = body.children.length;
    body.append(...shown.slice(from, from + STEP).map(line));
    end.hidden = body.children.length >= shown.length;
  };

  const draw = () => {
    const turn = order.down ? -1 : 1;
    shown = [...lines];
    if (order.by) shown.sort((a, b) => (b.entry.kind === FOLDER) - (a.entry.kind === FOLDER) || turn * ORDERS[order.by](a, b) || ORDERS.name(a, b));
    fill(body);
    more();
  };

  const head = (by) => {
    const cell = h('th', { scope: 'col', class: by, 'aria-sort': order.by === by ? 'ascending' : 'none' });
    const mark = h('span', { class: 'mark', 'aria-hidden': 'true' });
    const press = () => {
      order.down = order.by === by && !order.down;
      order.by = by;
      for (const other of cell.parentElement.children) other.setAttribute('aria-sort', 'none');
      cell.setAttribute('aria-sort', order.down ? 'descending' : 'ascending');
      draw();
    };
    cell.append(h('button', { type: 'button', onclick: press }, t(`files.${by}`), mark));
    return cell;
  };

  draw();
  const table = h('table', { class: 'entries card', 'aria-label': label }, h('thead', {}, h('tr', {}, head('name'), head('size'), head('time'))), body);
  const watcher = new IntersectionObserver(([{ isIntersecting }]) => isIntersecting && more(), { rootMargin: '800px' });
  watcher.observe(end);
  document.addEventListener('keydown', (event) => walkWithKeys(event, body, up), { signal });
  signal.addEventListener('abort', () => watcher.disconnect());
  return h('div', { class: withNote ? 'table noted' : 'table' }, table, end);
}
