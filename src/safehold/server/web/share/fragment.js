/** What stands behind `#` of a link that somebody was given: read once, and taken out of the address bar at once. */

/** @returns {string|null} null where there is nothing, or a place in an open share */
export function takeFragment() {
  const text = location.hash.slice(1);
  if (!text || text.startsWith('/')) return null;
  // Neither the address bar nor the list of visited pages keeps it.
  history.replaceState(null, '', location.pathname);
  return text;
}
