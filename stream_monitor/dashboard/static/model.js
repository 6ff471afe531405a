// One model: every measure a small multiple on one time axis, the worst first; quiet ones folded.

import { axis, gauge, isShare, line, shape, spark, timeAxis, withCross } from './charts.js';
import { h, s } from './dom.js';
import { count, num, pct, span, times as multiple } from './format.js';
import { aligned, badge, choices, comparison, figures, labelled, learning, sentence, stale, tabs, worst } from './parts.js';
import { KEPT, link } from './state.js';

const RANK = { critical: 3, warning: 2, info: 1 };
const last = values => { for (let i = values.length - 1; i >= 0; i--) if (values[i] !== null) return values[i]; return null; };
/** The value of a column in the window that stands for now. */
const now = (measure, column) => (measure.now === null ? null : column?.[measure.now] ?? null);

/** The course of the same measure in the version or segment that this one is compared with. */
function secondLine(data, measure) {
  const other = data.other?.measures?.find(m => m.name === measure.name && m.timeline === measure.timeline);
  return other && aligned(data, isShare(measure) ? other.mean : other.p50?.some(v => v !== null) ? other.p50 : other.mean);
}

/** Value now over value before, by kind of measure. */
function nowBefore(measure) {
  const base = measure.baseline ?? {};
  if (measure.kind === 'rows') return [h('span', { class: 'sub' }, 'all features together')];
  if (measure.kind === 'category') {
    const [name] = measure.names ?? [];
    if (name === undefined) return ['–'];
    const total = (base.shape ?? []).reduce((a, b) => a + b, 0);
    return [`${name.slice(0, 18)} ${pct(now(measure, measure.shares[0]))}`, h('span', { class: 'sub' }, total ? pct(base.shape[(base.names ?? []).indexOf(name)] / total) : '–')];
  }
  if (isShare(measure)) return [pct(now(measure, measure.mean)), h('span', { class: 'sub' }, pct(base.mean))];
  return [num(now(measure, measure.p50) ?? now(measure, measure.mean)), h('span', { class: 'sub' }, num(base.p50 ?? base.mean))];
}

function row(data, measure, scale, alerts) {
  const mine = alerts.filter(a => a.measure === measure.name);
  const missing = now(measure, measure.missing), effect = now(measure, measure.times);
  const label = `${measure.name}: ${mine.some(a => a.ended === null) ? 'an alert is open; ' : ''}${multiple(effect)} of what is tolerated`;
  return h('tr', {},
    h('th', { scope: 'row' }, measure.kind === 'rows' ? h('span', { class: 'name' }, measure.name) : h('a', { class: 'name', href: link(['m', data.model, 'x', measure.name], {}, KEPT), data: { focus: `x-${measure.name}` } }, measure.name), h('br'),
      h('span', { class: 'sub' }, measure.group, missing > 0.001 && ` · ${pct(missing)} missing`, !measure.baseline && measure.kind !== 'rows' && ' · no baseline yet')),
    h('td', { class: 'wide area-box' }, spark(measure, data.times, scale, mine, label, secondLine(data, measure)), h('div', { class: 'cross' })),
    h('td', { class: 'num' }, nowBefore(measure)),
    h('td', {}, gauge(effect)),
    h('td', {}, shape(measure.last?.shape, measure.baseline?.shape, `${measure.name}: shape of the last window and of the baseline`)));
}

function counts(data, scale) {
  const top = Math.max(1, ...data.counts.filter(c => c !== null));
  return h('tr', {}, h('th', { scope: 'row' }, h('span', { class: 'name' }, 'predictions'), h('br'), h('span', { class: 'sub' }, 'a window')),
    h('td', { class: 'wide area-box' }, s('svg', { class: 'spark', viewBox: `-.5 0 ${scale.n} 46`, preserveAspectRatio: 'none', role: 'img', 'aria-label': `predictions a window, at most ${num(top)}` }, s('path', { class: 'line', d: line(data.times.map(scale.at), data.counts, v => 42 - 38 * v / top) })), h('div', { class: 'cross' })),
    h('td', { class: 'num' }, num(last(data.counts))), h('td'), h('td'));
}

function body(data, measures, scale, title) {
  const axisCell = h('th', { scope: 'col', class: 'wide' }, h('span', { class: 'unseen' }, 'course'), timeAxis(scale));
  const grid = h('table', { class: 'rows measures' }, h('caption', { class: 'unseen' }, title),
    h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'measure'), axisCell, h('th', { scope: 'col', class: 'num' }, 'now, before'), h('th', { scope: 'col' }, 'effect ┃ tolerated'), h('th', { scope: 'col' }, 'shape now, before'))),
    h('tbody', {}, measures));
  return withCross(h('div', { class: 'plot bare scroll' }, grid), data.times, scale, i => (data.counts[i] === null ? '' : count(data.counts[i], 'prediction')));
}

const KEY = () => h('p', { class: 'key', 'aria-hidden': 'true' }, h('i', { class: 'k-now' }), 'median, 5–95 %', h('i', { class: 'k-band' }), 'baseline 5–95 %', h('i', { class: 'k-critical' }), '◆ and', h('i', { class: 'k-warning' }), '▲ on top: alerts; at the bottom: windows beyond what is tolerated');

const NOTHING = { labels: 'No labels have come. Produce them to the labels topic with the id of their prediction; accuracy, errors and disagreements appear here.', users: 'No feedback has come. Produce signals such as click, redo or switch_to_typing to the feedback topic with the id of their prediction.', software: 'No observations have come. Produce memory, load or queue lengths to the observations topic; latency_ms of predictions is among the measures.' };

export function modelView(data, timelines, tab) {
  const wanted = m => !timelines || timelines.includes(m.timeline) || (tab === 'software' && m.group === 'software') || (tab === 'users' && m.group === 'human');
  const measures = data.measures.filter(wanted), alerts = data.alerts, scale = axis(data.times, data.size);
  const open = m => Math.max(0, ...alerts.filter(a => a.measure === m.name && a.ended === null).map(a => RANK[a.severity]));
  const effect = m => now(m, m.times) ?? -1;
  const isQuiet = m => !alerts.some(a => a.measure === m.name) && m.times.some(t => t !== null) && m.times.every(t => t === null || t <= 1) && !m.found.some(Boolean);
  const sorted = [...measures].sort((a, b) => open(b) - open(a) || effect(b) - effect(a) || a.name.localeCompare(b.name));
  const loud = sorted.filter(m => !isQuiet(m)), quiet = sorted.filter(isQuiet);
  const folds = quiet.length > 3 && loud.length + quiet.length > 12;
  const shown = folds ? loud : [...loud, ...quiet];
  const health = data.health, isRate = health?.error_measure === 'error';
  const openAlerts = alerts.filter(a => a.ended === null).sort((a, b) => RANK[b.severity] - RANK[a.severity] || b.opened - a.opened);
  return [
    h('h1', {}, `${data.model} `, badge(worst(alerts)), h('span', { class: 'sub' }, ` version ${data.version}${data.segment === 'all' ? '' : `, ${data.segment}`}`)),
    stale(health), tabs(data.model, tab), choices(data),
    !tab && figures([
      [num(last(data.counts)), `predictions in the last ${span(data.size)}`],
      health?.error !== undefined && [isRate ? pct(1 - health.error) : num(health.error), `${isRate ? 'accuracy' : 'absolute error'}${health.error_baseline === undefined ? '' : `, before ${isRate ? pct(1 - health.error_baseline) : num(health.error_baseline)}`}`],
      health && [labelled(health.labelled ?? 0, health.predictions), 'of recent predictions have a label'],
      [num(openAlerts.length), `open alerts here, of ${alerts.length} in this range`],
      [num(data.measures.length), 'measures'],
    ]),
    !tab && openAlerts.length > 0 && h('ul', { class: 'reasons' }, openAlerts.slice(0, 3).map(a => h('li', {}, badge(a.severity), ' ', h('a', { href: link(['alerts', a.id]) }, sentence(a.reason, a.model, a.version))))),
    !tab && data.elsewhere.length > 0 && h('details', { class: 'fold', data: { focus: 'elsewhere' } }, h('summary', {}, `${count(data.elsewhere.length, 'alert')} open in other segments or versions`), h('ul', { class: 'reasons' }, data.elsewhere.map(a => h('li', {}, badge(a.severity), ' ', h('a', { href: link(['alerts', a.id]) }, sentence(a.reason, a.model, a.version)))))),
    comparison(data),
    !tab && learning(health),
    measures.length ? body(data, [!tab && counts(data, scale), ...shown.map(m => row(data, m, scale, alerts))], scale, `Measures of ${data.model}, the worst first`) : h('p', { class: 'notice' }, NOTHING[tab] ?? 'No window of this version and segment lies in this range.'),
    folds && h('details', { class: 'fold', data: { focus: 'quiet' } }, h('summary', {}, `${count(quiet.length, 'quiet measure')}, folded: ${quiet.slice(0, 6).map(m => m.name).join(', ')}${quiet.length > 6 ? ', …' : ''}`), body(data, quiet.map(m => row(data, m, scale, alerts)), scale, 'Quiet measures')),
    measures.length > 0 && KEY(),
  ];
}
