/**
 * What a file's first bytes say it is.  Its name is not asked, and what a browser would run (HTML, SVG, scripts) is text here: shown,
 * never executed.
 */

const startsWith = (bytes, ...wanted) => wanted.every((byte, at) => byte === null || bytes[at] === byte);
const ascii = (text) => [...text].map((char) => char.charCodeAt(0));

const IMAGES = [
  ['image/png', (b) => startsWith(b, 0x89, ...ascii('PNG\r\n'), 0x1a, 0x0a)],
  ['image/jpeg', (b) => startsWith(b, 0xff, 0xd8, 0xff)],
  ['image/gif', (b) => startsWith(b, ...ascii('GIF8'))],
  ['image/webp', (b) => startsWith(b, ...ascii('RIFF'), null, null, null, null, ...ascii('WEBP'))],
  ['image/avif', (b) => startsWith(b, null, null, null, null, ...ascii('ftypavif'))],
  ['image/bmp', (b) => startsWith(b, ...ascii('BM')) && startsWith(b.subarray(6), 0, 0, 0, 0)],
];

function isText(bytes, whole) {
  if (bytes.includes(0)) return false;
  try {
    // The last character may have been cut.
    new TextDecoder('utf-8', { fatal: true }).decode(bytes, { stream: !whole });
    return true;
  } catch {
    return false;
  }
}

/**
 * @param {Uint8Array} bytes the beginning of a file @param {boolean} whole whether it is all of it
 * @returns {{kind: 'image'|'pdf'|'text'|'utf16'|'other', type: string}}
 */
export function sniff(bytes, whole) {
  const image = IMAGES.find(([, test]) => test(bytes));
  if (image) return { kind: 'image', type: image[0] };
  if (startsWith(bytes, ...ascii('%PDF-'))) return { kind: 'pdf', type: 'application/pdf' };
  if (startsWith(bytes, 0xff, 0xfe) || startsWith(bytes, 0xfe, 0xff)) return { kind: 'utf16', type: bytes[0] === 0xff ? 'utf-16le' : 'utf-16be' };
  return { kind: isText(bytes, whole) ? 'text' : 'other', type: '' };
}
