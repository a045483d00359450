/** What a file looks like, as far as a page may show it. */
import { fill, h } from '../dom.js';
import { bytes, t } from '../i18n.js';
import { sniff } from './sniff.js';

const BEGINNING = 256 * 1024;
const LARGEST = 64 * 1024 * 1024;

async function whole(session, entry, type, signal) {
  const parts = [];
  for await (const part of session.repository.content(entry, signal)) parts.push(part);
  return session.url(new Blob(parts, { type }), signal);
}

function none(text) {
  return h('p', { class: 'preview-none soft' }, text);
}

async function picture(session, entry, type, signal) {
  const src = await whole(session, entry, type, signal);
  const box = h('div', { class: 'preview-picture' });
  const image = h('img', { src, alt: t('file.picture', { name: entry.name }), onerror: () => fill(box, none(t('file.broken-picture'))) });
  return fill(box, image);
}

function text(decoded, cut, entry) {
  return [h('pre', { class: 'preview-text', tabindex: '0', 'aria-label': t('file.text', { name: entry.name }) }, decoded), cut && h('p', { class: 'small soft' }, t('file.cut', { size: bytes(BEGINNING) }))];
}

/**
 * @param {object} session @param {object} entry a file @param {AbortSignal} signal after which addresses of it end
 * @returns {Promise<Array|HTMLElement>} Throws ReadError where the file is damaged.
 */
export async function preview(session, entry, signal) {
  if (entry.size === 0) return none(t('file.empty'));
  const start = await session.repository.beginning(entry, BEGINNING, signal);
  const { kind, type } = sniff(start, entry.size <= BEGINNING);
  if (kind === 'text') return text(new TextDecoder().decode(start, { stream: true }), entry.size > BEGINNING, entry);
  if (kind === 'utf16') return text(new TextDecoder(type).decode(start, { stream: true }), entry.size > BEGINNING, entry);
  if (kind === 'other') return none(t('file.no-preview'));
  if (entry.size > LARGEST) return none(t('file.too-large', { size: bytes(LARGEST) }));
  if (kind === 'image') return picture(session, entry, type, signal);
  const src = await whole(session, entry, type, signal);
  return h('iframe', { class: 'preview-pdf', src, title: entry.name });
}
