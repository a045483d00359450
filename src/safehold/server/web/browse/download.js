/** Downloads: a file as it is, a folder as a ZIP archive; verified piece by piece, and called done when every byte was counted. */
import { ask, job } from '../shell.js';
import { bytes, t } from '../i18n.js';
import { textOf } from '../format/bytes.js';
import { require } from '../format/errors.js';
import { FILE, FOLDER } from '../format/trees.js';
import { isQuiet, sentence } from './problems.js';
import { sinkFor } from './sinks.js';
import { visible } from './table.js';
import * as zip from './zip.js';

const EVERY = 200;

/** Names for a download: what a file system or a person could stumble over is replaced. */
const fileName = (name) => visible(name).replace(/[\\/:*?"<>|\ufffd]/g, '_') || 'safehold';

/** A click, where the last one was too long ago for the browser to ask for a place. */
async function confirmed(name, size) {
  const choices = [{ value: '', label: t('shell.cancel') }, { value: 'yes', label: t('download.choose'), primary: true }];
  const answer = await ask({ title: name, text: t('download.ready', { size: bytes(size) }), choices });
  if (!answer) throw new DOMException('nobody wanted it', 'AbortError');
}

/**
 * A job of the list, with a stop button; the session does not fall idle meanwhile.
 * @returns {Promise<Error|boolean>} what went wrong; else whether it was finished
 */
async function run(session, name, size, work) {
  const stopper = new AbortController();
  const line = job(name, () => stopper.abort());
  const warn = (event) => event.preventDefault();
  session.busy++;
  window.addEventListener('beforeunload', warn);
  let sink;
  try {
    sink = await sinkFor(name, size, () => confirmed(name, size));
    await work({ sink, signal: stopper.signal, progress: meter(line, size) });
    stopper.signal.throwIfAborted();
    await sink.close(size);
    line.done(t('download.done', { size: bytes(size) }));
    return true;
  } catch (error) {
    await sink?.abort();
    if (error.name === 'AbortError') line.remove();
    else line.failed(error.code === 'locked' || session.locked ? t('download.locked') : `${t('download.failed')} ${sentence(error)}`);
    if (!isQuiet(error)) return error;
    return false;
  } finally {
    session.busy--;
    session.touch();
    window.removeEventListener('beforeunload', warn);
  }
}

function meter(line, size) {
  let written = 0;
  let drawn = 0;
  return (more) => {
    written += more;
    if (performance.now() - drawn < EVERY) return;
    drawn = performance.now();
    line.progress(size ? written / size : null, t('download.progress', { done: bytes(written), all: bytes(size) }));
  };
}

/** @param {object} session @param {object} entry a file */
export async function downloadFile(session, entry) {
  return run(session, fileName(entry.name), entry.size, async ({ sink, signal, progress }) => {
    for await (const piece of session.repository.content(entry, signal)) {
      await sink.write(piece);
      progress(piece.length);
    }
  });
}

const secondsOf = (entry) => Number(entry.mtime / 1000000000n);

/** Everything below a folder as members of an archive; links and special files are counted and left out. */
async function plan(session, top, entry, signal, says) {
  const names = new zip.Names();
  const members = [];
  let others = 0;
  let seen = 0;
  for await (const { path, entry: each } of session.repository.trees.walk(entry.content, signal)) {
    if (++seen % 500 === 0) says(seen);
    const kept = each.kind === FILE || each.kind === FOLDER;
    if (!kept) others++;
    else {
      const name = names.take([top, ...path.map(textOf)], each.kind === FOLDER);
      members.push({ name, size: each.kind === FILE ? each.size : 0, seconds: secondsOf(each), mode: each.mode, entry: each });
    }
  }
  return { members, others };
}

/** Members with their pieces in one row, so that reading ahead goes on over the ends of files. */
async function* parts(session, members) {
  for (const member of members) {
    yield { begin: member };
    if (member.entry.kind !== FILE) continue;
    try {
      yield* session.repository.pieces(member.entry);
    } catch (error) {
      throw Object.assign(error, { member });
    }
  }
  yield { begin: null };
}

async function writeArchive(session, members, { sink, signal, progress }) {
  const directory = [];
  let at = 0;
  let current = null;
  const write = async (data) => {
    await sink.write(data);
    at += data.length;
    progress(data.length);
  };
  const finish = async () => {
    if (!current) return;
    require(current.length === current.member.size, 'a file has another length than its entry says');
    await write(zip.foot(current.member, current.crc));
    directory.push(zip.line(current.member, current.crc, current.start));
  };
  const take = async (item, data) => {
    if ('begin' in item) {
      await finish();
      current = item.begin && { member: item.begin, start: at, crc: 0, length: 0 };
      if (current) await write(zip.head(current.member));
    } else {
      current.crc = zip.crc32(data, current.crc);
      current.length += data.length;
      await write(data);
    }
  };
  try {
    for await (const { item, bytes: data } of session.repository.readAhead(parts(session, members), signal)) await take(item, data);
  } catch (error) {
    // What is read ahead has said itself which file it belongs to.
    throw Object.assign(error, { member: error.member ?? current?.member });
  }
  const start = at;
  for (const line of directory) await write(line);
  await write(zip.end(members.length, start, at - start));
}

/** @param {object} session @param {{snapshot: object, path: Uint8Array[], entry: object}} place */
export async function downloadFolder(session, { snapshot, path, entry }) {
  const whole = snapshot.shared ? snapshot.name || t('share.everything') : `${snapshot.host}-${snapshot.id.slice(0, 8)}`;
  const top = fileName(path.length ? entry.name : whole);
  const stopper = new AbortController();
  const line = job(t('download.planning', { name: top }), () => stopper.abort());
  let planned;
  try {
    planned = await plan(session, top, entry, stopper.signal, (n) => line.progress(null, t('count.entries', { n })));
    line.remove();
  } catch (error) {
    if (error.name === 'AbortError') line.remove();
    else line.failed(sentence(error));
    return;
  }
  const { members, others } = planned;
  if (others) {
    const choices = [{ value: '', label: t('shell.cancel') }, { value: 'yes', label: t('download.without'), primary: true }];
    const answer = await ask({ title: t('download.others-title'), text: t('download.others', { n: others }), choices });
    if (!answer) return;
  }
  await archive(session, `${top}.zip`, members);
}

/** An archive holds whole files only: where one is damaged, it is begun anew without it, if that is wanted. */
async function archive(session, name, members) {
  const outcome = await run(session, name, zip.sizeOf(members), (context) => writeArchive(session, members, context));
  const { code, member } = outcome;
  if (code !== 'damaged' || !member) return;
  const choices = [{ value: '', label: t('shell.cancel') }, { value: 'yes', label: t('download.without'), primary: true }];
  const answer = await ask({ title: t('download.damaged-title'), text: t('download.damaged', { name: member.name }), choices });
  if (answer) await archive(session, name, members.filter((each) => each !== member));
}
