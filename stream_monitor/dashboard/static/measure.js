// One measure in full: its course, where its values are, its detectors, now against before, and where it comes from.

import { axis, extent, heat, isShare, plot, shape } from './charts.js';
import { h, table } from './dom.js';
import { num, pct, times as multiple, when } from './format.js';
import { aligned, badge, choices, comparison, matters, sentence, worst } from './parts.js';
import { here, KEPT, link, place } from './state.js';

/** Names of the display bins. */
export function binNames(baseline) {
  if (baseline.names) return [...baseline.names, 'others', 'new'];
  const edges = baseline.edges ?? [];
  const low = baseline.min ?? edges[0], high = baseline.max ?? edges[edges.length - 1], ends = [low, ...edges.slice(1, -1), high];
  const isOne = (a, b) => Math.abs(b - a) <= 1e-6 * Math.max(Math.abs(a), Math.abs(b));
  return [`below ${num(low)}`, ...ends.slice(1).map((x, i) => (isOne(ends[i], x) ? num(x) : `${num(ends[i])} … ${num(x)}`)), `above ${num(high)}`];
}

function course(data, measure, scale) {
  const base = measure.baseline ?? {}, alerts = data.alerts;
  const about = { times: data.times, scale, alerts, annotations: data.annotations };
  if (measure.kind === 'category') {
    const colours = ['c0', 'c1', 'c2', 'c3', 'c4'];
    const total = (base.shape ?? []).reduce((a, b) => a + b, 0);
    const lines = measure.names.map((name, k) => ({ name, values: measure.shares[k], class: `line ${colours[k]}` }));
    const flats = total ? measure.names.flatMap((name, k) => { const at = base.names.indexOf(name); return at < 0 ? [] : [{ value: base.shape[at] / total, class: `middle ${colours[k]}` }]; }) : [];
    return [plot({ ...about, lines, flats, format: pct, domain: [0, Math.max(0.1, extent(...measure.shares)[1])], label: `${measure.name}: shares of its most frequent categories`, read: i => measure.names.map((n, k) => `${n.slice(0, 20)} ${pct(measure.shares[k][i])}`).join('  ') }),
      h('p', { class: 'key' }, measure.names.map((name, k) => [h('i', { class: `k-${colours[k]}` }), name.slice(0, 40)]), h('span', {}, '  dashed: baseline'))];
  }
  const second = column => { const values = aligned(data, data.other?.measure?.[column]); return values ? [{ values, class: 'line second' }] : []; };
  if (isShare(measure)) return [plot({ ...about, lines: [...second('mean'), { values: measure.mean, class: 'line' }], flats: base.mean === undefined ? [] : [{ value: base.mean, class: 'middle' }], format: pct, label: `${measure.name}: share of ones`, read: i => `${pct(measure.mean[i])} of ${num(measure.n[i])}${base.mean === undefined ? '' : `, before ${pct(base.mean)}`}` })];
  const hasBins = measure.p50.some(v => v !== null);
  const areas = [];
  if (base.p05 !== undefined) areas.push({ lows: data.times.map(() => base.p05), highs: data.times.map(() => base.p95), class: 'band' });
  if (hasBins) areas.push({ lows: measure.p05, highs: measure.p95, class: 'area' });
  return [plot({ ...about, height: 170, areas, lines: [...second(hasBins ? 'p50' : 'mean'), { values: hasBins ? measure.p50 : measure.mean, class: 'line' }], flats: (base.p50 ?? base.mean) === undefined ? [] : [{ value: hasBins ? base.p50 : base.mean, class: 'middle' }],
    label: `${measure.name}: median and 5 to 95 per cent, and the baseline's`, read: i => (hasBins ? `median ${num(measure.p50[i])}, 5 % ${num(measure.p05[i])}, 95 % ${num(measure.p95[i])}` : `mean ${num(measure.mean[i])}`) + `  of ${num(measure.n[i])} values` })];
}

function detectors(data, scale) {
  const tolerance = data.health?.tolerance ?? {};
  const lines = [];
  Object.entries(data.tests).forEach(([test, values]) => { if (tolerance[test]) lines.push({ name: `${test} ÷ ${num(tolerance[test])}`, values: values.map(v => (v === null ? null : Math.max(1e-3, Math.abs(v) / tolerance[test]))) }); });
  Object.entries(data.courses).forEach(([name, values]) => lines.push({ name: `${name} ÷ threshold`, values: values.map(v => (v === null ? null : Math.max(1e-3, v))) }));
  if (!lines.length) return null;
  const shown = lines.map((l, k) => ({ ...l, class: `line t${k % 6}` }));
  const high = Math.max(2, ...shown.flatMap(l => l.values.filter(v => v !== null)));
  return h('section', {}, h('h2', {}, 'Detectors, as multiples of what is tolerated'),
    plot({ times: data.times, scale, lines: shown, flats: [{ value: 1, class: 'limit' }], domain: [0.02, high], log: true, alerts: data.alerts, format: v => `${v}×`, label: 'Each detector as a multiple of what it tolerates; the red line is 1', read: i => shown.map(l => `${l.name.split(' ')[0]} ${multiple(l.values[i])}`).join('  ') }),
    h('p', { class: 'key' }, shown.map((l, k) => [h('i', { class: `k-t${k % 6}` }), l.name]), h('i', { class: 'k-critical' }), 'tolerated'));
}

function where(data, measure, scale) {
  const base = measure.baseline;
  if (!base?.shape || !data.shapes.some(Boolean)) return null;
  return h('section', {}, h('h2', {}, 'Where the values are ', h('span', { class: 'key' }, h('i', { class: 'k-now' }), 'more than in the baseline', h('i', { class: 'k-fewer' }), 'fewer; blank within three standard errors')),
    heat({ times: data.times, scale, shapes: data.shapes, baseline: base.shape, names: binNames(base), label: `${measure.name}: bins by windows; see the table below for shares` }));
}

/** The window that the URL, or the latest alert, points at. */
function shownWindow(data) {
  const at = Number(place().query.get('at')), filled = data.shapes.map((sh, i) => (sh || data.measure.n[i] ? i : -1)).filter(i => i >= 0);
  const alert = data.alerts.filter(a => a.ended === null).slice(-1)[0] ?? data.alerts.slice(-1)[0];
  const wanted = at || (alert ? alert.at - data.size : NaN);
  const exact = Number.isNaN(wanted) ? -1 : data.times.findIndex(t => t <= wanted && wanted < t + data.size);
  return exact >= 0 && filled.includes(exact) ? exact : data.measure.now ?? -1;
}

function moved(data, i) {
  const base = data.measure.baseline, now = data.shapes[i];
  if (!base?.shape || !now) return null;
  const total = base.shape.reduce((a, b) => a + b, 0) || 1, n = now.reduce((a, b) => a + b, 0) || 1;
  const rows = binNames(base).map((name, k) => ({ name, before: base.shape[k] / total, now: (now[k] ?? 0) / n }));
  rows.sort((a, b) => Math.abs(b.now - b.before) - Math.abs(a.now - a.before));
  return h('div', {}, h('h2', {}, 'What moved'), table('Shares of the display bins, those that moved most first', ['values', 'baseline#', 'window#', 'change#'], rows.filter(r => r.now !== r.before).slice(0, 6).map(r => [r.name, pct(r.before), pct(r.now), `${r.now >= r.before ? '+' : '−'}${pct(Math.abs(r.now - r.before))}`])));
}

function segments(data) {
  const alert = [...data.alerts].reverse().find(a => a.attribution?.segments?.length);
  if (alert) return h('div', {}, h('h2', {}, 'Segments that it comes from'), table('Segments and their part of the drift', ['segment', 'of the drift#', 'own values#', 'mix#'], alert.attribution.segments.map(p => [h('a', { href: here({ segment: p.segment }) }, p.segment), pct(p.part), pct(p.own), pct(p.mix)])));
  if (data.siblings.length) return h('div', {}, h('h2', {}, 'Segments, the farthest first'), table('Segments in the last window', ['segment', 'values#', 'median or mean#', 'effect#'], data.siblings.slice(0, 10).map(p => [h('a', { href: here({ segment: p.segment }) }, p.segment), num(p.n), num(p.p50 ?? p.mean), [multiple(p.times), p.found && ' ▲']])));
  return data.segments.length > 1 || data.segment !== 'all' ? null : h('div', {}, h('h2', {}, 'Segments'), h('p', { class: 'sub' }, 'None are set. ', h('code', {}, 'segments: [[country]]'), ' splits every measure by a feature or tag.'));
}

function figuresTable(data, measure) {
  const rows = data.rows.map((r, i) => [when(data.times[i], data.size), num(r?.n), num(r?.missing), num(r?.mean), num(r?.p05), num(r?.p50), num(r?.p95), multiple(r?.times)]).reverse().slice(0, 300);
  return h('details', { class: 'fold', data: { focus: 'figures' } }, h('summary', {}, 'The figures as a table'), h('p', {}, h('button', { type: 'button', onclick: () => download(data, measure) }, 'Download as CSV')),
    h('div', { class: 'scroll' }, table(`Windows of ${measure.name}, the latest first`, ['window', 'values#', 'missing#', 'mean#', '5 %#', 'median#', '95 %#', 'effect#'], rows)));
}

/** Save the figures. The address of a blob holds its bytes until it is taken back. */
function download(data, measure) {
  const names = ['n', 'missing', 'mean', 'std', 'min', 'p05', 'p25', 'p50', 'p75', 'p95', 'p99', 'max', 'times'];
  const lines = data.rows.map((r, i) => [data.times[i], new Date(data.times[i]).toISOString(), ...names.map(n => r?.[n] ?? '')].join(','));
  const href = URL.createObjectURL(new Blob([[`window_start,time_utc,${names.join(',')}`, ...lines].join('\n')], { type: 'text/csv' }));
  h('a', { href, download: `${data.model}-${measure.name}.csv`.replace(/[^\w.-]+/g, '_') }).click();
  setTimeout(() => URL.revokeObjectURL(href), 1000);
}

export function measureView(data) {
  const measure = data.measure, scale = axis(data.times, data.size), i = shownWindow(data);
  const alert = [...data.alerts].reverse().find(a => a.ended === null) ?? data.alerts[data.alerts.length - 1];
  const base = measure.baseline;
  return [
    h('h1', {}, `${measure.name} `, badge(worst(data.alerts)), h('span', { class: 'sub' }, ` ${measure.group} of ${data.model} ${data.version}${data.segment === 'all' ? '' : `, ${data.segment}`}`)),
    alert ? h('p', { class: 'say' }, h('a', { href: link(['alerts', alert.id]) }, sentence(alert.reason, alert.model, alert.version)), ' ', ['input', 'output'].includes(alert.group) && alert.kind === 'drift' && matters(alert.matters), alert.ended !== null && h('span', { class: 'sub' }, ` It ended ${when(alert.ended, data.size)}.`)) : h('p', { class: 'say' }, 'No alert in this range.'),
    choices(data), comparison(data),
    h('section', {}, h('h2', {}, 'Course; grey: baseline; shaded: alerts'), course(data, measure, scale)),
    where(data, measure, scale),
    detectors(data, scale),
    h('div', { class: 'columns' },
      base?.shape && data.shapes[i] && h('div', {}, h('h2', {}, `Window of ${when(data.times[i], data.size)} (bars) and baseline (line)`), h('div', { class: 'card big' }, shape(data.shapes[i], base.shape, 'shares of the display bins in the window and in the baseline', 80), h('div', { class: 'ends' }, h('span', {}, binNames(base)[0]), h('span', {}, binNames(base)[binNames(base).length - 1])))),
      moved(data, i), segments(data),
      base && h('div', {}, h('h2', {}, 'Baseline'), table('The baseline', ['what', 'value#'], [['name', base.name], ['in force since', when(base.since)], ['values', num(base.n)], base.mean !== undefined ? ['mean ± std', `${num(base.mean)} ± ${num(base.std)}`] : ['most frequent', (base.names ?? []).slice(0, 2).join(', ')], ['missing', pct(base.missing)]]))),
    data.alerts.length > 0 && h('section', {}, h('h2', {}, 'Alerts on this measure'), table('Alerts on this measure', ['opened', 'ended', 'severity', 'why'], [...data.alerts].reverse().slice(0, 20).map(a => [h('a', { href: link(['alerts', a.id]) }, when(a.opened, data.size)), a.ended === null ? 'open' : when(a.ended, data.size), badge(a.severity), sentence(a.reason, a.model, a.version)]))),
    figuresTable(data, measure),
    h('p', {}, h('a', { href: link(['m', data.model], {}, KEPT) }, `All measures of ${data.model}`)),
  ];
}
