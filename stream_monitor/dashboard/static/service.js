// Dead letters, and the health of the page itself.

import { bars } from './charts.js';
import { h, s, table } from './dom.js';
import { bytes, count, num, size, span, when } from './format.js';
import { figures } from './parts.js';

const HOUR = 36e5;

function hours(rows, first, last) {
  const n = Math.max(1, Math.round((last - first) / HOUR) + 1), top = Math.max(1, ...rows.map(r => r.n));
  return s('svg', { class: 'mini', viewBox: `-.5 0 ${n} 30`, preserveAspectRatio: 'none', role: 'img', 'aria-label': `at most ${num(top)} an hour` },
    s('path', { class: 'warning', d: bars(rows.map(r => (r.hour - first) / HOUR), i => Math.max(1.5, 28 * rows[i].n / top), 30, 0.9) }));
}

/** The start of an event, as text; bytes that are no text are shown as their number. */
function event(letter) {
  if (letter.bytes === null) return h('span', { class: 'sub' }, 'not shown to readers');
  if (!letter.bytes) return h('span', { class: 'sub' }, 'not kept');
  const raw = Uint8Array.from(atob(letter.bytes.slice(0, letter.bytes.length - letter.bytes.length % 4)), c => c.charCodeAt(0));
  return h('code', {}, new TextDecoder().decode(raw).slice(0, 300).replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2066-\u2069]/g, '·'));
}

export function lettersView(data) {
  if (!data.hours.length) return [h('h1', {}, 'Dead letters'), h('p', { class: 'notice' }, 'No event was refused, as far back as this page has read. ✓')];
  const groups = new Map();
  for (const row of data.hours) { const key = `${row.topic}\u0000${row.reason}`; groups.set(key, [...(groups.get(key) ?? []), row]); }
  const first = Math.min(...data.hours.map(r => r.hour)), last = Math.max(...data.hours.map(r => r.hour));
  const total = rows => rows.reduce((a, r) => a + r.n, 0);
  const sorted = [...groups.values()].sort((a, b) => total(b) - total(a));
  return [
    h('h1', {}, 'Dead letters ', h('span', { class: 'sub' }, `${count(total(data.hours), 'event')} could not be counted, ${when(first)} to ${when(last + HOUR)}`)),
    h('section', {}, h('h2', {}, 'Why'), table('Refused events by topic and reason', ['topic', 'reason', 'by hour', 'events#'], sorted.map(rows => [rows[0].topic, rows[0].reason, hours(rows, first, last), num(total(rows))]))),
    h('section', {}, h('h2', {}, `The latest ${data.latest.length}`), h('div', { class: 'scroll' }, table('Refused events, the latest first', ['when', 'where', 'what is wrong', 'event'], data.latest.map(l => [when(l.ts), `${l.topic}/${l.partition}/${l.offset}${(l.count ?? 1) > 1 ? ` and ${num(l.count - 1)} more` : ''}`, [h('strong', {}, l.reason), ' ', l.error], event(l)])))),
  ];
}

export function healthView(data) {
  const reading = data.reading, lost = Object.entries(data.lost);
  return [
    h('h1', {}, 'Health of the page'),
    figures([[reading.state, 'the reader'], [num(reading.behind), 'records to go'], [num(reading.read), 'records read since the start'], [reading.newest ? span(Date.now() - reading.newest) : '–', 'since the newest record'], [bytes(data.used), `of ${bytes(data.disk)} in the store`], [num(data.dropped), 'windows dropped for want of room'], [num(data.strange), 'records that are none of ours']]),
    lost.length > 0 && h('p', { class: 'notice warning', role: 'alert' }, `Kafka deleted records before this page read them: ${lost.map(([topic, n]) => `up to ${num(n)} of ${topic}`).join(', ')}. Their times are missing here. Run the page more often than the retention of the topics, or raise retention.ms of the topics.`),
    reading.reason && h('p', { class: 'notice warning', role: 'alert' }, reading.reason),
    h('section', {}, h('h2', {}, 'What the workers have not read yet'), data.lags.length ? table('Lag by stage and topic', ['stage', 'topic', 'records#', 'of one partition#', 'which#'], data.lags.map(l => [l.stage, l.topic, num(l.records), num(l.most), num(l.partition)])) : h('p', { class: 'sub' }, data.lags_unknown ?? 'No stage has committed anything yet.')),
    h('div', { class: 'columns' },
      h('div', {}, h('h2', {}, 'Windows in the store'), table('Windows by size', ['size', 'windows#', 'from', 'to'], data.windows.map(w => [size(w.size), num(w.windows), when(w.since), when(w.until)]))),
      h('div', {}, h('h2', {}, 'Read so far'), table('Positions', ['topic', 'partition#', 'next offset#'], data.positions.map(p => [p.topic, num(p.partition), num(p.next)])))),
  ];
}
