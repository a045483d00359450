/** What packs say about themselves: the index of last resort (docs/format/packs.md, "Rebuilding the index"). */
import { concat, equal, hex, utf8, view } from './bytes.js';
import { derive, unseal } from './crypto.js';
import { require } from './errors.js';
import { decode } from './msgpack.js';

const HEADER = 16;
const TAIL = 92;
const FOOTER_LIMIT = 64 * 1024 * 1024;
const SEGMENT_LIMIT = 16 * 1024 * 1024;
const ROW = 28;

async function footer(store, key, size) {
  require(size >= HEADER + TAIL, `${key} is too short for a pack`);
  const head = await store.getRange(key, 0, HEADER);
  const tail = await store.getRange(key, size - TAIL, TAIL);
  const framed = equal(head.subarray(0, 8), utf8('SHPACK1\n')) && equal(tail.subarray(84), utf8('SHPEND1\n'));
  const length = view(tail).getUint32(80, true);
  require(framed && length <= FOOTER_LIMIT && length <= size - HEADER - TAIL, `${key} does not begin and end as a pack does`);
  const [sessions, segments] = decode(await store.getRange(key, size - TAIL - length, length));
  return { kind: head[8], end: size - TAIL - length, sessions, segments };
}

async function rows(context, kind, [id, , , , at, length], pack) {
  const key = await derive(context.keyring.indexKey, concat(utf8('safehold/1 table '), id));
  const bound = concat(utf8('safehold/1 table\0'), context.keyring.repository, Uint8Array.of(kind), id);
  const table = await unseal(key, await context.store.getRange(pack, at, length), bound);
  require(table.length % ROW === 0, 'a table is not made of whole rows');
  return table;
}

/** Every chunk of every pack: answers `find` as a shard does. */
export class Survey {
  constructor() {
    this.known = new Map();
  }

  /** @returns {Promise<Survey>} Packs that cannot be read are reported and passed over. */
  static async of(context, report) {
    const survey = new Survey();
    for (const { key, size } of await context.store.list('packs/')) {
      try {
        await survey.#add(context, key, size);
      } catch (error) {
        if (error.code !== 'damaged' && error.code !== 'missing') throw error;
        report({ code: 'pack-ignored', key, message: error.message });
      }
    }
    return survey;
  }

  async #add(context, key, packSize) {
    const { kind, end, sessions, segments } = await footer(context.store, key, packSize);
    for (const reference of segments) {
      const [id, session, at, size, tableAt, tableSize] = reference;
      const inside = at >= HEADER && at + size <= end && tableAt >= HEADER && tableAt + tableSize <= end;
      require(inside && size <= SEGMENT_LIMIT + 1024 && sessions[session], `${key} has a segment where none can be`);
      const table = await rows(context, kind, reference, key);
      const place = { pack: key.slice('packs/xx/'.length), kind, segment: id, at, size, session: sessions[session] };
      this.#take(table, place);
    }
  }

  #take(table, place) {
    const fields = view(table);
    let offset = 0;
    for (let at = 0; at < table.length; at += ROW) {
      const length = fields.getUint32(at + 24, true);
      const name = hex(table.subarray(at, at + 24));
      if (!this.known.has(name)) this.known.set(name, []);
      this.known.get(name).push({ ...place, offset, length });
      offset += length;
    }
    require(offset <= SEGMENT_LIMIT, 'a table has more than a segment can hold');
  }

  find(kind, name) {
    return (this.known.get(hex(name)) ?? []).filter((place) => place.kind === kind);
  }
}
