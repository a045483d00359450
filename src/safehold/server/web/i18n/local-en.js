/** English, of `safehold ui`. */
export default {
  'local.title': 'Repositories',
  'local.footer': 'These pages run on your own machine. Backups are decrypted in this browser.',
  'local.note': 'The key stays in this page’s memory. It is forgotten when you lock or leave the page, or after ten minutes without a touch.',
  'local.not-authenticated': 'This page belongs to a `safehold ui` that has ended. Open the address that it printed last.',
  'local.exists': 'This address was opened already, and works once. If that was not you, end `safehold ui` and start it again.',
  'local.ended': '`safehold ui` does not answer any more. Start it again, and open the address that it prints.',
  'problem.ended': 'This page belongs to a `safehold ui` that has ended. Open the address that it printed last.',
  'problem.store': 'The store cannot do that: {message}',
};
