// From as many metrics as one can think of to those that matter.

import { h, table } from './dom.js';
import { count, num, times } from './format.js';
import { choices, tabs } from './parts.js';
import { KEPT, link } from './state.js';

const list = names => names.join(', ');

export function reduceView(data) {
  const measure = name => h('a', { href: link(['m', data.model, 'x', name], {}, KEPT) }, name);
  const setting = `models: {${JSON.stringify(data.model)}: {ignore: ${JSON.stringify(data.ignore)}}}`;
  const copied = h('span', { class: 'sub', role: 'status' });
  const few = data.windows < data.least;
  return [
    h('h1', {}, `${data.model} `, h('span', { class: 'sub' }, ` version ${data.version}`)), tabs(data.model, 'reduce'), choices(data),
    few ? h('p', { class: 'notice' }, `This range has ${data.windows} windows, and at least ${data.least} are needed to say which measures could go. Choose a longer range.`) :
      h('p', { class: 'say' }, data.ignore.length ? `${num(data.stay.length)} of ${count(data.measures, 'measure')} would stay; ${num(data.ignore.length)} say nothing, or what others say too.` : `All ${count(data.measures, 'measure')} say something of their own.`),
    h('p', { class: 'sub' }, 'The budget of false alarms is shared by all measures: with fewer of them each one is judged less strictly and found sooner. Nothing is hidden by itself.'),
    data.silent.length > 0 && h('section', {}, h('h2', {}, 'Never moved: below half of what is tolerated in every window, and no alert'), table('Silent measures', ['measure', 'at most#'], data.silent.map(one => [measure(one.name), times(one.most)]))),
    data.redundant.length > 0 && h('section', {}, h('h2', {}, 'Say the same: their windows move together'), table('Redundant measures', ['stays', 'says the same', '|r| at least#'], data.redundant.map(g => [measure(g.stays), g.others.map((n, i) => [i ? ', ' : '', measure(n)]), num(g.r)]))),
    data.never_judged.length > 0 && h('section', {}, h('h2', {}, 'Never judged: too few values in every window'), h('p', {}, list(data.never_judged))),
    data.ignore.length > 0 && h('section', {}, h('h2', {}, 'The setting'), h('pre', {}, setting), h('button', { type: 'button', onclick: async () => { try { await navigator.clipboard.writeText(setting); copied.textContent = ' copied'; } catch (error) { copied.textContent = ` not copied: ${error instanceof Error ? error.message : error}`; } } }, 'Copy'), copied,
      h('p', { class: 'sub' }, 'Ignored measures are described and published, and not judged.')),
  ];
}
