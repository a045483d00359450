/** Who does the work of heavy.js: workers in a page, the caller itself elsewhere. */
import { ReadError } from './errors.js';

/** Workers, each with a queue of its own tasks; the one with the fewest gets the next. */
export class WorkerPool {
  /** @param {number} size how many; by default a worker for each core, two to four */
  constructor(size = Math.min(4, Math.max(2, navigator.hardwareConcurrency ?? 2))) {
    this.next = 0;
    this.workers = Array.from({ length: size }, () => this.#start());
  }

  #start() {
    const worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
    const started = { worker, waiting: new Map() };
    worker.onmessage = ({ data }) => {
      const promise = started.waiting.get(data.number);
      started.waiting.delete(data.number);
      if (data.error) promise.reject(new ReadError(data.error.code, data.error.message));
      else promise.resolve(data.result);
    };
    worker.onerror = (event) => {
      for (const { reject } of started.waiting.values()) reject(new ReadError('network', `a worker stopped: ${event.message}`));
      started.waiting.clear();
    };
    return started;
  }

  /**
   * @param {'stretch'|'openSegment'|'rawSegment'|'openObject'} task @param {object} values its arguments @param {Uint8Array} [moved] bytes
   *   among them that are handed over and not copied: the caller can't use them afterwards
   * @returns {Promise<Uint8Array>}
   */
  run(task, values, moved) {
    const idlest = this.workers.reduce((best, each) => (each.waiting.size < best.waiting.size ? each : best));
    const number = this.next++;
    return new Promise((resolve, reject) => {
      // What was on its way while the pool was closed: no worker would ever answer.
      if (this.closed) return void reject(new ReadError('locked', 'the repository was locked'));
      idlest.waiting.set(number, { resolve, reject });
      const whole = moved && moved.byteLength === moved.buffer.byteLength;
      idlest.worker.postMessage({ number, task, values }, whole ? [moved.buffer] : []);
    });
  }

  /** End all workers, and with them what they knew. */
  close() {
    this.closed = true;
    for (const { worker, waiting } of this.workers) {
      worker.terminate();
      for (const { reject } of waiting.values()) reject(new ReadError('locked', 'the repository was locked'));
    }
  }
}

/** The same without workers. */
export class InlinePool {
  async run(task, values) {
    const { TASKS } = await import('./heavy.js');
    return TASKS[task](values);
  }

  close() {}
}
