// The only place that writes numbers and times.

let zone = 'UTC';

/** Which zone times are written in: UTC or local. */
export const setZone = local => { zone = local ? Intl.DateTimeFormat().resolvedOptions().timeZone : 'UTC'; };
export const zoneName = () => zone;

const NONE = '–';

/** A number with about three digits. */
export function num(x) {
  if (x === null || x === undefined || Number.isNaN(x)) return NONE;
  const size = Math.abs(x);
  if (size >= 1e15 || (size > 0 && size < 1e-4)) return x.toExponential(1);
  if (size >= 1e4) return Math.round(x).toLocaleString('en');
  if (size >= 100) return x.toFixed(Number.isInteger(x) ? 0 : 1).replace(/\.0$/, '');
  if (size >= 1) return x.toFixed(2).replace(/\.?0+$/, '');
  return x === 0 ? '0' : x.toPrecision(3).replace(/0+$/, '').replace(/\.$/, '');
}

/** A share as per cent. */
export function pct(x) {
  if (x === null || x === undefined || Number.isNaN(x)) return NONE;
  const p = 100 * x;
  if (x > 0 && x < 1 && (p < 0.1 || p > 99.9)) return p < 50 ? '< 0.1 %' : '> 99.9 %';
  return `${Math.abs(p) < 10 || Math.abs(p) > 99 ? p.toFixed(1).replace(/\.0$/, '') : p.toFixed(0)} %`;
}

/** A multiple of what is tolerated. */
export const times = x => (x === null || x === undefined ? NONE : `${x >= 100 ? Math.round(x).toLocaleString('en') : x >= 10 ? x.toFixed(0) : x.toFixed(1)}×`);

const parts = new Map();
function format(options) {
  const key = zone + JSON.stringify(options);
  if (!parts.has(key)) parts.set(key, new Intl.DateTimeFormat('sv-SE', { timeZone: zone, ...options }));
  return parts.get(key);
}

/** The parts of a time in the zone: year, month, day, hour, minute, second. */
function fields(ts) {
  const found = format({ year: 'numeric', month: '2-digit', day: '2-digit', hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' }).formatToParts(new Date(ts));
  return Object.fromEntries(found.map(part => [part.type, part.value]));
}

/** An event time: the date, and the time of day unless all windows are days. */
export function when(ts, size = 0) {
  if (ts === null || ts === undefined || Math.abs(ts) > 8.64e15) return NONE;
  const at = fields(ts), day = `${at.year}-${at.month}-${at.day}`;
  return size >= 86_400_000 ? day : `${day} ${at.hour}:${at.minute}${size && size < 60_000 ? `:${at.second}` : ''}`;
}

/** A time for an axis: as short as the step allows. */
export function tick(ts, step) {
  const at = fields(ts), clock = `${at.hour}:${at.minute}`;
  if (step >= 27 * 86_400_000) return `${at.year}-${at.month}-${at.day}`;
  if (step >= 86_400_000 || clock === '00:00') return `${at.month}-${at.day}`;
  return step < 60_000 ? `${clock}:${at.second}` : clock;
}

/** A duration in its two largest units. */
export function span(ms) {
  if (ms === null || ms === undefined) return NONE;
  const units = [['d', 864e5], ['h', 36e5], ['min', 6e4], ['s', 1e3]];
  const text = [];
  let rest = Math.max(0, Math.round(ms / 1000) * 1000);
  for (const [name, length] of units) {
    const whole = Math.floor(rest / Number(length));
    if (whole && text.length < 2) text.push(`${whole} ${name}`);
    else if (text.length) break;
    rest -= whole * Number(length);
  }
  return text.join(' ') || '0 s';
}

/** A size of windows as the settings write it. */
export function size(ms) {
  for (const [name, length] of [['d', 864e5], ['h', 36e5], ['m', 6e4], ['s', 1e3]]) if (ms % Number(length) === 0) return `${ms / Number(length)}${name}`;
  return `${ms}ms`;
}

/** Bytes. */
export const bytes = n => (n >= 1e9 ? `${(n / 1e9).toFixed(2)} GB` : n >= 1e6 ? `${(n / 1e6).toFixed(1)} MB` : `${Math.round(n / 1e3)} kB`);

/** A count with its noun. */
export const count = (n, noun, plural = `${noun}s`) => `${Number(n).toLocaleString('en')} ${n === 1 ? noun : plural}`;
