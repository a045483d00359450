/** Debian's Chromium and Firefox, driven by puppeteer: Chromium over CDP, Firefox over WebDriver BiDi. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import puppeteer from 'puppeteer-core';

const PATHS = { chromium: '/usr/bin/chromium', firefox: '/usr/bin/firefox-esr' };

/**
 * @param {'chromium'|'firefox'} name @param {string} folder for the profile and downloads
 * @returns {Promise<{browser: object, downloads: string}>}
 */
export async function launch(name, folder) {
  const downloads = join(folder, 'downloads');
  const profile = join(folder, 'profile');
  for (const each of [downloads, profile]) mkdirSync(each, { recursive: true });
  const common = { executablePath: PATHS[name], headless: true, userDataDir: profile, env: { ...process.env, TZ: 'UTC', HOME: folder, MOZ_DISABLE_CONTENT_SANDBOX: '1' }, defaultViewport: { width: 1280, height: 860 } };
  if (name === 'firefox') {
    const prefs = {
      'browser.download.dir': downloads, 'browser.download.folderList': 2, 'browser.download.useDownloadDir': true,
      'browser.download.alwaysOpenPanel': false, 'intl.accept_languages': 'en', 'app.update.enabled': false,
    };
    return { browser: await puppeteer.launch({ ...common, browser: 'firefox', extraPrefsFirefox: prefs }), downloads };
  }
  const args = ['--no-sandbox', '--disable-dev-shm-usage', '--lang=en', '--no-first-run', '--disable-gpu'];
  const browser = await puppeteer.launch({ ...common, browser: 'chrome', args });
  const session = await browser.target().createCDPSession();
  await session.send('Browser.setDownloadBehavior', { behavior: 'allow', downloadPath: downloads });
  return { browser, downloads };
}

/** What a page said on its console, errors it threw, and requests that failed or went elsewhere. */
export function listen(page, origin) {
  const heard = { errors: [], foreign: [] };
  page.on('console', (message) => message.type() === 'error' && heard.errors.push(message.text()));
  page.on('pageerror', (error) => heard.errors.push(String(error)));
  page.on('request', (request) => {
    const url = request.url();
    if (!url.startsWith(origin) && !url.startsWith('blob:') && !url.startsWith('data:') && !url.startsWith('about:') && !url.startsWith('chrome') && !url.startsWith('resource:')) heard.foreign.push(url);
  });
  return heard;
}
