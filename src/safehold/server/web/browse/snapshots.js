/** The backups of a repository: by day, filtered by device and by what was backed up. */
import { fill, h, icon } from '../dom.js';
import { bytes, clock, day as dayText, t } from '../i18n.js';
import { announce, setTitle } from '../shell.js';
import { calendar, dayOf } from './calendar.js';
import { address } from './paths.js';
import { surroundings } from './surroundings.js';

const SLASH = 47;

/** @returns {string} what was backed up, for people */
export function sourceOf({ source }) {
  if (source.kind === 'command') return source.command || source.paths.join(' ');
  return source.paths.join(' · ') || source.kind;
}

/** The host as it was named, with the device that signed if that is called otherwise. */
export const deviceOf = ({ host, device }) => (device && device !== host && device !== 'owner' ? `${host} (${device})` : host);

/** Where to begin in a backup: at its one source, if there is one, and not at the folders that lead to it. */
function start({ source }) {
  const [path] = source.rawPaths;
  if (source.kind !== 'files' || source.rawPaths.length !== 1 || path[0] !== SLASH) return [];
  const names = [];
  for (let at = 1; at < path.length; ) {
    const end = path.indexOf(SLASH, at) < 0 ? path.length : path.indexOf(SLASH, at);
    if (end > at) names.push(path.subarray(at, end));
    at = end + 1;
  }
  return names;
}

function badges(snapshot) {
  return [
    snapshot.source.kind !== 'files' && h('span', { class: 'badge' }, snapshot.source.kind),
    snapshot.incomplete && h('span', { class: 'badge warning' }, icon('warning'), t('snapshots.incomplete')),
    snapshot.lost > 0 && h('span', { class: 'badge warning' }, icon('warning'), t('snapshots.lost', { n: snapshot.lost })),
    ...snapshot.tags.map((tag) => h('span', { class: 'badge' }, tag)),
  ];
}

function row(snapshot, picked, pick) {
  const id = `pick-${snapshot.id}`;
  const name = `${dayText(snapshot.time)}, ${clock(snapshot.time)}`;
  return h('li', { class: 'snapshot' },
    h('input', { type: 'checkbox', id, '.checked': picked.has(snapshot.id), 'aria-label': t('snapshots.pick', { name }), onchange: (event) => pick(snapshot, event.target) }),
    h('a', { class: 'snapshot-link', href: address('files', [snapshot.id], start(snapshot)) },
      h('span', { class: 'time number' }, clock(snapshot.time)),
      h('span', { class: 'what' }, h('span', { class: 'paths' }, sourceOf(snapshot)), h('span', { class: 'from small soft' }, icon('device'), deviceOf(snapshot), badges(snapshot))),
      h('span', { class: 'figures small soft number' }, h('span', {}, bytes(snapshot.totals.bytes)), h('span', {}, t('count.files', { n: snapshot.totals.files })))));
}

function groups(snapshots) {
  const days = new Map();
  for (const snapshot of snapshots) {
    const key = dayOf(snapshot.time);
    if (!days.has(key)) days.set(key, []);
    days.get(key).push(snapshot);
  }
  return [...days.values()];
}

function chooser(label, values, chosen, change) {
  if (values.length < 2) return null;
  const options = [h('option', { value: '' }, t('snapshots.all')), ...values.map((value) => h('option', { value, selected: value === chosen }, value))];
  const id = `filter-${label}`;
  return h('div', { class: 'field' }, h('label', { for: id }, t(`snapshots.${label}`)), h('select', { class: 'input compact', id, onchange: (event) => change(event.target.value) }, options));
}

const PAGE = 200;

export default async function show({ main, session }) {
  setTitle(t('snapshots.title'));
  const { snapshots } = session;
  const chosen = { device: '', source: '', day: '' };
  const picked = new Map();
  const list = h('div', { class: 'snapshot-days' });
  const actions = h('div', { class: 'actions' });
  const count = h('p', { class: 'soft', role: 'status' });
  let most = PAGE;

  const filtered = (withDay = true) => snapshots.filter((each) =>
    (!chosen.device || deviceOf(each) === chosen.device) && (!chosen.source || sourceOf(each) === chosen.source) && (!withDay || !chosen.day || dayOf(each.time) === chosen.day));

  const counts = new Map();
  const recount = () => {
    counts.clear();
    for (const { time } of filtered(false)) counts.set(dayOf(time), (counts.get(dayOf(time)) ?? 0) + 1);
  };
  recount();

  const drawActions = () => {
    const two = [...picked.values()].sort((a, b) => (a.time < b.time ? -1 : 1));
    const ready = two.length === 2;
    const says = t(two.length === 1 ? 'snapshots.pick-another' : 'snapshots.pick-two');
    fill(actions, h('p', { class: 'small soft' }, !ready && says),
      ready && h('a', { class: 'button primary', href: address('compare', two.map(({ id }) => id)) }, icon('compare'), t('snapshots.compare')));
  };

  const pick = (snapshot, box) => {
    if (box.checked) picked.set(snapshot.id, snapshot);
    else picked.delete(snapshot.id);
    if (picked.size > 2) {
      const [oldest] = picked.keys();
      picked.delete(oldest);
      const other = document.getElementById(`pick-${oldest}`);
      if (other) other.checked = false;
    }
    drawActions();
    if (picked.size === 2) announce(t('snapshots.can-compare'));
  };

  const draw = () => {
    const found = filtered();
    count.textContent = t('count.snapshots', { n: found.length });
    const sections = groups(found.slice(0, most)).map((day) => h('section', {}, h('h2', {}, dayText(day[0].time)), h('ul', { class: 'snapshot-list card' }, day.map((each) => row(each, picked, pick)))));
    const more = found.length > most && h('button', { class: 'button', type: 'button', onclick: () => ((most += PAGE), draw()) }, t('browse.more', { n: found.length - most }));
    fill(list, sections, more, !found.length && h('p', { class: 'empty card soft' }, t(snapshots.length ? 'snapshots.none-here' : 'snapshots.none')));
  };

  const days = calendar(counts, { chosen: () => chosen.day, choose: (day) => change('day', day) });
  const change = (name, value) => {
    chosen[name] = value;
    most = PAGE;
    recount();
    days.draw();
    draw();
  };

  const devices = [...new Set(snapshots.map(deviceOf))].sort();
  const sources = [...new Set(snapshots.map(sourceOf))].sort();
  draw();
  drawActions();
  main.fill(
    h('div', { class: 'page-head' }, h('div', { class: 'titles' }, h('h1', {}, t('snapshots.title')), count, surroundings.mayWrite && h('p', { class: 'small' }, h('a', { href: address('restores') }, t('jobs.list')), ' · ', h('a', { href: address('plans') }, t('plans.title')))), actions),
    h('div', { class: 'with-side' },
      h('aside', { class: 'side' }, days.box,
        h('div', { class: 'filters' }, chooser('device', devices, chosen.device, (value) => change('device', value)), chooser('source', sources, chosen.source, (value) => change('source', value)))),
      list));
}
