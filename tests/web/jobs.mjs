/**
 * What the pages make of restore jobs, for a test in Python.
 *
 *     node jobs.mjs < {"keys": {...}, "device", "offers": [...], "jobs": [[id, job], ...], "reports": [[id, report], ...], "order": {...}, "now"}
 *
 * All bytes are hexadecimal.  Says what it read of each letter, or with which code it refused it, and makes a job for the first offer.
 */
import { readFileSync } from 'node:fs';
import { hex, unhex } from '../../src/safehold/server/web/format/bytes.js';
import { makeJob, openJob, openOffer, openReport } from '../../src/safehold/server/web/format/jobs.js';
import { Keyring } from '../../src/safehold/server/web/format/keys.js';

const order = JSON.parse(readFileSync(0, 'utf8'));
const bytes = Object.fromEntries(Object.entries(order.keys).map(([name, text]) => [name, unhex(text)]));
const devices = new Map([[hex(bytes.slot), { label: 'laptop', role: 'reader', key: bytes.devicePublic }]]);
const keyring = Object.assign(Object.create(Keyring.prototype), { ...bytes, devices, epoch: 2, privates: new Map([[2, bytes.epochPrivate]]), retired: [] });
const plain = (value) => JSON.parse(JSON.stringify(value, (_, each) => (each instanceof Uint8Array ? hex(each) : each)));
const each = (letters, open) => Promise.all(letters.map((letter) => open(letter).then(plain, ({ code }) => code)));

const said = {
  offers: await each(order.offers, (offer) => openOffer(keyring, { device: order.device, offer: unhex(offer) })),
  jobs: await each(order.jobs, ([id, job]) => openJob(keyring, { id, job: unhex(job) })),
  reports: await each(order.reports, ([id, report]) => openReport(keyring, { id, slot: bytes.slot }, unhex(report))),
};
const offer = await openOffer(keyring, { device: order.device, offer: unhex(order.offers[0]) });
const wanted = { ...order.order, paths: order.order.paths.map(unhex) };
said.made = plain(await makeJob(keyring, offer, wanted, BigInt(order.now)).then(({ id, job, expires }) => ({ id, job, expires: String(expires) })));
said.tooMany = await makeJob(keyring, offer, { ...wanted, paths: Array.from({ length: 1001 }, () => bytes.slot) }, 1n).catch(({ code }) => code);
keyring.retired = [hex(bytes.slot)];
said.removed = await each(order.offers.slice(0, 1), (letter) => openOffer(keyring, { device: order.device, offer: unhex(letter) }));
keyring.adminPrivate = null;
said.reader = await makeJob(keyring, offer, wanted, 1n).catch(({ code }) => code);
process.stdout.write(JSON.stringify(said));
