/**
 * A browser on a string: reads commands as lines of JSON, answers each with a line of JSON.
 *
 *     node drive.mjs chromium|firefox FOLDER
 *
 * One page at a time; `open` begins a new one.
 */
import { createInterface } from 'node:readline';
import { launch, listen } from './browsers.mjs';

const [name, folder] = process.argv.slice(2);
let { browser } = await launch(name, folder);
let page;
let heard;

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Of a new browser if this one has crashed, which is not what is tested here, or is just going down. */
async function newPage() {
  if (browser.connected) {
    try {
      return await browser.newPage();
    } catch {
      await browser.close().catch(() => {});
    }
  }
  ({ browser } = await launch(name, folder));
  return await browser.newPage();
}

/** Waits until a function of the page is true of its arguments. */
async function until(test, ...values) {
  await page.waitForFunction(test, { timeout: 30000, polling: 50 }, ...values);
}

const COMMANDS = {
  async open({ url, width = 1280, height = 860, before = '' }) {
    await page?.close().catch(() => {});
    page = await newPage();
    heard = listen(page, new URL(url).origin);
    await page.setViewport({ width, height });
    if (before) await page.evaluateOnNewDocument(before);
    await page.goto(url);
  },
  resize: ({ width, height = 860 }) => page.setViewport({ width, height }),
  async go({ hash }) {
    await page.evaluate((target) => void (location.hash = target), hash);
  },
  wait: ({ selector }) => until((css) => document.querySelector(css) !== null, selector),
  waitText: ({ selector, text }) => until((css, part) => [...document.querySelectorAll(css)].some((each) => each.textContent.includes(part)), selector, text),
  async click({ selector }) {
    await COMMANDS.wait({ selector });
    await page.click(selector);
  },
  async clickText({ selector, text }) {
    await COMMANDS.waitText({ selector, text });
    const found = await page.evaluateHandle((css, part) => [...document.querySelectorAll(css)].find((each) => each.textContent.includes(part)), selector, text);
    await found.click();
  },
  async type({ selector, text }) {
    await COMMANDS.wait({ selector });
    await page.$eval(selector, (field) => void (field.value = ''));
    await page.type(selector, text);
  },
  async upload({ selector, path }) {
    await COMMANDS.wait({ selector });
    await (await page.$(selector)).uploadFile(path);
  },
  async press({ key }) {
    await page.keyboard.press(key);
  },
  texts: ({ selector }) => page.$$eval(selector, (found) => found.map((each) => each.textContent)),
  run: ({ script }) => page.evaluate(script),
  async shot({ path }) {
    await pause(150);
    await page.screenshot({ path, fullPage: true });
  },
  heard: () => heard,
  front: () => page.bringToFront(),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...values } = JSON.parse(line);
  const work = async () => COMMANDS[command](values);
  const answer = await work().then((value) => ({ value: value ?? null }), (error) => ({ error: String(error.stack) }));
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await browser.close();
