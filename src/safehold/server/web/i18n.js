/** The language of the pages: texts by key, and dates, numbers and sizes as the language writes them. */
import accountDe from './i18n/account-de.js';
import accountEn from './i18n/account-en.js';
import accountZh from './i18n/account-zh.js';
import de from './i18n/de.js';
import en from './i18n/en.js';
import jobsDe from './i18n/jobs-de.js';
import jobsEn from './i18n/jobs-en.js';
import jobsZh from './i18n/jobs-zh.js';
import keysDe from './i18n/keys-de.js';
import keysEn from './i18n/keys-en.js';
import keysZh from './i18n/keys-zh.js';
import localDe from './i18n/local-de.js';
import localEn from './i18n/local-en.js';
import localZh from './i18n/local-zh.js';
import peopleDe from './i18n/people-de.js';
import peopleEn from './i18n/people-en.js';
import peopleZh from './i18n/people-zh.js';
import plansDe from './i18n/plans-de.js';
import plansEn from './i18n/plans-en.js';
import plansZh from './i18n/plans-zh.js';
import shareDe from './i18n/share-de.js';
import shareEn from './i18n/share-en.js';
import shareZh from './i18n/share-zh.js';
import zh from './i18n/zh.js';

export const LANGUAGES = { en: 'English', de: 'Deutsch', zh: '中文' };
const TEXTS = { en: { ...en, ...accountEn, ...shareEn, ...localEn, ...keysEn, ...jobsEn, ...peopleEn, ...plansEn }, de: { ...de, ...accountDe, ...shareDe, ...localDe, ...keysDe, ...jobsDe, ...peopleDe, ...plansDe }, zh: { ...zh, ...accountZh, ...shareZh, ...localZh, ...keysZh, ...jobsZh, ...peopleZh, ...plansZh } };
const STORED = 'safehold-language';

function wanted() {
  let stored = null;
  try {
    stored = localStorage.getItem(STORED);
  } catch {
    // No storage.
  }
  const preferred = [stored, ...navigator.languages].filter(Boolean).map((tag) => tag.slice(0, 2).toLowerCase());
  return preferred.find((tag) => tag in TEXTS) ?? 'en';
}

export let language = wanted();
document.documentElement.lang = language;

/** @param {'en'|'de'|'zh'} chosen from now on, here; whoever draws the page does so again */
export function chooseLanguage(chosen) {
  language = chosen;
  document.documentElement.lang = chosen;
  try {
    localStorage.setItem(STORED, chosen);
  } catch {
    // It is forgotten when the page is left.
  }
}

/** A formatter of Intl, made once for each language and set of options. */
const made = new Map();
function intl(kind, options = {}) {
  const known = `${language} ${kind} ${JSON.stringify(options)}`;
  if (!made.has(known)) made.set(known, new Intl[kind](language, options));
  return made.get(known);
}

/**
 * @param {string} key of i18n/*.js @param {object} [values] for `{name}` in the text; `n` also chooses the plural
 * @returns {string} text, not markup
 */
export function t(key, values = {}) {
  let text = TEXTS[language][key] ?? TEXTS.en[key];
  if (text === undefined) throw new Error(`there is no text "${key}"`);
  if (typeof text === 'object') text = text[intl('PluralRules').select(values.n)] ?? text.other;
  return text.replace(/\{(\w+)\}/g, (_, name) => (typeof values[name] === 'number' ? number(values[name]) : String(values[name])));
}

/** Whether there is such a text. */
export const has = (key) => key in TEXTS.en;

export const number = (value) => intl('NumberFormat').format(value);

const UNITS = ['byte', 'kilobyte', 'megabyte', 'gigabyte', 'terabyte', 'petabyte'];

/** @param {number} value bytes @returns {string} with three digits and a unit */
export function bytes(value) {
  const power = value < 1000 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log10(value) / 3));
  const shown = value / 1000 ** power;
  const options = { style: 'unit', unit: UNITS[power], unitDisplay: power ? 'short' : 'long', maximumFractionDigits: power && shown < 100 ? 1 : 0 };
  return intl('NumberFormat', options).format(shown);
}

const dateOf = (time) => (typeof time === 'bigint' ? new Date(Number(time / 1000000n)) : time);

/** @param {bigint|Date} time a bigint in nanoseconds since 1970 */
export const dateTime = (time) => intl('DateTimeFormat', { dateStyle: 'medium', timeStyle: 'short' }).format(dateOf(time));
export const clock = (time) => intl('DateTimeFormat', { timeStyle: 'short' }).format(dateOf(time));
export const day = (time) => intl('DateTimeFormat', { weekday: 'long', day: 'numeric', month: 'long', year: 'numeric' }).format(dateOf(time));
export const month = (time) => intl('DateTimeFormat', { month: 'long', year: 'numeric' }).format(dateOf(time));
export const weekday = (time) => intl('DateTimeFormat', { weekday: 'narrow' }).format(dateOf(time));

/** Names as people of the language sort them; digits by their value. */
export const compareNames = (a, b) => intl('Collator', { numeric: true, sensitivity: 'base' }).compare(a, b);

/** 0 (Sunday) to 6: with which day a week begins. */
export const firstWeekday = () => (language === 'en' ? 0 : 1);
