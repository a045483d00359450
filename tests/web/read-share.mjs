/**
 * Opens shares with the pages' own reader, and says what it found, as JSON.
 *
 *     node read-share.mjs < [{"lock": {"salt", "secret", "cost"}, "share", "link" | "key", "password", "manifest", "segments", "objects", "send"}, ...]
 *
 * Bytes are base64.  Each answer has the keys, and with `manifest` what is in it; where something was refused, `error`.  With
 * `send` ({"public", "request", "name", "sender", "modified", "data"}): the sealed file.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { concat, hex, unhex, utf8 } from '../../src/safehold/server/web/format/bytes.js';
import { InlinePool } from '../../src/safehold/server/web/format/pool.js';
import { headerOf, sealedFile, sealedSize } from '../../src/safehold/server/web/format/sent.js';
import { SharedFiles } from '../../src/safehold/server/web/format/shared-files.js';
import { secretOf, ShareKey, shareKey } from '../../src/safehold/server/web/format/shares.js';

const KINDS = ['file', 'directory', 'symlink'];
const pool = new InlinePool();
const bytes = (text) => new Uint8Array(Buffer.from(text, 'base64'));
const text = (data) => Buffer.from(data).toString('base64');

function keyOf({ share, lock, link, key, password = '' }) {
  if (key) return new ShareKey(unhex(share), bytes(key));
  return shareKey(share, { ...lock, salt: bytes(lock.salt) }, link === undefined ? null : secretOf(link), password, pool);
}

function sourceOf({ manifest, segments = {}, objects = [] }) {
  const whole = bytes(manifest);
  return {
    manifest: async (offset, length) => whole.slice(offset, offset + length),
    segment: async ({ id, object, offset, length }) => (object ? bytes(objects[object - 1]).slice(offset, offset + length) : bytes(segments[hex(id)])),
  };
}

async function described(files) {
  const found = [];
  for await (const { path, entry } of files.trees.walk(files.top)) {
    const joined = path.reduce((all, name) => (all.length ? concat(all, utf8('/'), name) : name), new Uint8Array(0));
    const made = { path: text(joined), kind: KINDS[entry.kind], mode: entry.mode, mtime_ns: String(entry.mtime), size: entry.size, target: text(entry.more.get('t')) };
    if (entry.kind === 0) {
      const sum = createHash('sha256');
      for await (const piece of files.content(entry)) sum.update(piece);
      made.sha256 = sum.digest('hex');
    }
    found.push(made);
  }
  return found;
}

async function sent({ public: publicKey, request, name, sender, modified, data }) {
  const file = new File([bytes(data)], name, { lastModified: modified });
  const header = headerOf(file, sender);
  const made = [];
  for await (const part of sealedFile(bytes(publicKey), bytes(request), header, file)) made.push(part);
  const whole = concat(...made);
  return { sealed: text(whole), size: sealedSize(header, file.size) };
}

async function answer(order) {
  if (order.send) return sent(order.send);
  const key = await keyOf(order);
  const found = { k: text(key.key), auth: text(await key.auth()), commitment: text(await key.commitment()) };
  if (order.manifest === undefined) return found;
  const files = await SharedFiles.open(key, sourceOf(order), pool);
  const { root } = files;
  const partKey = text(await key.partKey(files.manifest.id, 0));
  return { ...found, partKey, name: root.name, taken_ns: String(root.taken), repository: hex(root.repository), manifestId: text(files.manifest.id), entries: await described(files) };
}

const answers = [];
for (const order of JSON.parse(readFileSync(0, 'utf8'))) {
  answers.push(await answer(order).catch((error) => {
    if (!error.code) throw error;
    return { error: error.code };
  }));
}
process.stdout.write(JSON.stringify(answers));
