// Charts as SVG: one path a class of marks, never a node a window. The box is stretched; strokes and texts are not.

import { h, s } from './dom.js';
import { num, tick, when } from './format.js';

const round = x => Math.round(x * 100) / 100;

/** The least and largest of some columns. */
export function extent(...columns) {
  let low = Infinity, high = -Infinity;
  for (const column of columns) for (const value of column ?? []) if (value !== null && value !== undefined) { low = Math.min(low, value); high = Math.max(high, value); }
  if (low > high) return [0, 1];
  return low < high ? [low, high] : [low - (Math.abs(low) * 0.05 || 0.5), high + (Math.abs(high) * 0.05 || 0.5)];
}

/** The place of each time on an axis of n windows: gaps in time are gaps on the axis. */
export function axis(times, size) {
  const first = times[0] ?? 0;
  const last = times.length ? times[times.length - 1] : first;
  return { first, size, n: Math.max(1, Math.round((last - first) / size) + 1), at: ts => (ts - first) / size };
}

/** A line that breaks where a value or a window is missing; a lone point is a short stroke. */
export function line(xs, ys, y) {
  let d = '', before = null;
  ys.forEach((value, i) => {
    if (value === null || value === undefined) { before = null; return; }
    const x = xs[i];
    const joined = before !== null && x - before <= 1.01;
    const next = ys[i + 1] !== null && ys[i + 1] !== undefined && xs[i + 1] - x <= 1.01;
    d += joined ? `L${round(x)} ${round(y(value))}` : next ? `M${round(x)} ${round(y(value))}` : `M${round(x - 0.3)} ${round(y(value))}h.6`;
    before = x;
  });
  return d;
}

/** The area between two columns. */
export function area(xs, lows, highs, y) {
  let d = '', run = [];
  const close = () => {
    if (run.length === 1) { const [i] = run; d += `M${round(xs[i] - 0.3)} ${round(y(highs[i]))}h.6V${round(y(lows[i]))}h-.6Z`; }
    if (run.length > 1) d += `M${run.map(i => `${round(xs[i])} ${round(y(highs[i]))}`).join('L')}L${[...run].reverse().map(i => `${round(xs[i])} ${round(y(lows[i]))}`).join('L')}Z`;
    run = [];
  };
  xs.forEach((x, i) => {
    if (lows[i] === null || lows[i] === undefined || highs[i] === null) { close(); return; }
    if (run.length && x - xs[run[run.length - 1]] > 1.01) close();
    run.push(i);
  });
  close();
  return d;
}

/** Bars of one class: those windows for which `height` is above 0. */
export function bars(xs, height, bottom, width = 1) {
  let d = '';
  xs.forEach((x, i) => { const tall = height(i); if (tall > 0) d += `M${round(x - width / 2)} ${round(bottom)}v${round(-tall)}h${width}v${round(tall)}Z`; });
  return d;
}

/** Alerts as bars on top of a chart, by severity. */
export function marks(alerts, scale, top = 0, height = 3) {
  return ['info', 'warning', 'critical'].map(severity => {
    const d = alerts.filter(a => a.severity === severity).map(a => {
      const x0 = Math.max(-0.5, scale.at(a.opened) - 0.5), x1 = Math.min(scale.n - 0.5, a.ended === null ? scale.n : scale.at(a.ended) - 0.5);
      return x1 > x0 || a.opened >= scale.first ? `M${round(x0)} ${top}h${round(Math.max(x1 - x0, 0.8))}v${height}H${round(x0)}Z` : '';
    }).join('');
    return d && s('path', { class: severity, d });
  });
}

const box = (scale, height, attributes, ...children) =>
  s('svg', { viewBox: `-.5 0 ${scale.n} ${height}`, preserveAspectRatio: 'none', ...attributes }, ...children);

/** Windows beyond what is tolerated, at the bottom of a chart. */
function beyond(measure, xs, bottom) {
  const d = which => bars(xs, i => (measure.found[i] && which(measure.times[i] ?? 1.1) ? 4 : 0), bottom);
  return [s('path', { class: 'warning', d: d(t => t <= 5) }), s('path', { class: 'critical', d: d(t => t > 5) })];
}

/** The course of a measure as a small multiple. */
export function spark(measure, times, scale, alerts, label, second = null) {
  const xs = times.map(scale.at), H = 46;
  const common = [...marks(alerts, scale), ...beyond(measure, xs, H)];
  if (measure.kind === 'category') {
    let low = times.map(() => 0);
    const layers = (measure.shares ?? []).map((shares, k) => {
      const high = low.map((v, i) => (shares[i] === null || shares[i] === undefined ? null : v + shares[i]));
      const d = area(xs, low.map((v, i) => (high[i] === null ? null : v)), high, v => 40 - 34 * v);
      low = high.map((v, i) => v ?? low[i]);
      return s('path', { class: `layer${k}`, d });
    });
    return box(scale, H, { class: 'spark', role: 'img', 'aria-label': label }, ...layers, ...common);
  }
  if (measure.kind === 'rows') {
    const top = Math.max(1.2, ...measure.times.filter(t => t !== null));
    const y = v => 42 - 34 * v / top;
    return box(scale, H, { class: 'spark', role: 'img', 'aria-label': label }, s('path', { class: 'middle', d: `M-.5 ${round(y(1))}H${scale.n}` }), s('path', { class: 'line', d: line(xs, measure.times, y) }), ...common);
  }
  const base = measure.baseline;
  const flat = measure.p05?.every(v => v === null);
  const middle = flat ? measure.mean : measure.p50;
  const [low, high] = extent(second, flat ? measure.mean : measure.p05, flat ? [] : measure.p95, base && base.p05 !== undefined ? [base.p05, base.p95] : []);
  const y = v => 40 - 34 * (v - low) / (high - low);
  const isRate = isShare(measure);
  const shown = isRate ? measure.mean : middle;
  const ys = isRate ? (v => { const [l, t] = extent(second, measure.mean, base && base.mean !== undefined ? [base.mean] : []); return 40 - 34 * (v - l) / (t - l); }) : y;
  return box(scale, H, { class: 'spark', role: 'img', 'aria-label': label },
    base && base.p05 !== undefined && !isRate && s('path', { class: 'band', d: `M-.5 ${round(y(base.p95))}H${scale.n}V${round(Math.max(y(base.p05), y(base.p95) + 1))}H-.5Z` }),
    !isRate && !flat && s('path', { class: 'area', d: area(xs, measure.p05, measure.p95, y) }),
    base && (isRate ? base.mean : base.p50) !== undefined && s('path', { class: 'middle', d: `M-.5 ${round(ys(isRate ? base.mean : base.p50))}H${scale.n}` }),
    second && s('path', { class: 'line second', d: line(xs, second, ys) }),
    s('path', { class: 'line', d: line(xs, shown, ys) }), ...common);
}

/** Whether a measure has only the values 0 and 1: its mean is a rate, and its quantiles say nothing. */
export const isShare = measure => measure.kind === 'number' && measure.last !== null && measure.last.min >= 0 && measure.last.max <= 1 && [0, 1].includes(measure.last.min) && [0, 1].includes(measure.last.max) && [0, 1].includes(measure.last.p50 ?? 0) && (measure.baseline === null || measure.baseline === undefined || [0, 1].includes(measure.baseline.p50 ?? 0));

/** Effect over tolerance as a bar on a scale of powers of two; the stroke is what is tolerated. */
export function gauge(times) {
  if (times === null || times === undefined) return h('span', { class: 'sub' }, 'not judged');
  const width = Math.min(118, 24 * Math.log2(1 + times));
  return s('svg', { class: 'gauge', viewBox: '0 0 120 16', role: 'img', 'aria-label': `${num(times)} times what is tolerated` },
    s('rect', { class: times > 5 ? 'bar far' : times > 1 ? 'bar over' : 'bar', x: 0, y: 4, width: round(width), height: 8 }),
    s('line', { class: 'tick', x1: 24, x2: 24, y1: 1, y2: 15 }));
}

/** Shares on display bins: bars are now, the line is the baseline. */
export function shape(now, baseline, label, height = 34) {
  if (!now || !baseline || now.length !== baseline.length) return null;
  const share = counts => { const total = counts.reduce((a, b) => a + b, 0) || 1; return counts.map(c => c / total); };
  const a = share(now), b = share(baseline), top = Math.max(...a, ...b, 1e-9), n = a.length;
  const y = v => round(height - height * v / top);
  return s('svg', { class: 'mini', viewBox: `0 0 ${n} ${height}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': label },
    s('path', { class: 'is', d: a.map((v, i) => (v ? `M${i + 0.08} ${height}V${y(v)}h.84V${height}Z` : '')).join('') }),
    s('path', { class: 'was', d: `M0 ${height}${b.map((v, i) => `V${y(v)}H${i + 1}`).join('')}V${height}` }));
}

/** Even steps on an axis of values. */
export function ticks(low, high, most = 4) {
  const raw = (high - low) / most, power = 10 ** Math.floor(Math.log10(raw || 1));
  const step = [1, 2, 2.5, 5, 10].map(m => m * power).find(m => m >= raw) ?? raw;
  const found = [];
  for (let v = Math.ceil(low / step) * step; v <= high + step * 1e-9 && found.length < 20; v += step) found.push(Math.abs(v) < step * 1e-9 ? 0 : v);
  return found;
}

const STEPS = [1e3, 5e3, 1e4, 3e4, 6e4, 3e5, 6e5, 18e5, 36e5, 108e5, 216e5, 432e5, 864e5, 2 * 864e5, 7 * 864e5, 14 * 864e5, 30 * 864e5, 61 * 864e5, 91 * 864e5, 365 * 864e5];

/** Times on an axis, at round places. */
export function timeTicks(scale, most = 9) {
  const length = scale.n * scale.size;
  const step = STEPS.find(x => length / x <= most) ?? Math.ceil(length / most / 864e5) * 864e5;
  const found = [];
  for (let ts = Math.ceil(scale.first / step) * step; ts < scale.first + length && found.length < 20; ts += step) found.push({ ts, text: tick(ts, step) });
  return found;
}

/**
 * A chart with axes. `lines`: {name, values, class}; `areas`: {lows, highs, class}; `flats`: {value, class}.
 * `read(i)` says what the chart shows at window i, for the crosshair and for screen readers.
 */
export function plot({ times, scale, height = 150, lines, areas = [], flats = [], domain = undefined, log = false, alerts = [], annotations = [], label, read, format = num }) {
  const xs = times.map(scale.at);
  const given = domain ?? extent(...lines.map(l => l.values), ...areas.flatMap(a => [a.lows, a.highs]), flats.map(f => f.value));
  const [low, high] = log ? [Math.log10(Math.max(given[0], 1e-3)), Math.log10(Math.max(given[1], 1.5))] : given;
  const pad = (high - low) * 0.04;
  const unit = v => ((log ? Math.log10(Math.max(v, 10 ** low)) : v) - low + pad) / (high - low + 2 * pad);
  const y = v => 100 - 100 * unit(v);
  const yTicks = log ? [0.01, 0.1, 1, 10, 100, 1000].filter(v => Math.log10(v) >= low - pad && Math.log10(v) <= high + pad) : ticks(low, high);
  const shades = alerts.map(a => {
    const x0 = Math.max(-0.5, scale.at(a.opened) - 0.5), x1 = a.ended === null ? scale.n - 0.5 : Math.min(scale.n - 0.5, scale.at(a.ended) - 0.5);
    return x1 > x0 ? s('rect', { class: `shade ${a.severity}`, x: round(x0), y: 0, width: round(x1 - x0), height: 100 }) : null;
  });
  const svg = box(scale, 100, { class: 'chart', role: 'img', 'aria-label': label },
    ...shades,
    s('path', { class: 'grid', d: yTicks.map(v => `M-.5 ${round(y(v))}H${scale.n}`).join('') }),
    ...areas.map(a => s('path', { class: a.class, d: area(xs, a.lows, a.highs, y) })),
    ...flats.map(f => s('path', { class: f.class, d: `M-.5 ${round(y(f.value))}H${scale.n}` })),
    ...lines.map(l => s('path', { class: l.class, d: line(xs, l.values, y) })),
    s('path', { class: 'note', d: annotations.filter(a => a.at >= scale.first && scale.at(a.at) < scale.n).map(a => `M${round(scale.at(a.at))} 0V100`).join('') }));
  const figure = h('div', { class: 'plot', data: { height: String(height) } },
    h('div', { class: 'yaxis', 'aria-hidden': 'true' }, yTicks.map(v => h('span', { position: { top: `${y(v)}%` } }, format(v)))),
    h('div', { class: 'area-box', position: { height: `${height}px` } }, svg, h('div', { class: 'cross' })),
    timeAxis(scale));
  return withCross(figure, times, scale, read);
}

/** The labels below a chart. */
export function timeAxis(scale) {
  return h('div', { class: 'xaxis', 'aria-hidden': 'true' }, timeTicks(scale).map(t => h('span', { position: { left: `${100 * (scale.at(t.ts) + 0.5) / scale.n}%` } }, t.text)));
}

/** Give a chart a crosshair that all charts of the view share. */
export function withCross(figure, times, scale, read) {
  figure.readout = position => {
    if (!times.length) return '';
    const wanted = scale.first + Math.round(position * scale.n - 0.5) * scale.size;
    const next = times.findIndex(t => t >= wanted);
    const i = next < 0 || (next > 0 && wanted - times[next - 1] < times[next] - wanted) ? (next < 0 ? times.length : next) - 1 : next;
    if (Math.abs(times[i] - wanted) >= scale.size) return `${when(wanted, scale.size)}  no window`;
    return `${when(times[i], scale.size)}  ${read ? read(i) : ''}`;
  };
  return figure;
}

/**
 * Where the values are: bins by windows. Blue is more, orange fewer than in the baseline, by standard errors; blank is
 * within three of them, as plain differences of shares look like drift where a window has few values.
 */
export function heat({ times, scale, shapes, baseline, names, label }) {
  const xs = times.map(scale.at), bins = baseline.length;
  const total = baseline.reduce((a, b) => a + b, 0) || 1;
  const classes = new Map();
  shapes.forEach((counts, i) => {
    if (!counts || counts.length !== bins) return;
    const n = counts.reduce((a, b) => a + b, 0);
    if (!n) return;
    counts.forEach((c, k) => {
      const before = baseline[k] / total, pooled = (c + baseline[k]) / (n + total);
      const error = Math.sqrt(Math.max(pooled * (1 - pooled), 1e-9) * (1 / n + 1 / total));
      const z = (c / n - before) / error;
      if (Math.abs(z) <= 3) return;
      const key = `${z > 0 ? 'more' : 'fewer'}${Math.min(3, Math.floor(Math.log2(Math.abs(z) / 3)))}`;
      classes.set(key, `${classes.get(key) ?? ''}M${round(xs[i] - 0.5)} ${bins - 1 - k}h1v1h-1Z`);
    });
  });
  const svg = s('svg', { class: 'chart', viewBox: `-.5 0 ${scale.n} ${bins}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': label },
    [...classes].map(([key, d]) => s('path', { class: key, d })));
  const every = Math.ceil(bins / 9);
  const figure = h('div', { class: 'plot' },
    h('div', { class: 'yaxis', 'aria-hidden': 'true' }, names.map((name, k) => k % every === 0 && h('span', { title: name, position: { top: `${100 * (bins - k - 0.5) / bins}%` } }, name))),
    h('div', { class: 'area-box', position: { height: `${Math.max(90, 13 * bins)}px` } }, svg, h('div', { class: 'cross' })),
    timeAxis(scale));
  return withCross(figure, times, scale, i => shapes[i] ? '' : 'no values');
}

/** Move the crosshair of all charts of a view along with the pointer. */
export function followPointer(root) {
  const hide = () => root.querySelectorAll('.cross').forEach(cross => cross.classList.remove('on'));
  root.addEventListener('pointerleave', hide);
  root.addEventListener('pointermove', event => {
    const over = /** @type {HTMLElement | null} */ (event.target instanceof Element ? event.target.closest('.area-box') : null);
    if (!over) { hide(); return; }
    const bounds = over.getBoundingClientRect();
    const position = Math.min(1, Math.max(0, (event.clientX - bounds.left) / bounds.width));
    root.querySelectorAll('.area-box').forEach(area => {
      const cross = area.querySelector('.cross');
      const owner = area.closest('.plot');
      if (!cross || !owner?.readout) return;
      cross.classList.add('on');
      cross.classList.toggle('left', position > 0.6);
      cross.style.left = `${100 * position}%`;
      cross.dataset.at = owner.readout(position);
    });
  });
}
