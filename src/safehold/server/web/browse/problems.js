/** What went wrong, as one sentence in the language of the pages. */
import { h, icon } from '../dom.js';
import { has, t } from '../i18n.js';

/** @param {Error} error @returns {string} */
export function sentence(error) {
  if (error.code === 'words' && error.details?.count) return t('problem.words-count', { n: error.details.count });
  const key = `problem.${error.code}`;
  return has(key) ? t(key, { message: error.message, ...error.details }) : t('problem.other', { message: error.message });
}

/** @param {Error} error @returns {HTMLElement} */
export const problem = (error) => h('div', { class: 'message problem', role: 'alert' }, icon('warning'), h('p', {}, sentence(error)));

/** Errors that only say that somebody went elsewhere. */
export const isQuiet = (error) => error.name === 'AbortError' || error.code === 'locked';
