/** Requests about accounts and devices, as the person who is logged in. */
import { has, t } from '../i18n.js';

export class Refused extends Error {
  /** @param {number} status @param {{code?: string, message?: string, hint?: string}} said @param {Headers} headers */
  constructor(status, said, headers) {
    super(said.message ?? `${status}`);
    Object.assign(this, { status, code: said.code ?? '', hint: said.hint ?? '', needs: headers.get('X-Safehold-Needs') ?? '' });
  }
}

/**
 * @param {'GET'|'POST'|'PUT'|'PATCH'|'DELETE'} method @param {string} path behind `/api/v1` @param {object} [value] the JSON body
 * @returns {Promise<any>} the JSON answer, null where there is none.  Throws Refused, or TypeError where no server answers.
 */
export async function call(method, path, value) {
  const text = await ask(method, path, value);
  return text ? JSON.parse(text) : null;
}

/** The same; the answer as text. */
export async function ask(method, path, value) {
  const options = { method, headers: { 'X-Safehold': '1' }, cache: 'no-store', credentials: 'same-origin', redirect: 'error' };
  if (value !== undefined) Object.assign(options, { body: JSON.stringify(value), headers: { ...options.headers, 'Content-Type': 'application/json' } });
  const response = await fetch(`/api/v1${path}`, options);
  const text = await response.text();
  if (!response.ok) throw new Refused(response.status, said(text), response.headers);
  return text;
}

/** What a refusal says; a proxy in between may have put in a page of its own. */
function said(text) {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}

/** What to say of a request that failed: by its code in the person's language where there is a text, else as the server put it. */
export function sentence(error) {
  if (error instanceof Refused) {
    const key = `refused.${error.code}`;
    return has(key) ? t(key, { message: error.message }) : [error.message, error.hint].filter(Boolean).join(' ');
  }
  return error instanceof TypeError ? t('refused.no-answer') : String(error.message ?? error);
}
