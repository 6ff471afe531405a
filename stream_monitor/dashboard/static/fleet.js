// All models, the worst first.

import { h, s } from './dom.js';
import { bars, line } from './charts.js';
import { count, num, pct, span, times, when } from './format.js';
import { badge, choice, figures, sentence } from './parts.js';
import { here, link, place } from './state.js';

/** The worst drift of each window as bars in three heights, and quiet windows as a line. */
function course(row) {
  if (!row.course || !row.course.times.length) return h('span', { class: 'sub' }, 'no windows here yet');
  const xs = row.course.times.map((_, i) => i), values = row.course.times;
  const tall = kind => bars(xs, i => (values[i] === null ? 0 : kind === 'quiet' ? (values[i] > 0 ? 0 : 3) : kind === 'warning' ? (values[i] > 0 && values[i] <= 5 ? 12 : 0) : values[i] > 5 ? 19 : 0), 20, kind === 'quiet' ? 1 : 0.84);
  const beyond = values.filter(v => v > 0).length;
  return s('svg', { class: 'mini', viewBox: `-.5 0 ${values.length} 20`, preserveAspectRatio: 'none', role: 'img', 'aria-label': `${beyond} of ${values.length} windows with a drift` },
    ['quiet', 'warning', 'critical'].map(kind => s('path', { class: kind, d: tall(kind) })));
}

function volume(row) {
  if (!row.course || !row.course.count.length) return null;
  const counts = row.course.count, top = Math.max(1, ...counts.filter(c => c !== null));
  return s('svg', { class: 'mini', viewBox: `-.5 0 ${counts.length} 30`, preserveAspectRatio: 'none', role: 'img', 'aria-label': `predictions a window, at most ${num(top)}` },
    s('path', { class: 'line', d: line(counts.map((_, i) => i), counts, v => 28 - 26 * v / top) }));
}

function accuracy(row) {
  if (row.error === null || row.error === undefined) return h('span', { class: 'sub' }, row.labelled[1] ? 'no labels yet' : '');
  const isRate = row.error_measure === 'error';
  const show = error => (error === null || error === undefined ? '–' : isRate ? pct(1 - error) : num(error));
  return [show(row.error), h('span', { class: 'sub' }, `${isRate ? 'before' : 'abs. error, before'} ${show(row.error_baseline)}`)];
}

function why(row) {
  if (row.reasons.length) return [sentence(row.reasons[0], row.model, row.versions[0]), row.open > 1 && h('span', { class: 'sub' }, ` and ${row.open - 1} more`)];
  if (row.learning) return h('span', { class: 'sub' }, `${count(row.learning, 'baseline')} in the making${row.ready_in ? `, ready in ${span(row.ready_in)}` : ''}`);
  const [far] = row.worst;
  return h('span', { class: 'sub' }, far ? `farthest: ${far.measure}, ${times(far.times)} of what is tolerated` : '');
}

const empty = data => [
  h('h1', {}, 'No events yet'),
  h('p', { class: 'say' }, `No model of the app “${data.app_name}” has closed a window. A model is listed here once its first window has ended.`),
  h('p', {}, 'Send prediction events to the topic ', h('code', {}, `${data.app_name}.predictions`), ', keyed by their id:'),
  h('pre', {}, `from confluent_kafka import Producer
import json, time

producer = Producer({"bootstrap.servers": "localhost:9092", "partitioner": "murmur2_random"})
event = {"id": "42", "ts": int(time.time() * 1000), "model": "fraud", "version": "1",
         "features": {"amount": 12.5, "country": "DE"}, "prediction": "ok"}
producer.produce("${data.app_name}.predictions", json.dumps(event), key=event["id"])
producer.flush()`),
];

export function fleetView(data) {
  if (!data.models.length) return empty(data);
  const query = place().query, wanted = (query.get('q') ?? '').toLowerCase(), state = query.get('state') ?? '';
  const fits = row => (!wanted || row.model.toLowerCase().includes(wanted) || row.versions.some(v => v.toLowerCase().includes(wanted))) && (!state || (state === 'silent' ? row.silent : state === 'learning' ? row.learning > 0 : state === 'quiet' ? !row.severity : row.severity === state));
  const rows = data.models.filter(fits), totals = data.totals;
  const search = h('input', { type: 'search', placeholder: 'model or version  (press /)', 'aria-label': 'Filter models', value: query.get('q') ?? '', data: { focus: 'q' }, onchange: event => { location.hash = here({ q: event.target.value }); } });
  return [
    h('h1', {}, 'Fleet'),
    data.app && h('div', { class: 'notice critical', role: 'alert' }, data.app.open.map(alert => h('p', {}, '◆ ', h('a', { href: link(['alerts', alert.id]) }, sentence(alert.reason))))),
    figures([
      [num(totals.models), totals.models === 1 ? 'model' : 'models'],
      [h('span', { class: totals.critical ? 'badge critical' : '' }, `${totals.critical ? '◆ ' : ''}${totals.critical}`), 'critical'],
      [h('span', { class: totals.warning ? 'badge warning' : '' }, `${totals.warning ? '▲ ' : ''}${totals.warning}`), 'warning'],
      [num(totals.silent), 'silent'],
      [num(totals.predictions), 'predictions in the last windows'],
      [when(data.latest), 'event time'],
    ]),
    h('div', { class: 'choices' }, search, choice('state', 'state', [['', 'all'], ['critical', 'critical'], ['warning', 'warning'], ['quiet', 'quiet'], ['silent', 'silent'], ['learning', 'learning']], state), h('span', { class: 'sub' }, rows.length < totals.models ? `${rows.length} of ${totals.models}` : '')),
    h('div', { class: 'scroll' }, h('table', { class: 'rows fleet' },
      h('caption', { class: 'unseen' }, 'Models, the worst first'),
      h('thead', {}, h('tr', {}, ['model', 'drift, by window', 'predictions', 'accuracy', 'open', 'what moved most'].map((name, i) => h('th', { scope: 'col', class: [3, 4].includes(i) && 'num' }, name)))),
      h('tbody', {}, rows.map(row => h('tr', {},
        h('th', { scope: 'row' }, h('a', { class: 'name', href: link(['m', row.model]), data: { focus: `m-${row.model}` } }, row.model), ' ', h('span', { class: 'sub' }, row.versions.length ? `v ${row.versions.slice(0, 3).join(', ')}` : ''), h('br'), badge(row.severity), row.silent && h('span', { class: 'sub' }, ' silent')),
        h('td', {}, course(row)),
        h('td', {}, volume(row)),
        h('td', { class: 'num' }, accuracy(row)),
        h('td', { class: 'num' }, row.open ? h('a', { href: link(['alerts'], { state: 'open', model: row.model }) }, row.open) : ''),
        h('td', {}, why(row))))))),
    rows.length === 0 && h('p', { class: 'notice' }, 'No model fits the filter.'),
  ];
}
