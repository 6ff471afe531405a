// The URL holds the whole state, after the #, so that the page works behind any prefix and from a file.

/** @typedef {{path: string[], query: URLSearchParams}} Place */

/** A name of the URL; one that a person has mistyped stays as it is. */
function decoded(text) {
  try { return decodeURIComponent(text); } catch { return text; }
}

/** Where the page is. @returns {Place} */
export function place() {
  const [path, query] = location.hash.replace(/^#\/?/, '').split('?');
  return { path: path.split('/').filter(Boolean).map(decoded), query: new URLSearchParams(query ?? '') };
}

/** A link: a path of names, and parameters; null takes one out. `keep` are parameters of the present URL that stay. */
export function link(path, parameters = {}, keep = []) {
  const present = place().query;
  const query = new URLSearchParams();
  for (const name of keep) if (present.has(name)) query.set(name, present.get(name) ?? '');
  for (const [name, value] of Object.entries(parameters)) {
    if (value === null || value === undefined || value === '') query.delete(name);
    else query.set(name, String(value));
  }
  const text = query.toString();
  return `#/${path.map(encodeURIComponent).join('/')}${text ? `?${text}` : ''}`;
}

/** The present path with other parameters. */
export const here = parameters => link(place().path, parameters, [...new Set(place().query.keys())]);

/** What a model's views keep when one leads to another. */
export const KEPT = ['version', 'segment', 'range', 'until', 'against', 'tz'];

const tags = new Map();
const answers = new Map();

/** The answer of the API, from the report's own data where the page is a report. */
export async function ask(path, parameters = {}) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, v]) => v !== null && v !== undefined && v !== ''));
  const url = `api/v1/${path}${query.size ? `?${query}` : ''}`;
  if (isReport()) {
    const found = report()[decodeURIComponent(path)];
    const view = parameters.measure === undefined ? found : found?.[parameters.measure];
    const differs = name => parameters[name] && view?.[name] !== undefined && view[name] !== parameters[name];
    if (view === undefined || differs('version') || differs('segment')) throw new Error('This report does not hold that view.');
    return view;
  }
  const answer = await fetch(url, { headers: tags.has(url) ? { 'If-None-Match': tags.get(url) } : {} });
  if (answer.status === 304) { tags.set(url, answer.headers.get('ETag') ?? ''); return answers.get(url); }
  if (answer.status === 401) location.assign('login');
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.error ?? `the page's server answered ${answer.status}`);
  if (tags.size > 50) { tags.clear(); answers.clear(); }
  tags.set(url, answer.headers.get('ETag') ?? '');
  answers.set(url, body);
  return body;
}

/** @type {Record<string, any> | undefined} */
let held;

/** Whether the page is a report: then it has its data with it. */
export const isReport = () => document.getElementById('report') !== null;

/** The data of a report, by path. */
export function report() {
  held ??= /** @type {Record<string, any>} */ (JSON.parse(document.getElementById('report')?.textContent ?? '{}'));
  return held;
}

/** Write a remark; throws with the reason where it was refused. */
export async function remark(body) {
  const answer = await fetch('api/v1/remarks', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) });
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.error);
}
