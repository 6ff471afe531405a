// Incidents and alerts, and what people say of them.

import { h, s, table } from './dom.js';
import { count, num, pct, when } from './format.js';
import { badge, choice, matters, sentence } from './parts.js';
import { isReport, KEPT, link, place, remark } from './state.js';

function course(incident, [first, last]) {
  const width = Math.max(last - first, 1), x = t => 400 * (t - first) / width;
  const bars = severity => incident.alerts.filter(a => a.severity === severity).map(a => `M${Math.round(x(a.opened))} 4h${Math.max(3, Math.round(x(a.ended ?? last) - x(a.opened)))}v8H${Math.round(x(a.opened))}Z`).join('');
  return s('svg', { class: 'gauge wide', viewBox: '0 0 400 16', preserveAspectRatio: 'none', role: 'img', 'aria-label': `from ${when(incident.opened)} ${incident.ended === null ? 'until now' : `to ${when(incident.ended)}`}` },
    s('rect', { class: 'ground', x: 0, y: 7, width: 400, height: 2 }), ['info', 'warning', 'critical'].map(severity => s('path', { class: severity, d: bars(severity) })));
}

/** A dialog that writes a remark. */
function ask(title, fields, send) {
  const said = h('p', { class: 'sub', role: 'status' });
  const form = h('form', { method: 'dialog', onsubmit: async event => {
    event.preventDefault();
    try { await send(Object.fromEntries(new FormData(form))); box.close(); } catch (error) { said.textContent = error instanceof Error ? error.message : String(error); }
  } }, h('h2', {}, title), fields, said, h('p', {}, h('button', { type: 'submit' }, 'Save'), ' ', h('button', { type: 'button', onclick: () => box.close() }, 'Cancel')));
  const box = h('dialog', { 'aria-label': title }, form);
  box.addEventListener('close', () => box.remove());
  document.body.append(box);
  box.showModal();
}

const text = (name, label, value = '') => h('label', { class: 'field' }, label, h('input', { name, value, maxlength: 1000 }));
const who = () => text('by', 'Your name', 'page');

export function acknowledge(incident) {
  ask('Acknowledge the incident', [h('label', { class: 'field' }, 'What was it?', h('select', { name: 'verdict' }, ['real', 'false alarm', 'known'].map(v => h('option', { value: v }, v)))), text('why', 'Why (for those who come after you)'), who()],
    values => remark({ remark: 'acknowledgement', incident: incident.id, verdict: values.verdict, why: values.why, by: values.by || 'page' }));
}

export function mute(alert, now) {
  ask(`Mute ${alert.measure} of ${alert.model}`, [h('label', { class: 'field' }, 'For how long, in event time from the model’s last window on', h('select', { name: 'days' }, [['1', 'a day'], ['7', 'a week'], ['30', 'a month']].map(([v, t]) => h('option', { value: v }, t)))), text('why', 'Why'), who()],
    values => remark({ remark: 'mute', model: alert.model, measure: alert.measure, from_ts: alert.opened, until_ts: now + Number(values.days) * 864e5, why: values.why, by: values.by || 'page' }));
}

/** A mute that is withdrawn may have covered more than this incident: the dialog says what. */
function unmute(muted) {
  const scope = ['measure', 'version', 'segment', 'kind'].filter(name => muted[name]).map(name => `${name} ${muted[name]}`);
  ask(`Unmute ${muted.model}`, [h('p', {}, `${muted.by} muted ${scope.length ? scope.join(', ') : 'all alerts'} of ${muted.model} until ${when(muted.until_ts)}${muted.why ? `: ${muted.why}` : ''}. The mute ends for all of them.`)],
    () => remark({ ...muted, remark: 'mute', withdraw: true }));
}

function state(incident) {
  return [incident.acknowledged && h('span', { class: 'sub' }, `seen by ${incident.acknowledged.by}: ${incident.acknowledged.verdict ?? 'real'}${incident.acknowledged.why ? `, ${incident.acknowledged.why}` : ''} `), incident.muted && h('span', { class: 'sub' }, `muted by ${incident.muted.by} until ${when(incident.muted.until_ts)}`)];
}

const buttons = (incident, mayWrite, first) => mayWrite && h('div', { class: 'buttons' },
  h('button', { type: 'button', data: first ? { key: 'a' } : {}, onclick: () => acknowledge(incident), 'aria-label': `Acknowledge: ${incident.measure} of ${incident.model}` }, 'Ack'),
  h('button', { type: 'button', data: first ? { key: 'm' } : {}, onclick: () => incident.muted ? unmute(incident.muted) : mute(incident.alerts[0], incident.now), 'aria-label': `${incident.muted ? 'Unmute' : 'Mute'}: ${incident.measure} of ${incident.model}` }, incident.muted ? 'Unmute…' : 'Mute…'));

function others(incident) {
  const rest = incident.alerts.slice(1).map(a => a.measure + (a.segment === 'all' ? '' : ` [${a.segment}]`));
  const names = [...new Set(rest)];
  return names.length ? `with ${names.slice(0, 4).join(', ')}${incident.size > 5 ? ` and more: ${incident.size} alerts` : ''}` : '';
}

export function alertsView(data) {
  const query = place().query, first = data.span[0] ?? 0, last = Math.max(data.span[1] ?? 1, ...data.incidents.map(i => i.ended ?? 0));
  const judged = data.judged, wanted = name => query.get(name) ?? '';
  if (isReport()) {
    const incidents = data.incidents.filter(i => (!wanted('model') || i.model === wanted('model')) && (!wanted('severity') || i.severity === wanted('severity')) && (!wanted('state') || (i.ended === null) === (wanted('state') === 'open')));
    data = { ...data, incidents, total: incidents.length, alerts: incidents.reduce((n, i) => n + i.size, 0) };
  }
  return [
    h('h1', {}, count(data.total, 'incident'), h('span', { class: 'sub' }, ` of ${count(data.alerts, 'alert')}: those of one cause are one incident`)),
    h('div', { class: 'choices' },
      choice('state', 'state', [['', 'all'], ['open', 'open'], ['ended', 'ended']], query.get('state') ?? ''),
      choice('severity', 'severity', [['', 'all'], ['critical', 'critical'], ['warning', 'warning'], ['info', 'note']], query.get('severity') ?? ''),
      query.get('model') && h('span', {}, `of ${query.get('model')} `, h('a', { href: link(['alerts'], { state: query.get('state') }) }, 'of all models')),
      judged.of > 0 && h('span', { class: 'sub' }, `of the last ${count(judged.of, 'incident')} that somebody judged, ${judged.real} were real and ${judged.false} false alarms`)),
    data.incidents.length === 0 ? h('p', { class: 'notice' }, query.get('state') === 'open' ? 'Nothing is open. ✓' : 'No alerts are known.') :
      h('div', { class: 'scroll' }, h('table', { class: 'rows incidents' }, h('caption', { class: 'unseen' }, 'Incidents, open ones first'),
        h('thead', {}, h('tr', {}, ['since', 'what', 'does it matter?', `${when(first)} … ${when(last)}`, ''].map(name => h('th', { scope: 'col' }, name || h('span', { class: 'unseen' }, 'actions'))))),
        h('tbody', {}, data.incidents.map((incident, i) => h('tr', { class: incident.muted ? 'muted' : false },
          h('td', {}, when(incident.opened), h('br'), badge(incident.severity), h('br'), h('span', { class: 'sub' }, incident.ended === null ? 'open' : `ended ${when(incident.ended)}`)),
          h('td', {}, h('a', { class: 'name', href: link(['alerts', incident.alerts[0].id]), data: { focus: `i-${incident.id}` } }, sentence(incident.reason)), h('br'), h('span', { class: 'sub' }, others(incident)), state(incident)),
          h('td', {}, ['input', 'output'].includes(incident.group) && incident.kind === 'drift' && matters(incident.matters)),
          h('td', { class: 'wide' }, course(incident, [first, last])),
          h('td', {}, buttons(incident, data.may_write, i === 0))))))),
    data.total > data.incidents.length && h('p', { class: 'sub' }, `The latest ${data.incidents.length} are shown.`),
  ];
}

function finding(f) {
  const evidence = f.evidence ?? {}, before = evidence.baseline ?? {}, now = evidence.now ?? {};
  return [f.detector, num(f.score), num(f.threshold), f.p_value === undefined || f.p_value === null ? '–' : f.p_value < 1e-4 ? '< 0.0001' : num(f.p_value), f.direction ?? 'changed', before.p50 !== undefined ? `${num(before.p50)} → ${num(now.p50)}` : before.mean !== undefined ? `${num(before.mean)} → ${num(now.mean)}` : '–'];
}

function attribution(alert) {
  const found = alert.attribution;
  if (!found) return null;
  const error = alert.error;
  return h('div', { class: 'columns' },
    error && h('div', {}, h('h2', {}, 'Does it matter?'), h('p', {}, matters(alert.matters)), error.n > 0 && table('The error since the change', ['what', 'value#'], [['labels since the change', num(error.n)], [`${error.measure} before`, error.measure === 'error' ? pct(error.baseline) : num(error.baseline)], [`${error.measure} now`, error.measure === 'error' ? pct(error.now) : num(error.now)], ['tolerated rise', error.measure === 'error' ? pct(error.tolerance) : num(error.tolerance)]])),
    found.moved?.length > 0 && h('div', {}, h('h2', {}, 'What moved'), table('What moved', ['values', 'baseline#', 'now#'], found.moved.map(m => [m.name ?? `${m.above === undefined ? '' : `above ${num(m.above)} `}${m.to === undefined ? '' : `up to ${num(m.to)}`}`, pct(m.baseline), pct(m.now)]))),
    found.segments?.length > 0 && h('div', {}, h('h2', {}, 'Where it comes from'), table('Segments', ['segment', 'of the drift#', 'own values#', 'mix#'], found.segments.map(p => [p.segment, pct(p.part), pct(p.own), pct(p.mix)]))));
}

export function alertView(alert) {
  const incident = alert.about, command = `stream-monitor alerts explain ${alert.id}`;
  return [
    h('h1', {}, badge(alert.severity), ` ${alert.measure} of `, h('a', { href: link(['m', alert.model], { version: alert.version, segment: alert.segment === 'all' ? null : alert.segment }) }, alert.model)),
    h('p', { class: 'say' }, sentence(alert.reason)),
    h('p', {}, `Opened ${when(alert.opened)}, known ${when(alert.at)}, ${alert.ended === null ? 'still open' : alert.end_unread ? `ended by ${when(alert.ended)}; the record that says when expired before this page read it` : `ended ${when(alert.ended)}`}. `, state(incident)),
    buttons(incident, alert.may_write, true),
    h('p', {}, alert.measure !== 'volume' && h('a', { class: 'name', href: link(['m', alert.model, 'x', alert.measure], { version: alert.version === 'all' ? null : alert.version, segment: alert.segment === 'all' ? null : alert.segment, range: 'all' }, KEPT) }, `${alert.measure} in full`), alert.measure !== 'volume' && ' · ', h('span', { class: 'sub' }, 'every figure again, from the log: '), h('code', {}, command)),
    h('section', {}, h('h2', {}, 'What found it'), h('div', { class: 'scroll' }, table('Findings', ['detector', 'effect#', 'tolerated#', 'p#', 'direction', 'median or mean'], alert.findings.map(finding)))),
    attribution(alert),
    incident.size > 1 && h('section', {}, h('h2', {}, `The incident: ${count(incident.size, 'alert')}`), table('Alerts of the incident', ['opened', 'ended', 'measure', 'version', 'segment', 'severity'], incident.alerts.map(a => [h('a', { href: link(['alerts', a.id]) }, when(a.opened)), a.ended === null ? 'open' : when(a.ended), a.measure, a.version, a.segment, badge(a.severity)]))),
    alert.together.length > 0 && h('section', {}, h('h2', {}, 'Opened at the same time, of other causes'), table('Alerts at the same time', ['opened', 'measure', 'why'], alert.together.map(a => [h('a', { href: link(['alerts', a.id]) }, when(a.opened)), a.measure, sentence(a.reason)]))),
    h('details', { class: 'fold', data: { focus: 'records' } }, h('summary', {}, `The ${count(alert.records.length, 'record')} as published`), h('pre', { tabindex: 0 }, alert.records.map(r => JSON.stringify(r, null, 1)).join('\n\n'))),
  ];
}
