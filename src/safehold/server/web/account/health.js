/** How devices are: from what they reported, never from what they stored. */

const DAY = 86400;

/** @typedef {'good'|'late'|'failed'|'waiting'|'out'} State */

/**
 * @param {{sources: {status: string, received_ns: number}[], every_seconds: number, revoked: boolean}} device
 * @param {number} now seconds since 1970 @returns {{state: State, last: object|null}}
 */
export function stateOf(device, now) {
  if (device.revoked) return { state: 'out', last: null };
  const last = device.sources.reduce((best, each) => (!best || each.received_ns > best.received_ns ? each : best), null);
  if (!last) return { state: 'waiting', last };
  // A source counts as late when half an interval more than one has passed since it was last backed up.
  const late = device.sources.some((each) => each.status !== 'failed' && now - each.received_ns / 1e9 > device.every_seconds * 1.5);
  const failed = device.sources.some((each) => each.status === 'failed');
  return { state: failed ? 'failed' : late ? 'late' : 'good', last };
}

/**
 * Reports by day, for a calendar: the worst thing of a day counts.
 * @param {{received_ns: number, status: string, added: number}[]} reports @param {number} days @param {Date} today
 * @returns {{date: Date, done: number, incomplete: number, failed: number, added: number}[]} oldest first
 */
export function byDay(reports, days, today) {
  const end = new Date(today.getFullYear(), today.getMonth(), today.getDate());
  const found = Array.from({ length: days }, (_, at) => {
    const date = new Date(end);
    date.setDate(end.getDate() - (days - 1 - at));
    return { date, done: 0, incomplete: 0, failed: 0, added: 0 };
  });
  for (const report of reports) {
    const when = new Date(report.received_ns / 1e6);
    const whenDay = new Date(when.getFullYear(), when.getMonth(), when.getDate());
    const at = days - 1 - Math.round((end - whenDay) / (DAY * 1000));
    if (at < 0 || at >= days) continue;
    found[at][report.status] += 1;
    found[at].added += report.added;
  }
  return found;
}
