/** The devices of a repository, and what each backs up. */
import { visible } from '../browse/table.js';
import { fill, h } from '../dom.js';
import { bytes, dateTime, t } from '../i18n.js';
import { ask, setTitle, toast } from '../shell.js';
import { ask as request, call, sentence } from './api.js';
import { badge, drawn, table } from './forms.js';
import { stateOf } from './health.js';
import { entered } from './menu.js';
import { cancelButton, isOpen, stateOf as restoreState, watch } from './restores.js';

const KINDS = { good: 'added', late: 'warning', failed: 'removed', waiting: '', out: '' };

export default function page({ main, params, signal }) {
  const place = `${params.account}/${params.name}`;
  setTitle(t('devices.title', { place }));

  const shutOut = async (device) => {
    const choices = [{ value: '', label: t('shell.cancel') }, { value: 'yes', label: t('devices.shut-out'), primary: true }];
    if (!(await ask({ title: t('devices.shut-out-title', { name: device.name }), text: t('devices.shut-out-text'), choices }))) return;
    try {
      await call('DELETE', `/repositories/${place}/devices/${device.id}`);
      toast(t('devices.done', { name: device.name }));
      await draw();
    } catch (error) {
      toast(sentence(error), { problem: true });
    }
  };

  const restores = h('section', { class: 'job-list' });
  let told = { restores: [] };
  const look = async () => {
    const text = await request('GET', `/repositories/${place}/restores`);
    told = JSON.parse(text);
    return { text, open: told.restores.some(isOpen) };
  };
  const drawRestores = async () => {
    const heads = ['devices.device', 'jobs.when', 'jobs.state', 'devices.action'].map((key) => t(key));
    const row = (job) => [visible(job.name), dateTime(BigInt(job.created_ns)), restoreState(job, visible(job.name)), isOpen(job) && told.may_order ? cancelButton(place, job, visible(job.name), again) : ''];
    fill(restores, told.restores.length ? [h('h2', {}, t('jobs.list')), table(heads, told.restores.map(row), t('jobs.list')), h('p', { class: 'soft small' }, h('a', { href: `/${place}#/restores` }, t('jobs.details')))] : []);
  };
  const again = watch(signal, look, drawRestores);

  const draw = () => drawn(main, async () => {
    await entered();
    const { devices } = await call('GET', `/repositories/${place}/devices`);
    if (signal.aborted) return;
    const now = Date.now() / 1000;
    const heads = ['devices.device', 'devices.state', 'devices.source', 'devices.last', 'devices.size', 'devices.action'].map((key) => t(key));
    const rows = devices.flatMap((device) => {
      const { state } = stateOf(device, now);
      const button = device.revoked ? '' : h('button', { class: 'button compact plain', type: 'button', onclick: () => shutOut(device) }, t('devices.shut-out'));
      const sources = device.sources.length ? device.sources : [null];
      return sources.map((source, at) => [
        at ? '' : h('span', {}, h('strong', {}, visible(device.name)), h('br', {}), h('span', { class: 'soft small' }, visible(device.system))),
        source && source.status !== 'done' ? badge(source.status === 'failed' ? 'removed' : 'warning', t(`chart.${source.status}`)) : badge(KINDS[state], t(`state.${state}`)),
        visible(source?.source ?? ''),
        source ? dateTime(BigInt(source.received_ns)) : t('overview.none-yet'),
        source ? bytes(source.bytes) : '',
        at ? '' : button,
      ]);
    });
    fill(main,
      h('div', { class: 'page-head' },
        h('div', { class: 'titles' }, h('p', { class: 'soft small' }, h('a', { href: '/' }, t('nav.overview'))), h('h1', {}, t('devices.title', { place }))),
        h('div', { class: 'actions' }, h('a', { class: 'button', href: `/${place}#/plans` }, t('plans.title')), h('a', { class: 'button primary', href: '/enrol' }, t('overview.add-device')))),
      devices.length ? table(heads, rows, t('devices.title', { place })) : h('p', { class: 'soft' }, t('overview.no-device')), restores);
  });
  return draw();
}
