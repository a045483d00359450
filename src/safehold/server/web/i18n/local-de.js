/** German, of `safehold ui`. */
export default {
  'local.title': 'Repositorys',
  'local.footer': 'Diese Seiten laufen auf Ihrem eigenen Rechner. Sicherungen werden in diesem Browser entschlüsselt.',
  'local.note': 'Der Schlüssel bleibt im Speicher dieser Seite. Er wird vergessen, wenn Sie sperren, die Seite verlassen oder sie zehn Minuten nicht berühren.',
  'local.not-authenticated': 'Diese Seite gehört zu einem `safehold ui`, das beendet ist. Öffnen Sie die Adresse, die es zuletzt ausgegeben hat.',
  'local.exists': 'Diese Adresse wurde schon geöffnet und gilt nur einmal. Waren Sie das nicht, beenden Sie `safehold ui` und starten Sie es neu.',
  'local.ended': '`safehold ui` antwortet nicht mehr. Starten Sie es neu und öffnen Sie die Adresse, die es ausgibt.',
  'problem.ended': 'Diese Seite gehört zu einem `safehold ui`, das beendet ist. Öffnen Sie die Adresse, die es zuletzt ausgegeben hat.',
  'problem.store': 'Der Speicher kann das nicht: {message}',
};
