/**
 * A QR code of recovery words (ISO/IEC 18004): alphanumeric mode, error correction M, versions 1 to 8, which hold 24 words.  Written here, because
 * the words must go nowhere to be drawn.
 */

const LETTERS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:';
/** Of each version at M: characters that it holds, codewords of correction in a block, blocks, codewords in all, centres of alignment patterns. */
const VERSIONS = [
  [20, 10, 1, 26, []], [38, 16, 1, 44, [6, 18]], [61, 26, 1, 70, [6, 22]], [90, 18, 2, 100, [6, 26]],
  [122, 24, 2, 134, [6, 30]], [154, 16, 4, 172, [6, 34]], [178, 18, 4, 196, [6, 22, 38]], [221, 22, 4, 242, [6, 24, 42]],
];

const EXP = [];
const LOG = [];
for (let at = 0, value = 1; at < 255; at++) {
  EXP[at] = value;
  LOG[value] = at;
  value = value << 1 ^ (value & 128 ? 0x11d : 0);
}
const times = (a, b) => (a && b ? EXP[(LOG[a] + LOG[b]) % 255] : 0);

/** Reed-Solomon: the remainder of the data's polynomial. */
function correction(data, count) {
  let generator = [1];
  for (let at = 0; at < count; at++) {
    const next = [...generator, 0];
    generator.forEach((value, place) => (next[place + 1] ^= times(value, EXP[at])));
    generator = next;
  }
  const rest = [...data, ...Array(count).fill(0)];
  for (let at = 0; at < data.length; at++) {
    const factor = rest[at];
    generator.forEach((value, place) => (rest[at + place] ^= times(value, factor)));
  }
  return rest.slice(data.length);
}

function bitsOf(text, room) {
  const bits = [];
  const add = (value, count) => {
    for (let at = count - 1; at >= 0; at--) bits.push(value >> at & 1);
  };
  add(2, 4);
  add(text.length, 9);
  const codes = [...text].map((letter) => LETTERS.indexOf(letter));
  for (let at = 0; at < codes.length; at += 2) {
    if (at + 1 < codes.length) add(codes[at] * 45 + codes[at + 1], 11);
    else add(codes[at], 6);
  }
  add(0, Math.min(4, room * 8 - bits.length));
  while (bits.length % 8) bits.push(0);
  for (let pad = 0xec; bits.length < room * 8; pad ^= 0xec ^ 0x11) add(pad, 8);
  return bits;
}

function codewords(text, [, each, blocks, all]) {
  const room = all - each * blocks;
  const bits = bitsOf(text, room);
  const data = Array.from({ length: room }, (_, at) => parseInt(bits.slice(at * 8, at * 8 + 8).join(''), 2));
  const short = Math.floor(room / blocks);
  const parts = [];
  for (let number = 0, at = 0; number < blocks; number++) {
    const length = short + (number >= blocks - room % blocks ? 1 : 0);
    parts.push(data.slice(at, at + length));
    at += length;
  }
  const checks = parts.map((part) => correction(part, each));
  const across = (rows) => Array.from({ length: Math.max(...rows.map((row) => row.length)) }, (_, at) => rows.flatMap((row) => (at < row.length ? [row[at]] : []))).flat();
  return [...across(parts), ...across(checks)];
}

/** BCH: a value with the remainder that protects it. */
function protectedBits(value, polynomial, count) {
  let rest = value << count;
  const top = polynomial.toString(2).length;
  while (rest.toString(2).length >= top && rest) rest ^= polynomial << (rest.toString(2).length - top);
  return value << count | rest;
}

/** The patterns that are the same in every code of a version; `null` is where data goes. */
function patterns(version, centres) {
  const size = 17 + 4 * version;
  const grid = Array.from({ length: size }, () => Array(size).fill(null));
  const square = (row, column, radius, isDark) => {
    for (let dy = -radius; dy <= radius; dy++) {
      for (let dx = -radius; dx <= radius; dx++) {
        if (grid[row + dy]?.[column + dx] !== undefined) grid[row + dy][column + dx] = isDark(Math.max(Math.abs(dx), Math.abs(dy)));
      }
    }
  };
  for (const [row, column] of [[3, 3], [3, size - 4], [size - 4, 3]]) square(row, column, 4, (far) => Number(far !== 2 && far !== 4));
  for (let at = 8; at < size - 8; at++) grid[6][at] = grid[at][6] = Number(at % 2 === 0);
  const isFinder = (row, column) => row + column === 12 || (Math.min(row, column) === 6 && Math.max(row, column) === centres.at(-1));
  for (const row of centres) for (const column of centres) if (!isFinder(row, column)) square(row, column, 2, (far) => Number(far !== 1));
  grid[size - 8][8] = 1;
  for (const at of [0, 1, 2, 3, 4, 5, 7, 8]) grid[8][at] ??= grid[at][8] ??= 0;
  grid[8][8] = 0;
  for (let at = 1; at <= 8; at++) {
    grid[8][size - at] ??= 0;
    if (at < 8) grid[size - at][8] ??= 0;
  }
  for (let at = 0; version >= 7 && at < 18; at++) {
    const bit = protectedBits(version, 0x1f25, 12) >> at & 1;
    grid[Math.floor(at / 3)][size - 11 + at % 3] = grid[size - 11 + at % 3][Math.floor(at / 3)] = bit;
  }
  return grid;
}

const MASKS = [
  (i, j) => (i + j) % 2, (i) => i % 2, (i, j) => j % 3, (i, j) => (i + j) % 3, (i, j) => (Math.floor(i / 2) + Math.floor(j / 3)) % 2,
  (i, j) => i * j % 2 + i * j % 3, (i, j) => (i * j % 2 + i * j % 3) % 2, (i, j) => ((i + j) % 2 + i * j % 3) % 2,
];

function place(fixed, words, mask) {
  const size = fixed.length;
  const grid = fixed.map((row) => [...row]);
  const bits = words.flatMap((word) => Array.from({ length: 8 }, (_, at) => word >> (7 - at) & 1));
  let at = 0;
  for (let right = size - 1, up = true; right > 0; right -= 2, up = !up) {
    if (right === 6) right--;
    for (let step = 0; step < size; step++) {
      const row = up ? size - 1 - step : step;
      for (const column of [right, right - 1]) {
        if (grid[row][column] === null) grid[row][column] = (bits[at++] ?? 0) ^ Number(MASKS[mask](row, column) === 0);
      }
    }
  }
  const format = protectedBits(mask, 0x537, 10) ^ 0x5412;
  const one = [[8, 0], [8, 1], [8, 2], [8, 3], [8, 4], [8, 5], [8, 7], [8, 8], [7, 8], [5, 8], [4, 8], [3, 8], [2, 8], [1, 8], [0, 8]];
  one.forEach(([row, column], bit) => {
    const value = format >> (14 - bit) & 1;
    grid[row][column] = value;
    if (bit < 7) grid[size - 1 - bit][8] = value;
    else grid[8][size - 15 + bit] = value;
  });
  return grid;
}

/** How hard it is to read, by the standard's four rules. */
function penalty(grid) {
  const size = grid.length;
  const lines = [...grid, ...grid.map((_, at) => grid.map((row) => row[at]))].map((line) => line.join(''));
  let sum = 0;
  for (const line of lines) {
    for (const run of line.match(/0{5,}|1{5,}/g) ?? []) sum += run.length - 2;
    for (let at = 0; at + 11 <= size; at++) if (/^(?:10111010000|00001011101)/.test(line.slice(at, at + 11))) sum += 40;
  }
  for (let row = 1; row < size; row++) for (let at = 1; at < size; at++) if (new Set([grid[row][at], grid[row - 1][at], grid[row][at - 1], grid[row - 1][at - 1]]).size === 1) sum += 3;
  const dark = grid.flat().filter(Boolean).length / size ** 2;
  return sum + 10 * Math.floor(Math.abs(dark * 100 - 50) / 5);
}

/**
 * @param {string} text of the letters A to Z, digits and blanks, up to 221 @param {number} [mask] for tests
 * @returns {number[][]} rows of 0 and 1 (dark), without the quiet zone.  Throws RangeError.
 */
export function matrix(text, mask) {
  const at = VERSIONS.findIndex(([most]) => text.length <= most);
  if (at < 0 || ![...text].every((letter) => LETTERS.includes(letter))) throw new RangeError('this text fits no such code');
  const fixed = patterns(at + 1, VERSIONS[at][4]);
  const words = codewords(text, VERSIONS[at]);
  const made = (mask === undefined ? MASKS.map((_, number) => number) : [mask]).map((number) => place(fixed, words, number));
  return made.reduce((best, each) => (penalty(each) < penalty(best) ? each : best));
}

const SVG = 'http://www.w3.org/2000/svg';
const QUIET = 4;

/** @param {string} text @param {string} label for who does not see it @returns {SVGElement} */
export function qr(text, label) {
  const rows = matrix(text);
  const side = rows.length + 2 * QUIET;
  const svg = document.createElementNS(SVG, 'svg');
  for (const [name, value] of Object.entries({ viewBox: `0 0 ${side} ${side}`, class: 'qr', role: 'img', 'aria-label': label, 'shape-rendering': 'crispEdges' })) svg.setAttribute(name, value);
  const path = document.createElementNS(SVG, 'path');
  path.setAttribute('d', rows.flatMap((row, y) => row.map((dark, x) => (dark ? `M${x + QUIET} ${y + QUIET}h1v1h-1z` : ''))).join(''));
  svg.append(path);
  return svg;
}
