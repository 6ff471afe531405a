// The frame of the page: the bar, the view that the URL names, and its renewal when something has changed.

import { followPointer } from './charts.js';
import { h } from './dom.js';
import { setZone, span, when, zoneName } from './format.js';
import { ask, here, isReport, link, place, report } from './state.js';
import { alertsView, alertView } from './alerts.js';
import { fleetView } from './fleet.js';
import { measureView } from './measure.js';
import { modelView } from './model.js';
import { performanceView } from './performance.js';
import { reduceView } from './reduce.js';
import { rolloutsView, rolloutView } from './rollouts.js';
import { healthView, lettersView } from './service.js';

const main = /** @type {HTMLElement} */ (document.getElementById('main'));
const bar = /** @type {HTMLElement} */ (document.getElementById('bar'));
let reading = null, shown = '', busy = false, again = false, went = false, drawn = null;

const GROUPS = { labels: ['label'], users: ['feedback'], software: ['observation'] };

let pair = null;

/** A view, and with `against` in the address the same view of another version or segment, on the same times. */
async function askBoth(path, range, query) {
  const [kind, ...rest] = (query.get('against') ?? '').split(':');
  const first = await ask(path, range);
  if (!['version', 'segment'].includes(kind)) return first;
  const other = await ask(path, { ...range, version: first.version, segment: first.segment, until: first.until, [kind]: rest.join(':') }).catch(error => ({ missing: error.message }));
  if (pair?.first !== first || pair?.other !== other) pair = { first, other, both: { ...first, other, against: rest.join(':') } };
  return pair.both;
}

/** The view that a path names: a function that fetches and one that draws. */
function view(path, query) {
  const range = { version: query.get('version'), segment: query.get('segment'), range: query.get('range'), until: query.get('until') };
  const [first, model, tab, measure] = path;
  if (first === undefined) return { fetch: () => ask('fleet'), draw: fleetView, crumbs: [] };
  if (first === 'alerts' && model) return { fetch: () => ask(`alerts/${encodeURIComponent(model)}`), draw: alertView, crumbs: [['Alerts', link(['alerts'])], [model.slice(0, 8)]] };
  if (first === 'alerts') return { fetch: () => ask('incidents', Object.fromEntries(['state', 'severity', 'model'].map(k => [k, query.get(k)]))), draw: alertsView, crumbs: [['Alerts']] };
  if (first === 'rollouts' && model && tab) return { fetch: () => ask(`rollouts/${encodeURIComponent(model)}/${encodeURIComponent(tab)}`), draw: rolloutView, crumbs: [['Rollouts', link(['rollouts'])], [tab]] };
  if (first === 'rollouts') return { fetch: () => ask('rollouts'), draw: rolloutsView, crumbs: [['Rollouts']] };
  if (first === 'dead-letters') return { fetch: () => ask('dead-letters'), draw: lettersView, crumbs: [['Dead letters']] };
  if (first === 'health') return { fetch: () => ask('health'), draw: healthView, crumbs: [['Health of the page']] };
  if (first !== 'm' || !model) return { fetch: async () => { throw new Error('There is no such view.'); }, draw: () => [], crumbs: [] };
  const name = encodeURIComponent(model);
  const up = [model, link(['m', model], {}, ['version', 'segment', 'range', 'until', 'tz'])];
  if (tab === 'x' && measure !== undefined) return { fetch: () => askBoth(`measures/${name}`, { ...range, measure }, query), draw: measureView, crumbs: [up, [measure]] };
  if (tab === 'performance') return { fetch: () => ask(`models/${name}/performance`, range), draw: performanceView, crumbs: [up, ['performance']] };
  if (tab === 'reduce') return { fetch: () => ask(`models/${name}/reduce`, range), draw: reduceView, crumbs: [up, ['reduce']] };
  return { fetch: () => askBoth(`models/${name}`, range, query), draw: data => modelView(data, tab ? GROUPS[tab] : undefined, tab), crumbs: tab ? [up, [tab]] : [[model]] };
}

/** Draw the view of the URL; `moved` says that the URL has changed. Data that have not changed leave the page as it is. */
async function show(moved) {
  went ||= moved;
  if (busy) { again = true; return; }
  busy = true;
  do {
    again = false;
    await draw();
  } while (again);
  busy = false;
}

async function draw() {
  const { path, query } = place(), hash = location.hash;
  setZone(query.get('tz') === 'local');
  const wanted = view(path, query), key = hash + zoneName();
  let data = null, failed = null;
  try { data = await wanted.fetch(); } catch (error) { failed = error; }
  if (location.hash !== hash) { again = true; return; }
  if (failed === null ? (data !== drawn || key !== shown) && (went || !isInUse()) : went || !(failed instanceof TypeError) || drawn === null) {
    try {
      renew(failed === null ? wanted.draw(data) : problem(failed));
      if (data?.reading) reading = data.reading;
      for (const size of [data?.size, ...(data?.models ?? []).map(row => row.size)]) if (size > 0) shortest = Math.min(shortest, size);
      [drawn, shown] = failed === null ? [data, key] : [null, ''];
    } catch (error) { renew(problem(error)); [drawn, shown] = [null, '']; }
  }
  frame(wanted.crumbs);
  document.title = [...wanted.crumbs.map(c => c[0]).reverse(), 'stream_monitor'].join(' · ');
  document.documentElement.dataset.ready = hash || '#/';
  if (went) { main.focus({ preventScroll: true }); scrollTo(0, 0); }
  went = false;
}

const problem = error => [h('h1', {}, 'Nothing to show here'), h('p', { class: 'say', role: 'alert' }, error instanceof Error ? error.message : String(error)), h('p', {}, h('a', { href: link([]) }, 'All models'))];

/** Put a view in the place of the present one. What is focused stays so, and on one view what is unfolded. */
function renew(parts) {
  const focused = document.activeElement?.getAttribute('data-focus');
  const open = went ? [] : [...main.querySelectorAll('details[open]')].map(fold => fold.getAttribute('data-focus'));
  main.replaceChildren(...[parts].flat(Infinity).filter(part => part !== null && part !== undefined && part !== false));
  for (const fold of main.querySelectorAll('details')) if (open.includes(fold.getAttribute('data-focus'))) fold.open = true;
  if (focused) /** @type {HTMLElement | null} */ (main.querySelector(`[data-focus="${CSS.escape(focused)}"]`))?.focus();
}

/** Whether a person is in the middle of something that a redraw would take away. */
const isInUse = () => document.querySelector('dialog[open]') !== null || (document.activeElement instanceof HTMLElement && ['SELECT', 'INPUT', 'TEXTAREA'].includes(document.activeElement.tagName) && main.contains(document.activeElement)) || String(getSelection()) !== '';

/** How far the page is, in words. */
function status() {
  if (isReport()) return ['', `a report, made ${when(report().made)}`];
  if (!reading) return ['wait', 'connecting'];
  const since = span(Date.now() - reading.since * 1000);
  if (reading.state === 'away') return ['away', `Kafka is away for ${since}: ${reading.reason}`];
  if (reading.state === 'reading') return ['wait', `reading, ${Number(reading.behind).toLocaleString('en')} records to go`];
  return reading.state === 'live' ? ['live', reading.newest ? `live, newest record ${span(Math.max(0, Date.now() - reading.newest))} ago` : 'live, no records yet'] : ['wait', 'connecting'];
}

let shortest = Infinity;

/** Whether nothing has come for three of the shortest windows and a minute: then what is shown is old. */
function isStale() {
  return !isReport() && reading?.state === 'live' && reading.newest > 0 && Date.now() - reading.newest > 3 * shortest + 60_000;
}

/** The bar: where one is, other views, and the state of the reader. */
function frame(crumbs) {
  const [kind, text] = status();
  const dark = document.documentElement.dataset.theme === 'dark' || (!document.documentElement.dataset.theme && matchMedia('(prefers-color-scheme: dark)').matches);
  bar.replaceChildren(
    h('a', { href: link([]), class: 'brand' }, 'stream_monitor'),
    h('nav', { 'aria-label': 'Where' }, [['Fleet', link([])], ...crumbs].map(([name, href], i, all) => [i ? h('span', { 'aria-hidden': 'true' }, ' / ') : '', href && i < all.length - 1 ? h('a', { href }, name) : h('span', { 'aria-current': 'page' }, name)])),
    h('span', { class: 'grow' }),
    h('a', { href: link(['alerts'], { state: 'open' }) }, 'Alerts'),
    h('a', { href: link(['rollouts']) }, 'Rollouts'),
    h('a', { href: link(['dead-letters']) }, 'Dead letters'),
    h('span', { role: 'status', class: `state ${kind}`, title: text }, isReport() ? text : h('a', { href: link(['health']) }, h('i', { 'aria-hidden': 'true' }), text)),
    h('a', { href: here({ tz: place().query.get('tz') === 'local' ? null : 'local' }), title: 'Times in UTC or in the zone of this machine (key t)' }, zoneName()),
    h('button', { type: 'button', 'aria-label': dark ? 'Light theme' : 'Dark theme', title: 'Key d', onclick: toggleTheme }, '◐'),
    h('button', { type: 'button', 'aria-label': 'Keys', title: 'Key ?', onclick: help }, '?'),
    isStale() ? h('p', { class: 'stale', role: 'alert' }, `▲ No record has come for ${span(Date.now() - reading.newest)}. What is shown is old: are the workers running? `, h('code', {}, 'stream-monitor status'), ' tells.') : '');
}

function toggleTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  root.dataset.theme = dark ? 'light' : 'dark';
  remember(root.dataset.theme);
  frame(view(place().path, place().query).crumbs);
}

/** The theme is the only thing that stays in the browser. */
function remember(theme) {
  try { localStorage.setItem('theme', theme); } catch (error) { console.info('the theme is not kept', error); }
}

const KEYS = [['/', 'filter'], ['j, k', 'next and previous row'], ['Enter', 'open the row'], ['u', 'up'], ['a', 'acknowledge (alert)'], ['m', 'mute (alert)'], ['[ and ]', 'shorter and longer range'], ['t', 'UTC or local times'], ['d', 'dark or light'], ['?', 'this list']];

function help() {
  const open = document.querySelector('dialog.keys-list');
  if (open) { open.remove(); return; }
  const box = h('dialog', { class: 'keys-list', 'aria-label': 'Keys' }, h('h2', {}, 'Keys'), h('dl', {}, KEYS.map(([key, what]) => [h('dt', {}, h('kbd', {}, key)), h('dd', {}, what)])), h('button', { type: 'button', onclick: () => box.remove() }, 'Close'));
  document.body.append(box);
  box.showModal();
  box.addEventListener('close', () => box.remove());
}

const RANGES = ['1h', '6h', '1d', '7d', '30d', 'all'];

document.addEventListener('keydown', event => {
  const typing = event.target instanceof HTMLElement && ['INPUT', 'SELECT', 'TEXTAREA'].includes(event.target.tagName);
  if (typing || event.ctrlKey || event.metaKey || event.altKey || (document.querySelector('dialog[open]') && event.key !== '?')) return;
  const { path, query } = place();
  const rows = [...main.querySelectorAll('a.name')].filter(a => a.getClientRects().length);
  const at = rows.indexOf(/** @type {Element} */ (document.activeElement));
  const step = { '[': -1, ']': 1 }[event.key];
  switch (event.key) {
    case '/': /** @type {HTMLElement | null} */ (main.querySelector('input[type=search]'))?.focus(); break;
    case 'j': /** @type {HTMLElement | undefined} */ (rows[Math.min(at + 1, rows.length - 1)])?.focus(); break;
    case 'k': /** @type {HTMLElement | undefined} */ (rows[Math.max(at - 1, 0)])?.focus(); break;
    case 'u': location.hash = path[2] === 'x' || path.length > 2 ? link(['m', path[1]], {}, ['version', 'segment', 'range', 'until', 'tz']) : path.length > 1 && path[0] === 'alerts' ? link(['alerts']) : link([]); break;
    case 'a': case 'm': /** @type {HTMLElement | null} */ (main.querySelector(`[data-key="${event.key}"]`))?.click(); break;
    case 't': location.hash = here({ tz: query.get('tz') === 'local' ? null : 'local' }); break;
    case 'd': toggleTheme(); break;
    case '?': help(); break;
    default:
      if (step === undefined || path[0] !== 'm') return;
      location.hash = here({ range: RANGES[Math.min(RANGES.length - 1, Math.max(0, RANGES.indexOf(query.get('range') ?? '1d') + step))] });
  }
  event.preventDefault();
});

/** Follow the changes. A hidden tab closes its stream: browsers allow six connections to a server. */
function follow() {
  let stream = null, last = 0, timer = 0, retry = 0;
  const soon = () => { const wait = Math.max(0, last + 1000 - Date.now()); clearTimeout(timer); timer = setTimeout(() => { last = Date.now(); show(false); }, wait); };
  const open = () => {
    clearTimeout(retry);
    stream = new EventSource('api/v1/events');
    stream.onmessage = event => { ({ reading } = JSON.parse(event.data)); soon(); };
    stream.onerror = () => {
      // A stream that was refused, because too many are open or a proxy has no answer, stays closed: ask, and try again.
      if (stream?.readyState === EventSource.CLOSED) { soon(); clearTimeout(retry); retry = setTimeout(open, 5000); }
      reading = reading && { ...reading, state: 'away', reason: 'the page’s server does not answer', since: reading.state === 'away' ? reading.since : Date.now() / 1000 };
      frame(view(place().path, place().query).crumbs);
    };
  };
  document.addEventListener('visibilitychange', () => { if (document.hidden) { stream?.close(); stream = null; clearTimeout(retry); } else if (!stream) { open(); soon(); } });
  open();
  setInterval(() => { if (!document.hidden) frame(view(place().path, place().query).crumbs); }, 5000);
}

try { const kept = localStorage.getItem('theme'); if (kept) document.documentElement.dataset.theme = kept; } catch (error) { console.info('no theme is kept', error); }
document.getElementById('skip')?.addEventListener('click', event => { event.preventDefault(); main.focus(); });
addEventListener('hashchange', () => show(true));
followPointer(main);
await show(true);
if (!isReport()) follow();
