/** A worker of pool.js: does one task after the other. */
import { TASKS } from './heavy.js';

globalThis.onmessage = async ({ data: { number, task, values } }) => {
  try {
    const result = await TASKS[task](values);
    globalThis.postMessage({ number, result }, [result.buffer]);
  } catch (error) {
    globalThis.postMessage({ number, error: { code: error.code ?? 'damaged', message: String(error.message) } });
  }
};
