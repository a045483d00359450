/** One file on its way to who asked for it. */
import { aside } from '../browse/sinks.js';
import { ReadError } from '../format/errors.js';
import { sealedFile, sealedSize } from '../format/sent.js';

/** Of the whole, how much sealing is: the rest is the network's. */
const SEALING = 0.3;

function refused(status, body) {
  let told = {};
  try {
    told = JSON.parse(body);
  } catch {
    // No server of ours.
  }
  if (status === 413) return new ReadError('send-too-much', 'more than was asked for');
  if (status === 410) return new ReadError('share-over', 'the request has ended');
  if (status === 404) return new ReadError('share-unknown', 'there is no such request');
  if (status === 429) return new ReadError('share-tries', 'too many files');
  if (status === 507) return new ReadError('send-full', 'the server has no room');
  return new ReadError('refused', told.message ?? `the server answered ${status}`);
}

/** XMLHttpRequest, since `fetch` does not say how far a body has come. */
function upload(url, blob, progress, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const end = () => reject(new DOMException('stopped', 'AbortError'));
    request.open('POST', url);
    request.withCredentials = false;
    request.setRequestHeader('Content-Type', 'application/octet-stream');
    request.upload.onprogress = ({ loaded }) => progress(loaded / Math.max(1, blob.size));
    request.onload = () => (request.status === 201 ? resolve() : reject(refused(request.status, request.responseText)));
    request.onerror = () => reject(new ReadError('network', 'the connection broke'));
    request.onabort = end;
    signal.addEventListener('abort', () => request.abort());
    request.send(blob);
  });
}

/**
 * Seal a file and send it.  It is sealed as a whole first: what is sent has a length that is known.
 * @param {{request: string, id: Uint8Array, publicKey: Uint8Array}} wanted @param {File} file @param {Uint8Array} header
 * @param {{progress: (share: number, key: string) => void, signal: AbortSignal}} options `key` of the text that says it
 * @returns {Promise<void>} Throws ReadError; AbortError when it was stopped.
 */
export async function sendFile(wanted, file, header, { progress, signal }) {
  const size = sealedSize(header, file.size);
  async function* counted() {
    let done = 0;
    for await (const bytes of sealedFile(wanted.publicKey, wanted.id, header, file)) {
      signal.throwIfAborted();
      progress(SEALING * (done += bytes.length) / size, 'send.sealing');
      yield bytes;
    }
  }
  const { blob, remove } = await aside(counted(), size);
  try {
    await upload(`/api/v1/requests/${wanted.request}/files`, blob, (share) => progress(SEALING + (1 - SEALING) * share, 'send.sending'), signal);
  } finally {
    remove();
  }
}
