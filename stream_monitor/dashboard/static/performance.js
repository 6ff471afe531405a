// Accuracy and errors, by the time of the predictions that they judge.

import { axis, plot } from './charts.js';
import { h, table } from './dom.js';
import { num, pct, span, when } from './format.js';
import { choices, figures, stale, tabs } from './parts.js';

const SHARES = new Set(['error', 'label_disagreement', 'incomparable', 'label_correction', 'human_override']);
const sum = values => values.reduce((a, b) => a + (b ?? 0), 0);

/** The overall mean of a column of means, weighted by its numbers. */
const overall = (n, mean) => { const total = sum(n); return total ? sum(mean.map((m, i) => (m ?? 0) * (n[i] ?? 0))) / total : null; };

function chart(data, scale, name, values, baseline, n, isShare) {
  const format = isShare ? pct : num, pale = data.final.map((f, i) => (f ? null : values[i])), firm = data.final.map((f, i) => (f ? values[i] : null));
  return plot({ times: data.times, scale, lines: [{ values: firm, class: 'line' }, { values: pale, class: 'line pale' }], flats: baseline === undefined || baseline === null ? [] : [{ value: baseline, class: 'middle' }], alerts: data.alerts.filter(a => a.measure === name || (name === 'accuracy' && a.measure === 'error')), format, label: `${name} by the time of predictions`,
    read: i => `${format(values[i])} of ${num(n[i])} labels${data.final[i] ? '' : ', labels may still come'}` });
}

export function performanceView(data) {
  const scale = axis(data.times, data.size), health = data.health;
  const head = [h('h1', {}, `${data.model} `, h('span', { class: 'sub' }, ` version ${data.version}${data.segment === 'all' ? '' : `, ${data.segment}`}`)), stale(health), tabs(data.model, 'performance'), choices(data)];
  const total = sum(data.count), withLabel = sum(data.labelled);
  if (!withLabel && !Object.keys(data.measures).length) return [...head, h('p', { class: 'notice' }, `No labels yet: ${num(total)} predictions of this range wait for theirs. Produce labels with the id of their prediction to the labels topic; a prediction waits for join.label_horizon.`)];
  const error = data.measures.error, accuracy = error ? overall(error.n, error.mean) : null;
  const before = data.baselines.error?.mean;
  const open = data.final.filter(f => !f).length;
  const others = Object.keys(data.measures).filter(name => name !== 'error');
  return [
    ...head,
    figures([
      accuracy !== null && [pct(1 - accuracy), 'accuracy in this range', 'of the labels that could be compared'],
      before !== undefined && [pct(1 - before), 'accuracy of the baseline'],
      [total ? pct(withLabel / total) : '–', 'of predictions have a label'],
      [num(withLabel), 'labels'],
      [num(open), `of ${data.times.length} windows may still get labels`],
    ]),
    error && h('section', {}, h('h2', {}, 'Accuracy; dashed: baseline; pale: labels may still come'), chart(data, scale, 'accuracy', data.accuracy, before === undefined ? undefined : 1 - before, error.n, true)),
    h('section', {}, h('h2', {}, 'Share of predictions with a label'), plot({ times: data.times, scale, height: 90, lines: [{ values: data.labelled.map((n, i) => (data.count[i] ? n / data.count[i] : null)), class: 'line' }], domain: [0, 1], format: pct, label: 'share of predictions with a label', read: i => `${num(data.labelled[i])} of ${num(data.count[i])}` })),
    others.map(name => h('section', {}, h('h2', {}, name), chart(data, scale, name, data.measures[name].mean, data.baselines[name]?.mean, data.measures[name].n, SHARES.has(name) || (name === 'label' && data.confusion.length > 0) || name.startsWith('signal.') && data.measures[name].mean.every(m => m === null || (m >= 0 && m <= 1))))),
    data.confusion.length > 0 && h('div', { class: 'columns' }, confusion(data.confusion)),
    h('p', { class: 'sub' }, `A window is published again as its labels come in, and is final once no label can join any more. Shown until ${when(data.until, data.size)}, in windows of ${span(data.size)}.`),
  ];
}

/** Answers against labels: the shares of each answer; the diagonal is right. */
function confusion(pairs) {
  const by = k => { const totals = new Map(); for (const p of pairs) totals.set(p[k], (totals.get(p[k]) ?? 0) + p[2]); return [...totals].sort((a, b) => b[1] - a[1]).slice(0, 10).map(([name]) => name); };
  const answers = by(0), labels = by(1), cell = (a, l) => pairs.find(p => p[0] === a && p[1] === l)?.[2] ?? 0;
  const total = sum(pairs.map(p => p[2]));
  return h('div', {}, h('h2', {}, 'Answers (rows) and labels (columns)'), h('div', { class: 'scroll' },
    table('Answers by labels', ['answer', ...labels.map(l => `${l.slice(0, 24)}#`), 'all#'], answers.map(a => [a.slice(0, 40), ...labels.map(l => { const n = cell(a, l); return h('span', { class: a === l ? 'right' : n ? 'wrong' : 'sub' }, num(n)); }), num(sum(labels.map(l => cell(a, l))))]))),
    h('p', { class: 'sub' }, `${num(total)} pairs of this range${answers.length === 10 ? '; the ten most frequent answers' : ''}`));
}
