'use strict';
(() => {
const $ = id => document.getElementById(id);
const list = $('images');
if (!list) return;
// The index is small; an image's pictures are read from their own block when it is shown.
const entries = JSON.parse($('index').textContent);
const blocks = $('contents').children;
entries.forEach((entry, place) => { entry.block = blocks[place]; entry.search = entry.name.toLowerCase(); });
const contentOf = entry => JSON.parse(entry.block.textContent);

const make = (name, className, text) => {
  const node = document.createElement(name);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
};
const picture64 = (type, data, className) => {
  const image = make('img', className);
  image.alt = '';
  image.decoding = 'async';
  image.src = `data:image/${type};base64,${data}`;
  return image;
};
// What lies over the photo: map, outline of the marked defect, boxes of the regions.
const layersOf = (entry, content) => {
  const nodes = [picture64('png', content.map, 'map')];
  if (content.truth) nodes.push(picture64('png', content.truth, 'truth'));
  if (content.regions.length) {
    const svg = $('boxes').content.firstElementChild.cloneNode(true);
    svg.setAttribute('viewBox', `0 0 ${entry.width} ${entry.height}`);
    for (const pattern of [...svg.children]) {
      for (const [x, y, width, height] of content.regions) {
        const box = pattern.cloneNode();
        for (const [key, number] of Object.entries({x, y, width, height})) box.setAttribute(key, number);
        svg.append(box);
      }
      pattern.remove();
    }
    nodes.push(svg);
  }
  return nodes;
};
const itemOf = entry => {
  const content = contentOf(entry);
  const item = $('item').content.firstElementChild.cloneNode(true);
  const part = selector => item.querySelector(selector);
  part('.word').textContent = entry.verdict;
  part('.word').className = entry.verdict;
  part('.score').textContent = entry.score.toFixed(3);
  if (entry.outcome) {
    part('.outcome').textContent = `${entry.kind}: ${entry.outcome}`;
    part('.outcome').classList.toggle('anomalous', ['missed', 'false alarm'].includes(entry.outcome));
  } else part('.outcome').remove();
  part('bdi').textContent = entry.name;
  part('.pair').setAttribute('aria-label', `Enlarge ${entry.name}`);
  for (const frame of item.querySelectorAll('.frame')) frame.style.aspectRatio = `${entry.width}/${entry.height}`;
  const photo = part('.photo');
  photo.src = `data:image/jpeg;base64,${content.photo}`;
  part('.frame:last-child').append(photo.cloneNode(), ...layersOf(entry, content));
  if (content.words) item.append(make('p', '', content.words));
  if (content.notes.length) {
    const details = make('details');
    details.append(make('summary', '', 'Explanation'), ...content.notes.map(note => make('p', '', note)));
    item.append(details);
  }
  entry.node = item;
  return item;
};

// Filter, order, pages.
const form = $('filter'), pages = $('pages'), pageField = $('page');
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
if (entries.length <= 48) $('length').parentNode.remove();
const collator = new Intl.Collator(undefined, {numeric: true});
const orders = {
  high: (a, b) => b.score - a.score,
  low: (a, b) => a.score - b.score,
  name: (a, b) => collator.compare(a.name, b.name)};
let byNode = new Map();
let shown = entries, order = 'high', page = 0;
const value = id => { const field = $(id); return field ? field.value : ''; };
const length = () => +value('length') || 48;
const show = number => {
  const count = Math.max(1, Math.ceil(shown.length / length()));
  page = Math.min(Math.max(0, number), count - 1);
  for (const item of list.children) byNode.get(item).node = null;
  const items = shown.slice(page * length(), (page + 1) * length());
  list.replaceChildren(...items.map(itemOf));
  list.start = page * length() + 1;
  byNode = new Map(items.map(e => [e.node, e]));
  pages.hidden = count === 1;
  if (pageField.length !== count) {
    pageField.replaceChildren(...Array.from({length: count}, (_, n) => new Option(`${n + 1} of ${count}`, n)));
  }
  pageField.value = page;
  for (const button of pages.querySelectorAll('button')) {
    button.disabled = page + +button.dataset.by < 0 || page + +button.dataset.by >= count;
  }
  const anomalous = shown.filter(e => e.verdict === 'anomalous').length;
  $('count').textContent = `${shown.length} of ${entries.length} images, ${anomalous} anomalous` +
    (count > 1 ? `; page ${page + 1} of ${count}` : '');
};
const apply = () => {
  const words = value('name').toLowerCase().split(/\s+/).filter(Boolean);
  const verdict = value('verdict'), kind = value('kind'), set = value('set');
  const from = value('from') === '' ? -1 : +value('from'), to = value('to') === '' ? 2 : +value('to');
  if (value('order') !== order) {
    order = value('order');
    entries.sort(orders[order]);
  }
  shown = entries.filter(e =>
    words.every(w => e.search.includes(w)) &&
    (!verdict || (verdict[0] === '=' ? e.outcome === verdict.slice(1) : e.verdict === verdict)) &&
    (!kind || e.kind === kind) && (!set || e.set === set) && e.score >= from && e.score <= to);
  show(0);
};
form.hidden = false;
form.addEventListener('input', apply);
form.addEventListener('submit', event => event.preventDefault());
form.addEventListener('reset', () => setTimeout(apply));
const turn = number => {
  show(number);
  // The page's beginning, for eyes and for screen readers.
  $('count').focus({preventScroll: true});
  $('images-heading').scrollIntoView();
};
pages.addEventListener('click', event => {
  if (event.target.dataset.by) turn(page + +event.target.dataset.by);
});
pageField.addEventListener('input', event => { event.stopPropagation(); turn(+pageField.value); });

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
  const content = contentOf(entry);
  picture.replaceChildren(picture64('jpeg', content.photo, 'photo'), ...layersOf(entry, content));
  picture.dataset.width = entry.width;
  picture.dataset.height = entry.height;
  $('title').textContent = `${entry.verdict} ${entry.score.toFixed(3)} \u2013 ${entry.name}`;
  const told = [content.words, ...content.notes].filter(Boolean);
  $('where').replaceChildren(...told.map(text => make('p', '', text)));
  $('with-truth').parentNode.hidden = !content.truth;
  const place = shown.indexOf(entry);
  for (const [act, by] of [['previous', -1], ['next', 1]]) {
    const button = viewer.querySelector(`[data-act=${act}]`), isEnd = !shown[place + by];
    if (isEnd && button === document.activeElement) stage.focus();
    button.disabled = isEnd;
  }
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
  if (!current.node) show(Math.floor(shown.indexOf(current) / length()));
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
