/** Small pictures of numbers, drawn as SVG: no library, no style in attributes, and each with the same in words. */
import { bytes, day as dayName, t } from '../i18n.js';

const SVG = 'http://www.w3.org/2000/svg';

function s(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

/** One column a day: how much was added. @param {ReturnType<import('./health.js').byDay>} days */
export function growth(days) {
  const width = 8;
  const height = 56;
  const most = Math.max(1, ...days.map((each) => each.added));
  const total = days.reduce((sum, each) => sum + each.added, 0);
  const label = t('chart.growth', { size: bytes(total), n: days.length });
  const svg = s('svg', { viewBox: `0 0 ${days.length * width} ${height}`, class: 'chart', role: 'img', 'aria-label': label, preserveAspectRatio: 'none' });
  days.forEach((each, at) => {
    const tall = each.added ? Math.max(2, (each.added / most) * (height - 2)) : 1;
    const column = s('rect', { x: at * width + 1, y: height - tall, width: width - 2, height: tall, rx: 1, class: each.added ? 'column' : 'column none' });
    column.append(s('title', {}, `${dayName(each.date)}: ${bytes(each.added)}`));
    svg.append(column);
  });
  return svg;
}

/** One square a day: whether there was a backup. */
export function calendar(days) {
  const size = 14;
  const first = days[0].date.getDay();
  const columns = Math.ceil((days.length + first) / 7);
  const good = days.filter((each) => each.done && !each.failed).length;
  const label = t('chart.calendar', { n: days.length, good });
  const svg = s('svg', { viewBox: `0 0 ${columns * size} ${7 * size}`, class: 'squares', role: 'img', 'aria-label': label });
  days.forEach((each, at) => {
    const place = at + first;
    const state = each.failed ? 'failed' : each.incomplete ? 'incomplete' : each.done ? 'done' : 'none';
    const square = s('rect', { x: Math.floor(place / 7) * size + 1, y: (place % 7) * size + 1, width: size - 2, height: size - 2, rx: 3, class: `square-day ${state}` });
    square.append(s('title', {}, `${dayName(each.date)}: ${t(`chart.${state}`)}`));
    svg.append(square);
  });
  return svg;
}
