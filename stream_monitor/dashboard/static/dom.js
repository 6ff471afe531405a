// Elements without a template language: text is always a text node, never HTML.

const SVG = 'http://www.w3.org/2000/svg';

/**
 * Set the attributes of an element and append its children. `on…` are listeners, `data` is a dataset, `position` are
 * CSS lengths by property; false, null and undefined are left out.
 * @param {Element} node
 * @param {Record<string, any>} attributes
 * @param {any[]} children
 */
function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (name === 'data') Object.assign(/** @type {HTMLElement} */ (node).dataset, value);
    else if (name === 'position') Object.assign(/** @type {HTMLElement} */ (node).style, value);
    else node.setAttribute(name, value === true ? '' : String(value));
  }
  node.append(...children.flat(Infinity).filter(child => child !== null && child !== undefined && child !== false));
  return node;
}

/** An HTML element. @param {string} tag @param {Record<string, any>} [attributes] @param {...any} children */
export const h = (tag, attributes = {}, ...children) =>
  /** @type {any} */ (fill(document.createElement(tag), attributes, children));

/** An SVG element. @param {string} tag @param {Record<string, any>} [attributes] @param {...any} children */
export const s = (tag, attributes = {}, ...children) =>
  /** @type {any} */ (fill(document.createElementNS(SVG, tag), attributes, children));

/** A table: names of columns (a name that ends with # is a column of figures) and rows of cells. */
export function table(caption, columns, rows) {
  const isFigure = columns.map(name => name.endsWith('#'));
  const head = columns.map((name, i) => h('th', { scope: 'col', class: isFigure[i] && 'num' }, name.replace(/#$/, '')));
  const body = rows.map(cells => h('tr', {}, cells.map((cell, i) => h('td', { class: isFigure[i] && 'num' }, cell))));
  return h('table', {}, h('caption', { class: 'unseen' }, caption), h('thead', {}, h('tr', {}, head)), h('tbody', {}, body));
}
