/**
 * A person's first hour with a server, in a real browser: account, second factor, repository, device, overview, trash, tokens.
 * Words: URL, setup code, browser, folder.  Lines of JSON say what was done; words on standard input say what the test did meanwhile.
 */
import { createInterface } from 'node:readline';
import { join } from 'node:path';
import { createHmac } from 'node:crypto';
import { launch, listen } from './browsers.mjs';

const [url, setup, browserName, folder] = process.argv.slice(2);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const say = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);
const hear = async () => JSON.parse((await lines.next()).value);

const { browser } = await launch(browserName, folder);
const page = await browser.newPage();
const heard = listen(page, url);
const shot = async (name) => {
  await page.waitForSelector('main h1', { visible: true });
  unfit.push(...(await page.evaluate(whatIsUnfit)).map((what) => `${name}: ${what}`));
  if (name === 'failed' || process.env.SAFEHOLD_SHOTS) await page.screenshot({ path: join(process.env.SAFEHOLD_SHOTS ?? folder, `${browserName}-${name}.png`), fullPage: true });
};
const unfit = [];

/** Fields without a label, buttons without a name, ids that stand twice: what a screen reader would stumble over. */
function whatIsUnfit() {
  const shown = (css) => [...document.querySelectorAll(css)].filter((each) => each.checkVisibility());
  const named = (each) => each.getAttribute('aria-label') || each.labels?.length || (each.matches('button, a, summary') && each.textContent.trim());
  const ids = [...document.querySelectorAll('[id]')].map(({ id }) => id);
  return [
    ...shown('input, select, textarea, button, a, summary').filter((each) => !named(each)).map((each) => each.outerHTML.slice(0, 120)),
    ...ids.filter((id, at) => ids.indexOf(id) !== at).map((id) => `#${id} stands twice`),
    ...(shown('h1').length === 1 ? [] : [`${shown('h1').length} h1`]),
    ...shown('table').filter((table) => !table.caption).map(() => 'a table has no caption'),
  ];
}
const fieldOf = async (label) => {
  const element = await page.waitForSelector(`::-p-xpath(//label[normalize-space()="${label}"])`, { visible: true });
  return page.waitForSelector(`#${await element.evaluate((each) => each.htmlFor)}`, { visible: true });
};
const type = async (label, text) => {
  const element = await fieldOf(label);
  await element.evaluate((input) => (input.value = ''));
  await element.type(text);
};
/** A node that the page replaced before it was pressed was not pressed. */
const press = async (label, tries = 5) => {
  const found = await page.waitForSelector(`::-p-xpath(//*[self::button or self::a][normalize-space()="${label}"])`, { visible: true });
  await found.click().catch((error) => {
    if (tries === 1 || !/detached/.test(error.message)) throw error;
    return press(label, tries - 1);
  });
};
const sees = (text) => page.waitForFunction((wanted) => document.body?.innerText.includes(wanted), { timeout: 30000 }, text);
const go = (path) => page.goto(url + path);

/** RFC 6238. */
function totp(secret, step = Math.floor(Date.now() / 30000)) {
  const bits = [...secret].map((letter) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(letter).toString(2).padStart(5, '0')).join('');
  const key = Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)));
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(step));
  const mac = createHmac('sha1', key).update(counter).digest();
  return String((mac.readUInt32BE(mac[19] & 15) & 0x7fffffff) % 1000000).padStart(6, '0');
}

try {
  await go('/');
  await sees('Make your account');
  await shot('setup');
  await type('Setup code', '0000-0000-0000-0000');
  await type('Account name', 'anna');
  await type('Password', 'correct horse battery');
  await type('The password again', 'correct horse batterz');
  await press('Make the account');
  await sees('The two passwords differ.');
  await type('The password again', 'correct horse battery');
  await press('Make the account');
  await sees('The setup code is wrong.');
  await type('Setup code', setup);
  await press('Make the account');
  await sees('Second factor');
  say({ done: 'account', ...(await page.evaluate(() => ({ cookie: document.cookie }))) });

  await press('Set it up');
  await sees('Scan this');
  await shot('factor');
  const secret = await page.$eval('#second-factor code', (element) => element.textContent);
  await type('Code of your second factor', totp(secret));
  await press('Set it up');
  await sees('Your recovery codes');
  await shot('codes');
  const codes = await page.$$eval('.code-list code', (all) => all.map((each) => each.textContent));
  say({ done: 'factor', codes: codes.length });

  await go('/');
  await sees('Your first backup');
  await type('Its name', 'home');
  await shot('empty');
  await press('Make room for it');
  await sees('anna/home');
  say({ done: 'repository' });

  const { words } = await hear();
  await go('/enrol');
  await type('Its six words', 'abandon ability able about above absent');
  await press('Look for it');
  await sees('No device shows these words');
  await go(`/enrol#${words}`);
  await sees('What it may do');
  await shot('enrol');
  await page.select('select[id]:has(option[value="admin"])', 'admin');
  await press('Admit it');
  await sees('is admitted');
  say({ done: 'device' });

  await hear(); // a backup was made
  await go('/');
  await sees('Fine');
  await shot('overview');
  say({ done: 'overview', text: await page.evaluate(() => document.body?.innerText) });
  await press('Devices');
  await sees('Devices of anna/home');
  await shot('devices');

  const { passphrase, file, content } = await hear();
  await go('/anna/home');
  await (await page.waitForSelector('#secret')).type(passphrase);
  await press('Open');
  await page.waitForSelector('.snapshot', { timeout: 60000 });
  await shot('browse');
  say({ done: 'browse', text: await page.evaluate(() => document.body?.innerText), file, content });

  await go('/tokens');
  await type('For what', 'a script');
  await press('Make it');
  await sees('This is shown once');
  say({ done: 'token', token: await page.$eval('.secret', (element) => element.textContent) });
  await shot('tokens');

  await hear(); // something was deleted
  await go('/anna/home/trash');
  await sees('Bring back');
  await shot('trash');
  await press('Bring all back');
  await sees('The trash is empty.');
  say({ done: 'trash' });

  await press('Log out anna');
  await sees('Log in');
  await type('Account name', 'anna');
  await type('Password', 'wrong horse');
  await press('Log in');
  await sees('That is not right');
  await type('Password', 'correct horse battery');
  await press('Log in');
  await sees('Now the code of your second factor.');
  await type('Code of your second factor', codes[0]);
  await press('Log in');
  await sees('Backups of anna');
  say({ done: 'login' });

  const evil = '<img src=x onerror=window.hurt=1>\u202egpj';
  await go('/people');
  await type('For whom', evil);
  await press('Make an invitation');
  await sees('/join#');
  const invitation = await page.$eval('.secret', (element) => element.textContent);
  await go('/people');
  await sees('<img src=x onerror=window.hurt=1>\ufffdgpj');
  await press('Make an organisation');
  await type('Its name', 'familie');
  await press('Make an organisation');
  await sees('Organisation familie');
  await shot('people');
  await go('/storage');
  await sees('Content of files');
  await shot('storage');
  await go('/activity');
  await sees('lines were checked in this browser');
  await sees('Made an invitation');
  await page.select('select:has(option[value="device"])', 'device');
  await sees('name: laptop <b>');
  await shot('activity');
  await go('/settings');
  await sees('Where you are logged in');
  await shot('settings');
  if (browserName === 'chromium') {
    const session = await page.createCDPSession(); // Firefox has no such authenticator to be driven
    await session.send('WebAuthn.enable');
    const options = { protocol: 'ctap2', transport: 'internal', hasResidentKey: true, hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true };
    await session.send('WebAuthn.addVirtualAuthenticator', { options });
    await type('Its name', evil);
    await press('Add a passkey');
    await sees('The passkey is added.');
    await press('Log out anna');
    await sees('Log in');
    await page.goto(invitation);
    await sees('You were invited to this server.');
    await type('Account name', 'ben');
    await type('Password', 'another long one');
    await type('The password again', 'another long one');
    await press('Make the account');
    await sees('Second factor');
    await press('Log out ben');
    await press('Log in with a passkey');
    await sees('Backups of anna');
  }
  say({ done: 'people', hurt: await page.evaluate(() => window.hurt ?? null) });

  await page.setViewport({ width: 380, height: 800, deviceScaleFactor: 1 });
  await page.evaluate(() => {
    localStorage.setItem('safehold-theme', 'dark');
    localStorage.setItem('safehold-language', 'de');
  });
  await go('/');
  await sees('Sicherungen von anna');
  await shot('phone-dark-de');
  const wide = await page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth);
  await page.evaluate(() => localStorage.setItem('safehold-language', 'zh'));
  await go('/anna/home/devices');
  await sees('设备');
  await shot('phone-dark-zh');
  const expected = heard.errors.filter((text) => !/status of (400|401|403|404)/.test(text));
  say({ done: 'all', errors: expected, unfit, foreign: heard.foreign, wide });
} catch (error) {
  await shot('failed').catch(() => {});
  say({ failed: String(error.stack ?? error), text: await page.evaluate(() => document.body?.innerText).catch(() => ''), errors: heard.errors });
} finally {
  await browser.close();
}
