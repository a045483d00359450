/** The restores that were ordered from devices: what, where to, and what the device itself says became of it. */
import { ask as request } from '../account/api.js';
import { table } from '../account/forms.js';
import { cancelButton, isOpen, stateOf, watch } from '../account/restores.js';
import { fill, h, icon } from '../dom.js';
import { textOf, unbase64 } from '../format/bytes.js';
import { openJob, openReport } from '../format/jobs.js';
import { bytes, dateTime, t } from '../i18n.js';
import { setTitle } from '../shell.js';
import { visible } from './table.js';

/** A job with what the owner signed of it, and what the device did. */
async function opened(keyring, told) {
  try {
    const order = await openJob(keyring, { id: told.id, job: unbase64(told.job) });
    const report = told.report ? await openReport(keyring, { ...order, id: told.id }, unbase64(told.report)).catch(() => null) : null;
    return { ...told, state: report?.state ?? told.state, order, report };
  } catch {
    return { ...told, order: null, report: null };
  }
}

function what(session, { order }) {
  if (!order) return h('span', { class: 'badge warning' }, t('jobs.not-an-owners'));
  const snapshot = session.snapshot(order.snapshot);
  const [first, ...more] = order.paths.map((path) => visible(textOf(path)));
  return h('span', {}, h('strong', {}, first ?? t('files.everything')), more.length ? ` ${t('jobs.more', { n: more.length })}` : '',
    h('span', { class: 'small soft block' }, snapshot ? dateTime(snapshot.time) : order.snapshot.slice(0, 8)));
}

function outcome(job) {
  if (!job.report) return isOpen(job) || ['expired', 'cancelled'].includes(job.state) || !job.order ? '' : h('span', { class: 'small soft' }, t('jobs.unproven'));
  const { message, hint, folder, placed, bytes: size } = job.report;
  return h('span', {}, placed ? h('span', { class: 'block' }, t('jobs.placed', { n: placed, size: bytes(size) })) : '', folder ? h('code', { class: 'small block' }, visible(folder)) : '',
    message ? h('span', { class: 'small block' }, visible([message, hint].filter(Boolean).join(' '))) : '');
}

export default async function show({ main, session, signal }) {
  setTitle(t('jobs.list'));
  const list = h('div', {});
  let told = { restores: [] };
  const look = async () => {
    const text = await request('GET', `/repositories/${session.place}/restores`);
    told = JSON.parse(text);
    return { text, open: told.restores.some(isOpen) };
  };
  const draw = async () => {
    const jobs = await Promise.all(told.restores.map((each) => opened(session.repository.keyring, each)));
    const heads = ['jobs.when', 'jobs.device', 'jobs.what', 'jobs.state', 'jobs.outcome', 'devices.action'].map((key) => t(key));
    const row = (job) => {
      const name = visible(job.name);
      return [dateTime(BigInt(job.created_ns)), name, what(session, job), stateOf(job, name), outcome(job), isOpen(job) && told.may_order ? cancelButton(session.place, job, name, again) : ''];
    };
    fill(list, jobs.length ? table(heads, jobs.map(row), t('jobs.list')) : h('p', { class: 'empty card soft' }, t('jobs.none')));
  };
  await look();
  const again = watch(signal, look, draw);
  main.fill(
    h('div', { class: 'page-head' }, h('div', { class: 'titles' }, h('p', { class: 'soft small' }, h('a', { href: '#/snapshots' }, t('snapshots.title'))), h('h1', {}, t('jobs.list')), h('p', { class: 'soft' }, t('jobs.list-explained')))),
    h('p', { class: 'message' }, icon('lock'), h('span', {}, t('jobs.sealed'))), list);
}
