'use strict';
(() => {
const list = document.getElementById('images');
if (!list) return;
const $ = id => document.getElementById(id);
const entries = Array.from(list.children, node => ({
  node, score: +node.dataset.score, name: node.querySelector('bdi').textContent,
  verdict: node.dataset.verdict, outcome: node.dataset.outcome || '',
  kind: node.dataset.kind || '', set: node.dataset.set || ''}));
const byNode = new Map(entries.map(e => [e.node, e]));

// Pictures are held as text and decoded only near the window.
const show = node => {
  const photo = node.querySelector('.photo').dataset.src;
  for (const image of node.querySelectorAll('img')) image.src = image.dataset.src || photo;
};
const hide = node => {
  for (const image of node.querySelectorAll('img')) image.removeAttribute('src');
};
const observer = new IntersectionObserver(changes => {
  for (const change of changes) (change.isIntersecting ? show : hide)(change.target);
}, {rootMargin: '100% 0px'});
for (const entry of entries) observer.observe(entry.node);
addEventListener('beforeprint', () => shown.forEach(e => show(e.node)));

// Filter and order.
const form = $('filter');
const fill = (select, key) => {
  const values = [...new Set(entries.map(e => e[key]).filter(Boolean))].sort();
  if (values.length < 2) { select.parentNode.remove(); return; }
  for (const value of values) select.append(new Option(value, value));
};
fill($('kind'), 'kind');
fill($('set'), 'set');
if (!entries.some(e => e.outcome)) {
  for (const option of [...$('verdict').options]) if (option.value.startsWith('=')) option.remove();
}
const orders = {
  high: (a, b) => b.score - a.score,
  low: (a, b) => a.score - b.score,
  name: (a, b) => a.name.localeCompare(b.name, undefined, {numeric: true})};
let shown = entries, order = 'high';
const value = id => { const field = $(id); return field ? field.value : ''; };
const apply = () => {
  const words = value('name').toLowerCase().split(/\s+/).filter(Boolean);
  const verdict = value('verdict'), kind = value('kind'), set = value('set');
  const from = value('from') === '' ? -1 : +value('from'), to = value('to') === '' ? 2 : +value('to');
  if (value('order') !== order) {
    order = value('order');
    entries.sort(orders[order]);
    list.append(...entries.map(e => e.node));
  }
  shown = entries.filter(e =>
    words.every(w => e.name.toLowerCase().includes(w)) &&
    (!verdict || (verdict[0] === '=' ? e.outcome === verdict.slice(1) : e.verdict === verdict)) &&
    (!kind || e.kind === kind) && (!set || e.set === set) && e.score >= from && e.score <= to);
  const kept = new Set(shown);
  for (const entry of entries) entry.node.hidden = !kept.has(entry);
  const anomalous = shown.filter(e => e.verdict === 'anomalous').length;
  $('count').textContent = `${shown.length} of ${entries.length} images shown, ${anomalous} anomalous`;
};
form.hidden = false;
form.addEventListener('input', apply);
form.addEventListener('submit', event => event.preventDefault());
form.addEventListener('reset', () => setTimeout(apply));

// The viewer: one picture, as large as wanted.
const viewer = $('viewer'), stage = $('stage'), picture = $('picture');
let current = null, zoom = 1;
const size = () => {
  // Without a picture there are no scroll bars that would make the stage look smaller.
  picture.style.width = picture.style.height = '0';
  const [width, height] = [+picture.dataset.width, +picture.dataset.height];
  const fit = Math.min(stage.clientWidth / width, stage.clientHeight / height);
  picture.style.width = `${width * fit * zoom}px`;
  picture.style.height = `${height * fit * zoom}px`;
  $('zoom').textContent = `${Math.round(zoom * 100)} %`;
};
// Zooms and keeps the given place of the stage where it is.
const zoomTo = (wanted, x = stage.clientWidth / 2, y = stage.clientHeight / 2) => {
  const next = Math.min(16, Math.max(1, wanted));
  const [left, top] = [(stage.scrollLeft + x) / stage.scrollWidth, (stage.scrollTop + y) / stage.scrollHeight];
  zoom = next;
  size();
  stage.scrollLeft = left * stage.scrollWidth - x;
  stage.scrollTop = top * stage.scrollHeight - y;
};
const open = entry => {
  current = entry;
  const frame = entry.node.querySelector('.frame:last-child');
  show(entry.node);
  picture.replaceChildren(...Array.from(frame.children, child => child.cloneNode(true)));
  const photo = entry.node.querySelector('.photo').dataset.src;
  for (const image of picture.querySelectorAll('img')) image.src = image.dataset.src || photo;
  picture.dataset.width = frame.dataset.width;
  picture.dataset.height = frame.dataset.height;
  $('title').textContent = `${entry.verdict} ${entry.score.toFixed(3)} – ${entry.name}`;
  $('where').textContent = Array.from(entry.node.querySelectorAll('p'), p => p.textContent).join(' ');
  $('with-truth').parentNode.hidden = !picture.querySelector('.truth');
  if (!viewer.open) viewer.showModal();
  zoom = 1;
  size();
};
const step = by => {
  const next = shown[shown.indexOf(current) + by];
  if (next) open(next);
};
list.addEventListener('click', event => {
  const button = event.target.closest('.pair');
  if (button) open(byNode.get(button.closest('li')));
});
const layers = () => {
  for (const name of ['map', 'regions', 'truth']) viewer.classList.toggle(`off-${name}`, !$(`with-${name}`).checked);
};
const acts = {
  close: () => viewer.close(), previous: () => step(-1), next: () => step(1),
  in: () => zoomTo(zoom * 1.5), out: () => zoomTo(zoom / 1.5), fit: () => zoomTo(1)};
viewer.addEventListener('click', event => {
  const act = event.target.dataset.act;
  if (act) acts[act]();
});
viewer.addEventListener('change', layers);
viewer.addEventListener('close', () => {
  if (!current) return;
  current.node.scrollIntoView({block: 'nearest'});
  current.node.querySelector('.pair').focus({preventScroll: true});
});
viewer.addEventListener('keydown', event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const keys = {'+': 'in', '=': 'in', '-': 'out', '0': 'fit'};
  if (zoom === 1 || event.target !== stage) { keys.ArrowLeft = 'previous'; keys.ArrowRight = 'next'; }
  if (event.key === 'h') { $('with-map').checked = !$('with-map').checked; layers(); }
  else if (keys[event.key]) { event.preventDefault(); acts[keys[event.key]](); }
});
stage.addEventListener('wheel', event => {
  event.preventDefault();
  const box = stage.getBoundingClientRect();
  zoomTo(zoom * (event.deltaY < 0 ? 1.2 : 1 / 1.2), event.clientX - box.left, event.clientY - box.top);
}, {passive: false});
stage.addEventListener('dblclick', () => zoomTo(zoom > 1 ? 1 : 3));
let held = null;
stage.addEventListener('pointerdown', event => {
  if (event.pointerType === 'mouse' && event.button === 0) {
    held = [event.clientX + stage.scrollLeft, event.clientY + stage.scrollTop];
    stage.setPointerCapture(event.pointerId);
  }
});
stage.addEventListener('pointermove', event => {
  if (held) { stage.scrollLeft = held[0] - event.clientX; stage.scrollTop = held[1] - event.clientY; }
});
stage.addEventListener('pointerup', () => { held = null; });
stage.addEventListener('pointercancel', () => { held = null; });
addEventListener('resize', () => { if (viewer.open) size(); });
apply();
})();
