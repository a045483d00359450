/** Asking the browser for a passkey (WebAuthn). */
import { t } from '../i18n.js';
import { call } from './api.js';

/** Whether this browser can. */
export const available = () => typeof PublicKeyCredential === 'function' && 'parseRequestOptionsFromJSON' in PublicKeyCredential;

/** Somebody said no, or waited too long: browsers tell no more. */
function plain(error) {
  throw error instanceof DOMException ? new Error(t('passkeys.not-given')) : error;
}

async function given(options) {
  const found = await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) }).catch(plain);
  return found.toJSON();
}

/** Log in by a passkey. */
export async function logIn() {
  await call('POST', '/passkeys/login', { credential: await given(await call('POST', '/passkeys/login/begin')) });
}

/** A passkey as the second factor. */
export async function stepUp() {
  await call('POST', '/passkeys/step-up', { credential: await given(await call('POST', '/passkeys/step-up/begin')) });
}

/** @returns {Promise<string[]>} recovery codes, where these are the first */
export async function add(label) {
  const options = await call('POST', '/passkeys/begin');
  const made = await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) }).catch(plain);
  const { recovery_codes: codes } = await call('POST', '/passkeys', { credential: made.toJSON(), label });
  return codes;
}
