/**
 * What the pages do with keys, for a test in Python.
 *
 *     node keys.mjs < {"folder", "passphrase", "label", "remove", "values", "texts": [[text, mask], ...], "password": {...}, "log"}
 *
 * Puts a recovery key into the repository, and a retirement of `remove` (an id); says its words, the slots, values as MessagePack, QR codes, and
 * the keys of an account's password.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { keysOf } from '../../src/safehold/server/web/account/password.js';
import { parse, verify } from '../../src/safehold/server/web/account/ledger.js';
import { matrix } from '../../src/safehold/server/web/browse/qr.js';
import { hex, unbase64 } from '../../src/safehold/server/web/format/bytes.js';
import * as credentials from '../../src/safehold/server/web/format/credentials.js';
import { newRecovery, requireNewest, retirement, slotsOf } from '../../src/safehold/server/web/format/key-slots.js';
import { encode } from '../../src/safehold/server/web/format/msgpack-write.js';
import { InlinePool } from '../../src/safehold/server/web/format/pool.js';
import { Repository } from '../../src/safehold/server/web/format/repository.js';
import { FileStore } from './file-store.mjs';

const order = JSON.parse(readFileSync(0, 'utf8'));
const pool = new InlinePool();
const store = new FileStore(order.folder);
const repository = await Repository.open(store, credentials.ofPassphrase(order.passphrase), { pool });
const said = {};
const put = ({ key, data }) => writeFileSync(join(order.folder, key), data, { flag: 'wx' });
const refusal = (work) => work.then(() => '', ({ code }) => code);

await requireNewest(store, repository.keyring);
const made = await newRecovery(repository.keyring, order.label, 1795000000123456789n);
put(made);
said.words = made.words;
said.changed = await refusal(requireNewest(store, repository.keyring));
put(await retirement(repository.keyring, order.remove, 1795000001000000000n));
await repository.rereadKeys(credentials.ofPassphrase(order.passphrase));
said.slots = slotsOf(repository.keyring).map((each) => ({ ...each, created: String(each.created), retired: each.retired === null ? null : String(each.retired) }));
const [own] = said.slots.filter((each) => each.own);
await repository.rereadKeys(await credentials.ofWords(made.words.join(' ')));
put(await retirement(repository.keyring, own.id, 1795000002000000000n));
await repository.rereadKeys(await credentials.ofWords(made.words.join(' ')));
said.last = await refusal(retirement(repository.keyring, slotsOf(repository.keyring).find((each) => each.own).id, 1n));

/** What JSON cannot hold comes as an object with one name. */
function value(given) {
  if (given === null || typeof given !== 'object') return given;
  if (Array.isArray(given)) return given.map(value);
  const [[kind, content]] = Object.entries(given);
  if (kind === 'bytes') return Uint8Array.from(content);
  return kind === 'big' ? BigInt(content) : new Map(content.map(([key, of]) => [key, value(of)]));
}
said.packed = order.values.map((each) => hex(encode(value(each))));
said.codes = order.texts.map(([text, mask]) => matrix(text, mask).map((row) => row.join('')));

const { lines } = parse(order.log);
said.log = [await verify(lines), await verify(lines.filter(({ number }) => number !== 3)), ...(await Promise.all(['actor', 'detail', 'time_ns', 'what'].map((name) => verify(lines.map((line) => (line.number === 2 ? { ...line, [name]: `${line[name]}1` } : line))))))];

const { text, salt, ...costs } = order.password;
const keys = await keysOf(text, { salt: unbase64(salt), ...costs }, pool);
said.password = { login: hex(keys.login), wrap: hex(keys.wrap) };
process.stdout.write(JSON.stringify(said));
