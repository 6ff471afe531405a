// Rollouts: which there are, what each guard has seen, and what was decided.

import { h, s, table } from './dom.js';
import { num, pct, size, when } from './format.js';
import { figures } from './parts.js';
import { link } from './state.js';

const STATES = { running: 'quiet', promoted: 'quiet', passed: 'quiet', waiting: 'info', hold: 'warning', inconclusive: 'warning', rolled_back: 'critical', aborted: 'critical' };
const SIGNS = { running: '▶', promoted: '✓', passed: '✓', waiting: '○', hold: '❚❚', inconclusive: '?', rolled_back: '◆', aborted: '■' };

/** A state as sign and word; colour alone says nothing. */
const state = one => h('span', { class: `badge ${STATES[one.state] ?? 'info'}` }, `${SIGNS[one.state] ?? ''} ${one.state.replaceAll('_', ' ')}`);
const weight = one => one.weights[one.candidate] ?? 0;
/** The candidate's weight; none where somebody else sets the weights, or where a decision changes none. */
const share = one => Object.keys(one.weights).length ? pct(weight(one)) : '–';
const held = one => (one.holds ?? []).length ? `: ${one.holds.join(', ')}` : '';

export function rolloutsView(data) {
  if (!data.rollouts.length) return [h('h1', {}, 'Rollouts'), h('p', { class: 'notice' }, 'No rollout was ever started. ', h('code', {}, 'stream-monitor rollout start FILE'), ' starts one: a version of a model replaces another one in steps, as long as nothing gets worse.')];
  return [
    h('h1', {}, 'Rollouts'),
    h('div', { class: 'scroll' }, table('Rollouts, the latest first', ['rollout', 'model', 'candidate', 'against', 'state', 'weight#', 'exposed#', 'since', 'what was decided'],
      data.rollouts.map(one => [h('a', { href: link(['rollouts', one.model, one.rollout]) }, one.rollout), h('a', { href: link(['m', one.model]) }, one.model), one.candidate, one.primary, [state(one), held(one)], share(one), num(one.exposed ?? 0), when(one.started), one.reason]))),
  ];
}

/** How far a bet is, on a scale of logarithms; full is what the verdict needs. */
function bet(worth, needs, kind) {
  const part = worth > 1 && needs > 1 ? Math.min(Math.log(worth) / Math.log(needs), 1) : 0;
  const text = `${worth >= 1e6 ? 'a million and more' : num(worth)} of ${num(needs)}`;
  return h('span', { class: 'bet' },
    s('svg', { class: 'gauge', viewBox: '0 0 100 8', preserveAspectRatio: 'none', role: 'img', 'aria-label': text }, s('rect', { class: 'ground', x: 0, y: 3, width: 100, height: 2 }), s('rect', { class: part ? kind : 'ground', x: 0, y: 0, width: 100 * part, height: 8 })),
    ` ${text}`);
}

function evidence(one) {
  const line = one.line.times * one.primary.mean + one.line.plus;
  const harm = Math.max(one.harm.settled, one.harm.early ?? 0);
  const factor = ['1', '2', '4'].find(name => (one.passes?.[name] ?? 0) > 1) ?? '4';
  return [one.segment === 'all' ? one.guard : `${one.guard} in ${one.segment}`, num(one.primary.mean), num(one.candidate.mean), num(line), num(one.candidate.n), bet(harm, one.harm.needs, 'critical'), bet(one.passes?.[factor] ?? 0, one.needs, 'second'), one.report ? 'only shown' : `${factor} ×`];
}

/** The candidate's weight over time, as steps. */
function course(decisions) {
  const rows = decisions.filter(one => Object.keys(one.weights).length > 0).reverse();
  if (!rows.length) return null;
  const first = rows[0].ts, last = Math.max(rows.at(-1).ts, first + 1);
  // what is left to the right shows the weight since then
  const x = ts => 760 * (ts - first) / (last - first), y = one => 100 - 96 * weight(one);
  const path = rows.map((one, i) => `${i ? `H${x(one.ts).toFixed(1)}V` : `M0 `}${y(one).toFixed(1)}`).join('') + 'H800';
  return h('figure', {},
    s('svg', { class: 'chart', viewBox: '-4 -4 808 112', preserveAspectRatio: 'none', role: 'img', 'aria-label': `the weight of the candidate from ${when(first)} to ${when(last)}; now ${pct(weight(rows.at(-1)))}` },
      s('path', { class: 'grid', d: 'M0 4H800M0 52H800M0 100H800' }), s('path', { class: 'line', d: path })),
    h('figcaption', { class: 'sub' }, `Weight of the candidate, from 0 % below to 100 % above, ${when(first)} to ${when(last)}`));
}

export function rolloutView(data) {
  const last = data.decisions.find(one => one.decision !== 'refused') ?? data.decisions[0], told = data.decisions.filter(one => one.decision !== 'progress');
  const split = (last.checks ?? []).find(check => check.name === 'split'), paired = (last.checks ?? []).find(check => check.name === 'paired'), shadow = last.pattern === 'shadow';
  return [
    h('h1', {}, data.rollout, ' ', h('span', { class: 'sub' }, `${last.candidate} against ${last.primary} of `, h('a', { href: link(['m', data.model]) }, data.model))),
    h('p', { class: 'say' }, state(last), held(last), ' ', told.length ? told[0].reason : last.reason),
    figures([shadow ? ['shadow', 'both versions answer each request'] : [share(last), 'of the requests go to the candidate'], [last.step ? `step ${last.step}` : 'not started', last.pattern], [num(last.exposed ?? 0), 'requests that it answered'], split && [pct(split.seen), `is what it was sent, of ${pct(split.expected)}`], paired && [pct(paired.seen), `of the primary’s requests have both answers, of ${pct(paired.expected)}`], [when(last.ts), 'is the time of this evidence']]),
    Object.keys(last.left_out ?? {}).length > 0 && h('p', { class: 'notice warning' }, `Counts for nothing: ${Object.entries(last.left_out).map(([what, n]) => `${num(n)} ${what}`).join(', ')}.`),
    !shadow && course(data.decisions),
    last.evidence?.length > 0 && h('section', {}, h('h2', {}, 'Evidence'), h('p', { class: 'sub' }, 'A bar is a bet that is worth 1 at the start. A full bar on harm rolls back, and every full bar on a pass is needed to pass. Both hold however often one looks.'),
      h('div', { class: 'scroll' }, table('Guards', ['guard', `${last.primary}#`, `${last.candidate}#`, 'line#', 'values of the candidate#', 'harm', 'pass', 'at margins'], last.evidence.map(evidence)))),
    h('section', {}, h('h2', {}, 'Decisions'), h('div', { class: 'scroll' }, table('Decisions, the latest first', ['when', 'number#', 'decision', 'weight#', 'why', 'by'], told.map(one => [when(one.ts), num(one.seq), [one.decision.replaceAll('_', ' '), held(one)], share(one), one.reason, one.by])))),
  ];
}
