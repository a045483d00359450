/** Restore jobs as the server knows them: which device, how far, and a button to cancel.  What was ordered, only the opened repository says. */
import { h } from '../dom.js';
import { has, t } from '../i18n.js';
import { ask, toast } from '../shell.js';
import { Refused, call, sentence } from './api.js';
import { badge } from './forms.js';

const KINDS = { waiting: '', running: '', done: 'added', incomplete: 'warning', failed: 'removed', cancelled: '', expired: 'warning' };
const EVERY = 3000;

export const isOpen = ({ state }) => state === 'waiting' || state === 'running';

/** How a job is, and how far. @param {{id: string, state: string, percent: number, code: string}} job */
export function stateOf(job, name) {
  const why = job.state === 'failed' && h('span', { class: 'small soft block' }, t(has(`jobs.code-${job.code}`) ? `jobs.code-${job.code}` : 'jobs.code-other'));
  const bar = job.state === 'running' && h('progress', { class: 'bar', max: 100, value: job.percent, 'aria-label': t('jobs.progress', { name }) });
  const text = t(`jobs.state-${job.state}`);
  return h('span', { class: 'job-state' }, badge(KINDS[job.state], job.state === 'running' ? t('jobs.percent', { text, n: job.percent }) : text), bar, why);
}

/** @param {string} place @param {object} job @param {string} name of the device @param {() => Promise<void>} done is called when it is cancelled */
export function cancelButton(place, job, name, done) {
  const cancel = async () => {
    const choices = [{ value: '', label: t('jobs.keep') }, { value: 'yes', label: t('jobs.cancel'), primary: true }];
    if (!(await ask({ title: t('jobs.cancel-title', { name }), text: t('jobs.cancel-text'), choices }))) return;
    try {
      await call('DELETE', `/repositories/${place}/restores/${job.id}`);
      toast(t('jobs.cancelled'));
    } catch (error) {
      toast(sentence(error), { problem: true });
    }
    await done();
  };
  return h('button', { class: 'button compact plain', id: `cancel-${job.id}`, type: 'button', onclick: cancel }, t('jobs.cancel'));
}

/**
 * Look again while something goes on; whoever was at a button stays there.
 * @param {AbortSignal} signal @param {() => Promise<{text: string, open: boolean}>} look fetches; `text` is another where something changed @param {() => Promise<void>} draw
 */
export function watch(signal, look, draw) {
  let before = null;
  const next = async () => {
    if (signal.aborted) return;
    try {
      const { text, open } = await look();
      if (signal.aborted) return;
      const focused = document.activeElement?.id;
      if (before !== text) await draw();
      if (before !== text && focused) document.getElementById(focused)?.focus();
      before = text;
      if (!open) return;
    } catch (error) {
      if (error instanceof Refused && error.status < 500 && error.status !== 429) return; // else the server is asked again
    }
    timer = setTimeout(next, EVERY);
  };
  let timer = setTimeout(next, 0);
  signal.addEventListener('abort', () => clearTimeout(timer));
  /** Something is going on anew. */
  return () => {
    clearTimeout(timer);
    return next();
  };
}
