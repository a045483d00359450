/** A month as a table of days, with how many backups each has. */
import { fill, h, icon } from '../dom.js';
import { day as dayText, firstWeekday, month as monthText, number, t, weekday } from '../i18n.js';

/** @param {bigint} time nanoseconds @returns {string} the day in this place's time, `2026-11-22` */
export function dayOf(time) {
  const date = new Date(Number(time / 1000000n));
  return key(date.getFullYear(), date.getMonth(), date.getDate());
}

const key = (year, month, day) => `${year}-${String(month + 1).padStart(2, '0')}-${String(day).padStart(2, '0')}`;

function strength(count, most) {
  if (!count) return '0';
  return String(1 + Math.min(2, Math.floor((3 * (count - 1)) / Math.max(1, most))));
}

/**
 * @param {Map<string, number>} counts of backups by day @param {{chosen: () => string, choose: (day: string) => void}} options the day that is
 *   shown alone ('' for all), and what a click does
 */
export function calendar(counts, { chosen, choose }) {
  const newest = [...counts.keys()].sort().at(-1);
  const shown = newest ? new Date(`${newest}T12:00`) : new Date();
  const [first] = [...counts.keys()].sort();
  const most = Math.max(1, ...counts.values());
  const box = h('section', { class: 'calendar card', 'aria-label': t('snapshots.calendar') });

  const move = (by) => {
    shown.setDate(1);
    shown.setMonth(shown.getMonth() + by);
    draw();
    box.querySelector(by < 0 ? '.before' : '.after').focus();
  };

  const cell = (year, month, day) => {
    const date = key(year, month, day);
    const count = counts.get(date) ?? 0;
    if (!count) return h('td', {}, h('span', { class: 'day' }, number(day)));
    const label = t('snapshots.on-day', { day: dayText(new Date(year, month, day)), n: count });
    const pressed = chosen() === date;
    const button = h('button', { class: 'day', type: 'button', 'aria-pressed': String(pressed), 'aria-label': label, title: label, dataset: { strength: strength(count, most) }, onclick: () => choose(pressed ? '' : date) }, number(day));
    return h('td', {}, button);
  };

  const weeks = (year, month) => {
    const blank = (new Date(year, month, 1).getDay() - firstWeekday() + 7) % 7;
    const days = new Date(year, month + 1, 0).getDate();
    const cells = [...Array.from({ length: blank }, () => h('td', {})), ...Array.from({ length: days }, (_, n) => cell(year, month, n + 1))];
    return Array.from({ length: Math.ceil(cells.length / 7) }, (_, n) => h('tr', {}, cells.slice(7 * n, 7 * n + 7)));
  };

  const heads = () => Array.from({ length: 7 }, (_, n) => h('th', { scope: 'col' }, weekday(new Date(2023, 0, 1 + n + firstWeekday()))));

  const draw = () => {
    const [year, month] = [shown.getFullYear(), shown.getMonth()];
    const known = key(year, month, 1).slice(0, 7);
    const step = (name, label, by, end) => h('button', { class: `button plain square ${name}`, type: 'button', 'aria-label': label, title: label, disabled: end, onclick: () => move(by) }, icon(by < 0 ? 'left' : 'right'));
    fill(box,
      h('div', { class: 'calendar-head' },
        step('before', t('snapshots.month-before'), -1, !first || known <= first.slice(0, 7)),
        h('h2', { 'aria-live': 'polite' }, monthText(shown)),
        step('after', t('snapshots.month-after'), 1, !newest || known >= newest.slice(0, 7))),
      h('table', {}, h('caption', { class: 'hidden-visually' }, t('snapshots.calendar')), h('thead', {}, h('tr', {}, heads())), h('tbody', {}, weeks(year, month))));
  };
  draw();
  return { box, draw };
}
