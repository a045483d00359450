/** Snapshots (docs/format/snapshots.md), and which of them are in the trash (condemned.md). */
import { textOf } from './bytes.js';
import { require } from './errors.js';
import { decode } from './msgpack.js';
import * as objects from './objects.js';

/**
 * @typedef {object} Snapshot
 * @property {string} id @property {bigint} time nanoseconds since 1970 @property {string} host @property {string} user
 * @property {{kind: string, rawPaths: Uint8Array[], paths: string[], command: string}} source @property {Uint8Array} tree
 * @property {{files: number, folders: number, others: number, bytes: number}} totals @property {string[]} tags
 * @property {boolean} incomplete @property {string} device label of who signed it @property {number} lost
 */

function snapshotOf(id, fields, device) {
  require(fields instanceof Map, `the snapshot ${id} has another form`);
  const source = fields.get('source') ?? new Map();
  const tree = fields.get('tree');
  const totals = fields.get('totals') ?? [];
  require(tree instanceof Uint8Array && tree.length === 24 && source instanceof Map && Array.isArray(totals), `the snapshot ${id} has another form`);
  const [files = 0, folders = 0, others = 0, bytes = 0] = totals.map(Number);
  return {
    id, tree, time: BigInt(fields.get('time_ns')), host: String(fields.get('host')), user: fields.get('user') ?? '',
    source: { kind: source.get('kind') ?? 'files', rawPaths: source.get('paths') ?? [], paths: (source.get('paths') ?? []).map(textOf), command: source.get('command') ?? '' },
    totals: { files, folders, others, bytes }, tags: fields.get('tags') ?? [], incomplete: fields.get('incomplete') ?? false,
    lost: (fields.get('lost') ?? []).length, device: device.label,
  };
}

async function readAll(context, prefix, kind, make, { report, progress = () => {} }) {
  const listed = await context.store.list(prefix);
  const waiting = [...listed];
  const found = [];
  let done = 0;
  const next = async () => {
    for (let info = waiting.shift(); info; info = waiting.shift()) {
      try {
        const name = info.key.slice(prefix.length);
        const { body, device } = await objects.open(context, kind, name, await context.store.get(info.key));
        found.push(make(name, decode(body), device));
      } catch (error) {
        if (error.code !== 'damaged' && error.code !== 'missing') throw error;
        report({ code: `${kind}-ignored`, key: info.key, message: error.message });
      }
      progress(++done, listed.length);
    }
  };
  await Promise.all(Array.from({ length: 6 }, next));
  return found;
}

/** Ids of the snapshots that an owner forgot. */
export async function trash(context, { report }) {
  const marks = await readAll(context, 'condemned/', 'condemned', (name, fields, device) => {
    require(device.role === 'owner', `the condemnation ${name} is signed by no owner`);
    require(fields instanceof Map, `the condemnation ${name} has another form`);
    return fields.get('trash') ?? [];
  }, { report });
  return new Set(marks.flat());
}

/** @returns {Promise<Snapshot[]>} every snapshot that can be read, oldest first, those of the trash among them */
export async function readSnapshots(context, options) {
  const found = await readAll(context, 'snapshots/', 'snapshot', snapshotOf, options);
  return found.sort((a, b) => (a.time < b.time ? -1 : a.time > b.time ? 1 : a.id < b.id ? -1 : 1));
}

