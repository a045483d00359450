/**
 * What the pages make of plans that devices are handed, for a test in Python.
 *
 *     node plans.mjs < {"keys": {...}, "letters": [...], "plans": [[name, text], ...], "form": {...}, "now"}
 *
 * All bytes are hexadecimal.  Says what it read of each letter, or with which code it refused it, and makes one.
 */
import { readFileSync } from 'node:fs';
import { hex, unhex } from '../../src/safehold/server/web/format/bytes.js';
import { Keyring } from '../../src/safehold/server/web/format/keys.js';
import { makeLetter, openLetter, planText, receivers } from '../../src/safehold/server/web/format/plans.js';

const order = JSON.parse(readFileSync(0, 'utf8'));
const bytes = Object.fromEntries(Object.entries(order.keys).map(([name, text]) => [name, unhex(text)]));
const devices = new Map([[hex(bytes.slot), { label: 'laptop', role: 'writer', key: bytes.devicePublic, exchange: bytes.exchange }], ['00'.repeat(16), { label: 'lost', role: 'writer', key: bytes.devicePublic }]]);
const keyring = Object.assign(Object.create(Keyring.prototype), { ...bytes, devices, epoch: 2, privates: new Map([[2, bytes.epochPrivate]]), retired: [] });
const read = ({ slot, label, made, plans }) => ({ slot: hex(slot), label, made: String(made), plans: [...plans] });
const [to, ...more] = receivers(keyring);

const said = {
  letters: await Promise.all(order.letters.map((letter) => openLetter(keyring, unhex(letter)).then(read, ({ code }) => code))),
  made: hex(await makeLetter(keyring, to, new Map(order.plans), BigInt(order.now))),
  more: more.length,
  text: planText(order.form),
  tooMany: await makeLetter(keyring, to, new Map([['big', 'x'.repeat(50000)]]), 1n).catch(({ code }) => code),
};
keyring.retired = [hex(bytes.slot)];
said.removed = receivers(keyring).length;
keyring.adminPrivate = null;
said.reader = await makeLetter(keyring, to, new Map(), 1n).catch(({ code }) => code);
process.stdout.write(JSON.stringify(said));
