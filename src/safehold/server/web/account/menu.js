/** The navigation of who is logged in. */
import { h } from '../dom.js';
import { t } from '../i18n.js';
import { navigate, setHeader, setNavigation } from '../shell.js';
import { call } from './api.js';

const ITEMS = [
  { href: '/', key: 'nav.overview' },
  { href: '/people', key: 'nav.people' },
  { href: '/activity', key: 'nav.activity' },
  { href: '/storage', key: 'nav.storage' },
  { href: '/tokens', key: 'nav.tokens' },
  { href: '/settings', key: 'nav.settings' },
];

async function leave() {
  await call('POST', '/logout');
  navigate('/login');
}

/** Show it, and who is logged in. @returns {Promise<object>} the answer to `GET /me` */
export async function entered() {
  const me = await call('GET', '/me');
  setNavigation(ITEMS);
  setHeader({ tools: [() => h('button', { class: 'button plain compact', type: 'button', onclick: leave }, t('nav.logout', { name: me.name }))] });
  return me;
}
