// Pieces that several views share.

import { h } from './dom.js';
import { count, num, pct, size, span, when } from './format.js';
import { here, isReport, KEPT, link } from './state.js';

const WORDS = { critical: '◆ critical', warning: '▲ warning', info: '● note' };

/** A severity as sign and word; colour alone says nothing. */
export const badge = severity => h('span', { class: `badge ${severity ?? 'quiet'}` }, WORDS[severity] ?? '✓ quiet');

/** The worst severity of open alerts. */
export const worst = alerts => ['critical', 'warning', 'info'].find(severity => alerts.some(a => a.ended === null && a.severity === severity)) ?? null;

/** Key figures: value and what it is. */
export const figures = pairs => h('dl', { class: 'figures' }, pairs.filter(Boolean).map(([value, what, title]) => h('div', { title }, h('dt', {}, what), h('dd', {}, value))));

/** A choice that changes the URL. */
export const choice = (name, parameter, options, present) => !isReport() &&
  h('label', {}, `${name} `, h('select', { data: { focus: parameter }, onchange: event => { location.hash = here({ [parameter]: event.target.value }); } },
    options.map(([value, text]) => h('option', { value, selected: value === present }, text))));

/** Version, segment and range of a model's view. */
export function choices(data) {
  const range = new URLSearchParams(location.hash.split('?')[1] ?? '').get('range') ?? '';
  return h('div', { class: 'choices' },
    choice('version', 'version', data.versions.map(v => [v.version, v.version]), data.version),
    data.segments.length > 1 && choice('segment', 'segment', data.segments.map(name => [name, name]), data.segment),
    choice('range', 'range', [['', 'recent'], ['1h', '1 hour'], ['6h', '6 hours'], ['1d', '1 day'], ['7d', '7 days'], ['30d', '30 days'], ['all', 'all']], range),
    (data.versions.length > 1 || data.segments.length > 2) && choice('against', 'against', others(data), new URLSearchParams(location.hash.split('?')[1] ?? '').get('against') ?? ''),
    h('span', { class: 'sub' }, `windows of ${size(data.size)}, until ${when(data.until, data.size)}${data.cut ? '; the range holds more than can be drawn: its end is shown' : ''}`));
}

/** What a view can be compared with: other versions, other segments. */
const others = data => [['', 'the baseline alone'],
  ...data.versions.filter(v => v.version !== data.version).map(v => [`version:${v.version}`, `version ${v.version}`]),
  ...data.segments.filter(name => name !== data.segment).map(name => [`segment:${name}`, name])];

/** Which line is whose, where two are drawn. */
export const comparison = data => data.against !== undefined && h('p', { class: 'key' }, data.other.missing ? `Nothing to compare with: ${data.other.missing}` : [h('i', { class: 'k-now' }), data.other.segment === data.segment ? `version ${data.version}` : data.segment, h('i', { class: 'k-second' }), data.other.segment === data.segment ? `version ${data.other.version}` : data.other.segment]);

/** A column of another view on the times of this one. */
export function aligned(data, column) {
  if (!data.other?.times || !column) return null;
  const at = new Map(data.other.times.map((ts, i) => [ts, column[i]]));
  return data.times.map(ts => at.get(ts) ?? null);
}

/** The views of a model. */
export function tabs(model, present) {
  const names = [['', 'Measures'], ['performance', 'Performance'], ['labels', 'Labels'], ['users', 'Users'], ['software', 'Software'], ['reduce', 'Reduce']];
  return h('nav', { class: 'tabs', 'aria-label': 'Views of the model' },
    names.map(([path, name]) => h('a', { href: link(['m', model, ...(path ? [path] : [])], {}, KEPT), 'aria-current': path === (present ?? '') ? 'page' : false }, name)));
}

const MATTERS = { worse: 'answers got worse', little: 'answers got a little worse, by less than is tolerated', better: 'answers got better', unchanged: 'answers are as before', undecided: 'too few labels to tell', unknown: 'no labels yet' };

/** Whether a drift matters, in words. */
export const matters = state => h('span', { class: state === 'worse' ? 'badge critical' : 'sub' }, MATTERS[state ?? 'unknown']);

/** What is being learnt, and until when. */
export function learning(health) {
  if (!health?.learning?.length) return null;
  const next = health.learning.slice(0, 6).map(one => `${one.measure} ${num(one.n)} of ${num(one.of)} values${one.ready_in ? `, ready in ${span(one.ready_in)}` : ''}`);
  return h('p', { class: 'notice' }, h('strong', {}, `${count(health.learning_total, 'baseline')} in the making: `), `${next.join('; ')}${health.learning_total > 6 ? '; …' : ''}. What has no baseline is not judged yet.`);
}

/** Banner for a model whose windows have stopped. */
export function stale(health) {
  if (!health) return null;
  if (health.count === 0) return h('p', { class: 'notice warning', role: 'alert' }, `▲ The last window, until ${when(health.window_end)}, had no predictions.`);
  return null;
}

/** The sentence of an alert without its command, and without its subject where the view has named it. */
export function sentence(reason, model, version) {
  const end = reason.lastIndexOf('. To see more: '), subject = `${model} ${version}: `;
  const text = end > 0 ? reason.slice(0, end + 1) : reason;
  return model !== undefined && text.startsWith(subject) ? text[subject.length].toUpperCase() + text.slice(subject.length + 1) : text;
}

export const labelled = (n, of) => (of ? `${pct(n / of)}` : '–');
