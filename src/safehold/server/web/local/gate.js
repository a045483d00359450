/** The pages' own way to `safehold ui`: an address that works once, and a session that only pages of this very address and port can read. */
import { has, t } from '../i18n.js';
import { ReadError } from '../format/errors.js';
import { HttpStore, refused } from '../format/http-store.js';
import { takeFragment } from '../share/fragment.js';

/** It opens sealed objects and no key; the program forgets it when it ends. */
const SESSION = 'safehold-ui';

const once = takeFragment();
const headers = () => ({ Authorization: `Bearer ${localStorage.getItem(SESSION) ?? ''}` });

async function told(response) {
  const said = await response.json().catch(() => ({}));
  if (!response.ok) throw Object.assign(new Error(said.message ?? String(response.status)), { code: said.code ?? '' });
  return said;
}

const asked = (path, options = {}) => fetch(`/api/v1${path}`, { cache: 'no-store', credentials: 'omit', redirect: 'error', ...options }).then(told);

async function enter() {
  const { session } = await asked('/local/enter', { method: 'POST', body: JSON.stringify({ token: once }) });
  localStorage.setItem(SESSION, session);
}

let entering = null;

/** Give the token of the address, if there is one. */
export async function entered() {
  if (once) entering ??= enter();
  await entering;
}

/** @returns {Promise<{name: string, location: string}[]>} the repositories to look at */
export async function repositories() {
  await entered();
  return (await asked('/local', { headers: headers() })).repositories;
}

/** What went wrong, in the language of the pages. */
export function sentence(error) {
  const key = `local.${error.code}`;
  return error instanceof TypeError ? t('local.ended') : has(key) ? t(key) : error.message;
}

async function refusal(response) {
  if (response.status === 401) return new ReadError('ended', 'this page belongs to another run');
  if (response.status !== 409) return refused(response);
  const { message = '' } = await response.json().catch(() => ({}));
  return new ReadError('store', message);
}

/** @param {string} name of a repository */
export const store = (name) => new HttpStore(`/api/v1/repositories/local/${encodeURIComponent(name)}`, { headers: headers(), refusal });
