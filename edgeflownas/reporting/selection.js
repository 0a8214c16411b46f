"use strict";

// The space: every subnet's numbers, in lexicographic order of codes, so that a row and a code are the same thing.
const space = JSON.parse(document.getElementById("space").textContent);
const DECODERS = { f4: Float32Array, f8: Float64Array, u4: Uint32Array };
for (const column of space.columns) {
  const bytes = Uint8Array.from(atob(column.data), (letter) => letter.charCodeAt(0));
  column.values = new DECODERS[column.type](bytes.buffer);
  delete column.data;
}
const columns = new Map(space.columns.map((column) => [column.key, column]));
const counts = space.blocks.map((block) => block.options.length);
const strides = counts.map((_, block) => counts.slice(block + 1).reduce((product, count) => product * count, 1));
const size = strides[0] * counts[0];
const digit = (row, block) => Math.floor(row / strides[block]) % counts[block];
const digitsOf = (row) => counts.map((_, block) => digit(row, block));
const codeOf = (row) => digitsOf(row).join(",");
const rowOf = (digits) => digits.reduce((row, value, block) => row + Number(value) * strides[block], 0);
const allRows = Uint32Array.from({ length: size }, (_, row) => row);
const published = new Set(space.front);

const byId = (id) => document.getElementById(id);
const escaped = (text) => String(text).replace(/[&<>"]/g, (mark) => `&#${mark.charCodeAt(0)};`);
const plain = (value, digits) => value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
const signed = (value, digits) => (value < 0 ? "−" : "+") + plain(Math.abs(value), digits);
const unitOf = (column) => (column.unit === "M" ? " million" : column.unit === "%" ? "%" : column.unit && ` ${column.unit}`);
const shown = (column, row) => plain(column.values[row] * column.scale, column.digits) + unitOf(column);

const costName = columns.get(space.cost).label;

// What is shown now.
const state = { across: byId("across").value, up: byId("up").value, colour: "", matched: null, view: null, chosen: null, hovered: null };
const column = (axis) => columns.get(state[axis]);
const matches = (row) => state.matched === null || state.matched[row] === 1;

// --- Filter -----------------------------------------------------------------------------------------------------

// Which subnets a filter finds: null for all, or 1 per row that all of its words hold of. Throws what is wrong.
function found(text) {
  const words = text.trim().split(/\s+/).filter(Boolean);
  if (!words.length) return null;
  const allowed = counts.map((count) => Array(count).fill(true));
  let onFront = false;
  const keep = (block, options) => allowed[block].forEach((_, option) => (allowed[block][option] &&= options.has(option)));
  for (const word of words) {
    const [name, wanted] = word.split(/=(.*)/);
    if (word.toLowerCase() === "front") onFront = true;
    else if (wanted !== undefined) {
      const block = space.blocks.findIndex((other) => other.name.toLowerCase() === name.toLowerCase());
      if (block < 0) throw new Error(`no block ${name}: there are ${space.blocks.map((other) => other.name).join(", ")}`);
      keep(block, new Set(wanted.split(",").map((option) => optionOf(block, option))));
    } else {
      const digits = [...word.replaceAll(",", "")];
      if (digits.length !== counts.length || !/^[0-9*]+$/.test(digits.join("")))
        throw new Error(`${word}: expected BLOCK=OPTION, front, or a code of ${counts.length} digits with * for any`);
      digits.forEach((value, block) => {
        if (value === "*") return;
        if (Number(value) >= counts[block]) throw new Error(`${word}: ${space.blocks[block].name} has digits 0 to ${counts[block] - 1}`);
        keep(block, new Set([Number(value)]));
      });
    }
  }
  const rows = new Uint8Array(size);
  for (let row = 0; row < size; row++)
    rows[row] = counts.every((_, block) => allowed[block][digit(row, block)]) && (!onFront || published.has(row)) ? 1 : 0;
  return rows;
}

// The digit that a word means: an option as it is shown, its value, or # and the digit.
function optionOf(block, word) {
  const { name, options, values } = space.blocks[block];
  const digits = options.map((_, option) => `#${option}`);
  for (const names of [options, values.map(String), digits]) {
    const option = names.findIndex((other) => other.toLowerCase() === word.toLowerCase());
    if (option >= 0) return option;
  }
  throw new Error(`${name} has no ${word || "empty option"}: it has ${options.join(", ")}, or by digit ${digits.join(", ")}`);
}

function applyFilter() {
  const [input, output] = [byId("filter"), byId("found")];
  try {
    state.matched = found(input.value);
    const count = state.matched === null ? size : state.matched.reduce((sum, one) => sum + one, 0);
    output.textContent = `${plain(count, 0)} of ${plain(size, 0)}`;
    output.className = "";
    input.removeAttribute("aria-invalid");
  } catch (error) {
    output.textContent = error.message;
    output.className = "wrong";
    input.setAttribute("aria-invalid", "true");
  }
  draw();
}

// --- Fronts -----------------------------------------------------------------------------------------------------

// The rows that no other is better than in two columns, from left to right; of `rows`, or of all.
function frontOf(x, y, rows = null) {
  const order = rows ?? allRows.slice();
  order.sort((a, b) => x[a] - x[b] || y[a] - y[b] || a - b);
  const front = [];
  let best = Infinity;
  for (const row of order) {
    if (y[row] < best) {
      front.push(row);
      best = y[row];
    }
  }
  return front;
}

const remembered = new Map();
function shownFronts() {
  const [x, y] = [column("across").values, column("up").values];
  const key = `${state.across} ${state.up}`;
  if (!remembered.has(key)) remembered.set(key, frontOf(x, y));
  const whole = remembered.get(key);
  if (state.matched === null) return { whole, part: null };
  const rows = [];
  for (let row = 0; row < size; row++) if (state.matched[row]) rows.push(row);
  return { whole, part: frontOf(x, y, rows) };
}

// --- Plot -------------------------------------------------------------------------------------------------------

const [points, marks] = [byId("points"), byId("marks")];
const margin = { left: 62, right: 16, top: 12, bottom: 44 };
const at = { x: new Float32Array(size), y: new Float32Array(size) };
let fronts = { whole: [], part: null };
let [width, height, hidden] = [0, 0, 0];

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const inner = () => ({ width: width - margin.left - margin.right, height: height - margin.top - margin.bottom });

// Without spread, something around the one value.
function padded(low, high) {
  const pad = (high - low) * 0.04 || Math.abs(high) * 0.05 || 1;
  return [low - pad, high + pad];
}

function rangeOf(values, rows) {
  let [low, high] = [Infinity, -Infinity];
  for (const row of rows) {
    low = Math.min(low, values[row]);
    high = Math.max(high, values[row]);
  }
  return padded(low, high);
}

// Where a hundredth of the subnets is so far away that nothing could be told of the others, the others alone.
function firstRange(values) {
  const sorted = values.slice().sort();
  const [low, most, high] = [sorted[0], sorted[Math.floor(0.99 * (size - 1))], sorted[size - 1]];
  return high - low > 4 * (most - low) && most > low ? padded(low, most) : padded(low, high);
}

const wholeView = (rows = allRows) => ({ x: rangeOf(column("across").values, rows), y: rangeOf(column("up").values, rows) });
const toX = (value) => margin.left + ((value - state.view.x[0]) / (state.view.x[1] - state.view.x[0])) * inner().width;
const toY = (value) => height - margin.bottom - ((value - state.view.y[0]) / (state.view.y[1] - state.view.y[0])) * inner().height;
const fromX = (x) => state.view.x[0] + ((x - margin.left) / inner().width) * (state.view.x[1] - state.view.x[0]);
const fromY = (y) => state.view.y[0] + ((height - margin.bottom - y) / inner().height) * (state.view.y[1] - state.view.y[0]);
const inside = (x, y) => x >= margin.left - 1 && x <= width - margin.right + 1 && y >= margin.top - 1 && y <= height - margin.bottom + 1;

// On a tick: never −0, and millions in short.
function tickText(value, digits) {
  if (Math.abs(value) >= 1e6) return value.toLocaleString("en", { notation: "compact", maximumSignificantDigits: 4 });
  return plain(value || 0, digits);
}

// Round numbers from `low` to `high`, about `many` of them, and the digits that they need.
function ticks(low, high, many) {
  const rough = (high - low) / many;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough);
  const values = [];
  for (let index = Math.ceil(low / step); index * step <= high; index++) values.push(index * step);
  return { values, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}

function fitted(canvas) {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = '12px system-ui, "Segoe UI", "DejaVu Sans", sans-serif';
  return context;
}

function clipped(context, paint) {
  context.save();
  context.beginPath();
  context.rect(margin.left, margin.top, inner().width, inner().height);
  context.clip();
  paint();
  context.restore();
}

function axes(context) {
  const [x, y] = [column("across"), column("up")];
  const name = (axis) => axis.label + (axis.unit === "M" ? " (millions)" : axis.unit ? ` (${axis.unit})` : "");
  context.strokeStyle = colour("line");
  context.fillStyle = colour("soft");
  context.lineWidth = 1;
  context.textAlign = "center";
  const across = ticks(state.view.x[0] * x.scale, state.view.x[1] * x.scale, inner().width / 90);
  for (const value of across.values) {
    const place = Math.round(toX(value / x.scale)) + 0.5;
    context.beginPath();
    context.moveTo(place, margin.top);
    context.lineTo(place, height - margin.bottom);
    context.stroke();
    context.fillText(tickText(value, across.digits), place, height - margin.bottom + 17);
  }
  context.textAlign = "right";
  const up = ticks(state.view.y[0] * y.scale, state.view.y[1] * y.scale, inner().height / 55);
  for (const value of up.values) {
    const place = Math.round(toY(value / y.scale)) + 0.5;
    context.beginPath();
    context.moveTo(margin.left, place);
    context.lineTo(width - margin.right, place);
    context.stroke();
    context.fillText(tickText(value, up.digits), margin.left - 7, place + 4);
  }
  context.fillStyle = colour("ink");
  context.textAlign = "right";
  context.fillText(`${name(x)} →`, width - margin.right, height - 8);
  context.save();
  context.translate(13, margin.top);
  context.rotate(-Math.PI / 2);
  context.fillText(`${name(y)} →`, 0, 0);
  context.restore();
}

// A line across the plot at a value that is no subnet's, with its words.
function guide(context, axis, value, words) {
  const [place, low, high] = axis === "x" ? [toX(value), margin.left, width - margin.right] : [toY(value), margin.top, height - margin.bottom];
  if (place < low || place > high) return;
  context.save();
  context.setLineDash([2, 4]);
  context.strokeStyle = context.fillStyle = colour("soft");
  context.beginPath();
  context.moveTo(axis === "x" ? place : margin.left, axis === "x" ? margin.top : place);
  context.lineTo(axis === "x" ? place : width - margin.right, axis === "x" ? height - margin.bottom : place);
  context.stroke();
  context.setLineDash([]);
  // Beside the line, on its left where there is no room on its right.
  const fits = place + 5 + context.measureText(words).width <= width - margin.right;
  context.textAlign = axis === "x" && fits ? "left" : "right";
  context.strokeStyle = colour("card");
  context.lineWidth = 4;
  context.lineJoin = "round";
  const where = axis === "x" ? [fits ? place + 5 : place - 5, height - margin.bottom - 7] : [width - margin.right - 6, place - 6];
  context.strokeText(words, ...where);
  context.fillText(words, ...where);
  context.restore();
}

// A point as a small square of coverages, in device pixels.
function disc(radius) {
  const half = Math.ceil(radius);
  const cover = [];
  for (let down = -half; down <= half; down++)
    for (let right = -half; right <= half; right++) {
      const part = Math.min(1, Math.max(0, radius + 0.5 - Math.hypot(right, down)));
      if (part) cover.push({ right, down, part });
    }
  return cover;
}

// Painted pixel by pixel: twenty times as fast as the canvas's own drawing, of which every point would be one call.
class Painter {
  constructor() {
    const ratio = window.devicePixelRatio || 1;
    this.ratio = ratio;
    this.layer = document.createElement("canvas");
    [this.layer.width, this.layer.height] = [points.width, points.height];
    this.context = this.layer.getContext("2d");
    this.image = this.context.createImageData(points.width, points.height);
  }

  point(x, y, cover, [red, green, blue], opacity) {
    const { data, width: wide, height: tall } = this.image;
    const [left, top] = [Math.round(x * this.ratio), Math.round(y * this.ratio)];
    for (const { right, down, part } of cover) {
      const [across, line] = [left + right, top + down];
      if (across < 0 || line < 0 || across >= wide || line >= tall) continue;
      const place = 4 * (line * wide + across);
      const added = opacity * part;
      const kept = (data[place + 3] / 255) * (1 - added);
      const total = added + kept;
      data[place] = (red * added + data[place] * kept) / total;
      data[place + 1] = (green * added + data[place + 1] * kept) / total;
      data[place + 2] = (blue * added + data[place + 2] * kept) / total;
      data[place + 3] = 255 * total;
    }
  }

  putOnto(context) {
    this.context.putImageData(this.image, 0, 0);
    context.drawImage(this.layer, 0, 0, width, height);
  }
}

const channels = (name) => [1, 3, 5].map((place) => parseInt(colour(name).slice(place, place + 2), 16));

function drawPoints() {
  const context = fitted(points);
  axes(context);
  const [x, y] = [column("across").values, column("up").values];
  const [scaleX, scaleY] = [inner().width / (state.view.x[1] - state.view.x[0]), inner().height / (state.view.y[1] - state.view.y[0])];
  let visible = 0;
  for (let row = 0; row < size; row++) {
    at.x[row] = margin.left + (x[row] - state.view.x[0]) * scaleX;
    at.y[row] = height - margin.bottom - (y[row] - state.view.y[0]) * scaleY;
    visible += inside(at.x[row], at.y[row]) ? 1 : 0;
  }
  hidden = size - visible;
  const radius = visible > 6000 ? 1.5 : visible > 1000 ? 2 : visible > 200 ? 2.6 : 3.4;
  const opacity = visible > 6000 ? 0.45 : visible > 1000 ? 0.65 : 0.9;
  const block = state.colour === "" ? null : Number(state.colour);
  const fills = block === null ? [channels("cloud")] : space.blocks[block].options.map((_, option) => channels(`option${option % 6}`));
  const faint = channels("cost");
  const painter = new Painter();
  const cover = disc(radius * painter.ratio);
  const paint = (row, fill, strength) => {
    if (inside(at.x[row], at.y[row])) painter.point(at.x[row], at.y[row], cover, fill, strength);
  };
  if (state.matched !== null) for (const row of allRows) if (!state.matched[row]) paint(row, faint, 0.14);
  // In an order that mixes the colours, or the last option would hide the others.
  for (let index = 0, row = 0; index < size; index++, row = (row + mixing) % size)
    if (matches(row)) paint(row, fills[block === null ? 0 : digit(row, block)], opacity);
  clipped(context, () => painter.putOnto(context));
  if (state.up === "epe") guide(context, "y", space.zero, "predicting no motion");
  if (state.across === "epe") guide(context, "x", space.zero, "predicting no motion");
  if (space.budget !== null && state.across === space.cost) guide(context, "x", space.budget, "budget");
  if (space.budget !== null && state.up === space.cost) guide(context, "y", space.budget, "budget");
}

// A step that shares no factor with the number of subnets goes through all of them.
const mixing = (() => {
  const divisor = (a, b) => (b ? divisor(b, a % b) : a);
  let step = Math.max(1, Math.round(size * 0.618));
  while (divisor(step, size) !== 1) step++;
  return step;
})();

function steps(context, rows, style, dash, thickness) {
  if (!rows.length) return;
  context.save();
  context.strokeStyle = style;
  context.lineWidth = thickness;
  context.setLineDash(dash);
  context.beginPath();
  context.moveTo(at.x[rows[0]], margin.top - 20);
  rows.forEach((row, index) => {
    if (index) context.lineTo(at.x[row], at.y[rows[index - 1]]);
    context.lineTo(at.x[row], at.y[row]);
  });
  context.lineTo(width, at.y[rows.at(-1)]);
  context.stroke();
  context.restore();
}

function dot(context, row, radius, fill, line) {
  context.beginPath();
  context.arc(at.x[row], at.y[row], radius, 0, 2 * Math.PI);
  if (fill) {
    context.fillStyle = fill;
    context.fill();
  }
  if (line) {
    context.strokeStyle = line;
    context.stroke();
  }
}

function drawMarks() {
  const context = fitted(marks);
  const [ink, card, front, pick] = ["ink", "card", "front", "pick"].map(colour);
  const here = space.picks.filter(({ row }) => inside(at.x[row], at.y[row]));
  clipped(context, () => {
    steps(context, fronts.whole, front, fronts.part ? [3, 4] : [], fronts.part ? 1 : 1.4);
    if (fronts.part) steps(context, fronts.part, front, [], 1.6);
    context.lineWidth = 1;
    for (const row of space.front) {
      context.globalAlpha = matches(row) ? 1 : 0.35;
      dot(context, row, 3.2, front, card);
    }
    context.globalAlpha = 1;
    if (state.chosen !== null) {
      context.save();
      context.setLineDash([4, 4]);
      context.strokeStyle = pick;
      context.beginPath();
      context.moveTo(at.x[state.chosen], height);
      context.lineTo(at.x[state.chosen], at.y[state.chosen]);
      context.lineTo(0, at.y[state.chosen]);
      context.stroke();
      context.restore();
    }
  });
  for (const { row, mark } of here) {
    context.save();
    context.translate(at.x[row], at.y[row]);
    context.lineWidth = 2;
    context.lineJoin = "round";
    context.strokeStyle = card;
    context.fillStyle = pick;
    const path = new Path2D(mark);
    context.stroke(path);
    context.fill(path);
    context.restore();
  }
  if (state.chosen !== null && inside(at.x[state.chosen], at.y[state.chosen])) {
    context.lineWidth = 4.5;
    dot(context, state.chosen, 9, null, card);
    context.lineWidth = 2.2;
    dot(context, state.chosen, 9, null, pick);
  }
  if (state.hovered !== null && inside(at.x[state.hovered], at.y[state.hovered])) {
    context.lineWidth = 1.5;
    dot(context, state.hovered, 5.5, null, ink);
  }
  labels(context, here, ink, card);
  if (drag?.framing) {
    const [left, top] = [Math.min(drag.x, drag.toX), Math.min(drag.y, drag.toY)];
    const [wide, tall] = [Math.abs(drag.toX - drag.x), Math.abs(drag.toY - drag.y)];
    context.globalAlpha = 0.12;
    context.fillStyle = pick;
    context.fillRect(left, top, wide, tall);
    context.globalAlpha = 1;
    context.lineWidth = 1;
    context.strokeStyle = pick;
    context.strokeRect(left + 0.5, top + 0.5, wide, tall);
  }
}

// The roles beside their marks: each where it covers no other, and nothing of the plot's edge.
function labels(context, picks, ink, card) {
  const byRow = new Map();
  for (const { row, role } of picks) byRow.set(row, [...(byRow.get(row) ?? []), role]);
  const taken = [];
  context.save();
  context.font = '600 12px system-ui, "Segoe UI", "DejaVu Sans", sans-serif';
  context.lineJoin = "round";
  context.lineWidth = 3.5;
  context.strokeStyle = card;
  context.fillStyle = ink;
  // From the top down; a label that would leave the plot is pushed back into it.
  for (const [row, roles] of [...byRow].sort((a, b) => at.y[a[0]] - at.y[b[0]])) {
    const words = roles.join(", ");
    const wide = context.measureText(words).width;
    const places = [[12, -8], [-12 - wide, -8], [12, 20], [-12 - wide, 20], [-wide / 2, -16], [-wide / 2, 26]].map(([right, down]) => {
      const left = Math.max(margin.left + 2, Math.min(at.x[row] + right, width - margin.right - 2 - wide));
      const bottom = Math.max(margin.top + 15, Math.min(at.y[row] + down + 4, height - margin.bottom - 2));
      return { left, top: bottom - 15, right: left + wide, bottom };
    });
    const covers = (box, other) => box.left < other.right && box.right > other.left && box.top < other.bottom && box.bottom > other.top;
    const itself = { left: at.x[row] - 8, right: at.x[row] + 8, top: at.y[row] - 8, bottom: at.y[row] + 8 };
    const free = (box) => ![...taken, itself].some((other) => covers(box, other));
    const box = places.find(free) ?? places[0];
    taken.push(box);
    context.strokeText(words, box.left, box.bottom - 4);
    context.fillText(words, box.left, box.bottom - 4);
  }
  context.restore();
}

function legend() {
  const entry = (kind, tone, words) => `<span><i class="${kind}" style="--tone:${tone}"></i>${escaped(words)}</span>`;
  const block = state.colour === "" ? null : space.blocks[Number(state.colour)];
  const usual = [state.across, state.up].sort().join() === [space.cost, "epe"].sort().join();
  const cloud = block ? block.options.map((option, index) => entry("", `var(--option${index % 6})`, `${block.name}=${option}`)) : [entry("", "var(--cloud)", "a subnet")];
  const lines = fronts.part
    ? [entry("line dashed", "var(--front)", "front of all"), entry("line", "var(--front)", "front of what the filter finds")]
    : [usual ? "" : entry("line", "var(--front)", "front in these axes")];
  const beyond = hidden ? `<span>${plain(hidden, 0)} outside the plot</span>` : "";
  byId("legend").innerHTML = [...cloud, entry("", "var(--front)", `on the front of EPE and ${costName}`), ...lines, beyond].join("");
}

function draw() {
  if (!width || !height) return;
  state.view ??= { x: firstRange(column("across").values), y: firstRange(column("up").values) };
  fronts = shownFronts();
  drawPoints();
  drawMarks();
  legend();
  const total = state.matched === null ? size : state.matched.reduce((sum, one) => sum + one, 0);
  marks.setAttribute("aria-label", `${column("up").label} against ${column("across").label} of ${plain(total, 0)} subnets`);
}

// --- Choosing ---------------------------------------------------------------------------------------------------

function nearest(x, y, reach) {
  let [best, row] = [reach * reach, null];
  for (let candidate = 0; candidate < size; candidate++) {
    if (!matches(candidate) || !inside(at.x[candidate], at.y[candidate])) continue;
    // Of what is equally near, what is marked.
    const favour = published.has(candidate) ? 9 : 0;
    const distance = (at.x[candidate] - x) ** 2 + (at.y[candidate] - y) ** 2 - favour;
    if (distance < best) [best, row] = [distance, candidate];
  }
  return row;
}

const extent = new Map(space.columns.map(({ key, values }) => {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) [low, high] = [Math.min(low, value), Math.max(high, value)];
  return [key, high - low || 1];
}));

// The point of the front that is nearest in EPE and cost, both scaled to what the space spans.
function nearestOnFront(row) {
  const distance = (other) => ["epe", space.cost].reduce((sum, key) => sum + ((columns.get(key).values[row] - columns.get(key).values[other]) / extent.get(key)) ** 2, 0);
  return space.front.reduce((best, other) => (distance(other) < distance(best) ? other : best));
}

function differences(from, to) {
  const lines = [...new Set(["epe", space.cost, "macs", "params"])].map((key) => {
    const { label, values, scale, digits, unit } = columns.get(key);
    const change = values[to] - values[from];
    const share = values[from] ? ` (${signed((100 * change) / values[from], 1)}%)` : "";
    const kind = change < 0 ? "good" : change > 0 ? "bad" : "";
    return `<dt>${escaped(label)}</dt><dd class="${kind}">${signed(change * scale, digits)}${unitOf({ unit })}${share}</dd>`;
  });
  const changed = space.blocks.flatMap(({ name, options }, block) => (digit(from, block) === digit(to, block) ? [] : [`${name} ${options[digit(from, block)]} → ${options[digit(to, block)]}`]));
  return `<dl class="numbers">${lines.join("")}</dl><p class="changes">${escaped(changed.join(", "))}</p>`;
}

const link = (row) => `<button type="button" class="code" data-row="${codeOf(row)}">${codeOf(row)}</button>`;

function against(row) {
  const place = space.front.indexOf(row);
  if (place < 0) {
    const [epe, cost] = [columns.get("epe").values, columns.get(space.cost).values];
    let better = 0;
    for (let other = 0; other < size; other++) if (epe[other] <= epe[row] && cost[other] <= cost[row] && (epe[other] < epe[row] || cost[other] < cost[row])) better++;
    const near = nearestOnFront(row);
    return `<p>${plain(better, 0)} subnet${better === 1 ? " is" : "s are"} better in both EPE and ${costName}. The nearest point of the front is ${link(near)}; going there:</p>${differences(row, near)}`;
  }
  const side = (words, other) => (other === undefined ? "" : `<p>${words} on the front, ${link(other)}:</p>${differences(row, other)}`);
  return side("The next lighter", space.front[place - 1]) + side("The next heavier", space.front[place + 1]) || "<p>It is the whole front.</p>";
}

const ranks = new Map();
function rank(key, row) {
  if (!ranks.has(key)) ranks.set(key, columns.get(key).values.slice().sort());
  const sorted = ranks.get(key);
  let [low, high] = [0, size];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < columns.get(key).values[row]) low = middle + 1;
    else high = middle;
  }
  return low + 1;
}

function choose(row, say = true) {
  state.chosen = row;
  const code = codeOf(row);
  byId("code").textContent = byId("further-code").textContent = code;
  const roles = space.picks.filter((pick) => pick.row === row).map((pick) => pick.role);
  if (published.has(row)) roles.unshift("on the front");
  byId("roles").innerHTML = roles.map((role) => `<span>${escaped(role)}</span>`).join("");
  for (const select of document.querySelectorAll("select[data-block]")) select.value = digit(row, Number(select.dataset.block));
  const error = columns.get("epe_error");
  const lines = space.columns.filter((other) => other !== error).map((other) => {
    const more = other.key === "epe" ? ` ± ${plain(error.values[row], error.digits)}` : "";
    return `<dt>${escaped(other.label)}</dt><dd>${plain(other.values[row] * other.scale, other.digits)}${more}${unitOf(other)}</dd>`;
  });
  const ranking = `<dt>rank by EPE</dt><dd>${plain(rank("epe", row), 0)} of ${plain(size, 0)}</dd>`;
  byId("numbers").innerHTML = lines.join("") + ranking;
  byId("against").innerHTML = against(row);
  const digits = digitsOf(row).join(Math.max(...counts) > 10 ? "_" : "");
  byId("commands").textContent = space.commands.map((line) => line.replaceAll("@code@", code).replaceAll("@digits@", digits)).join(" &&\n");
  for (const entry of document.querySelectorAll("#front-table tbody tr")) entry.classList.toggle("chosen", entry.cells[0].dataset.value === code);
  if (say) byId("said").textContent = `${code}: ${shown(columns.get("epe"), row)}, ${shown(columns.get(space.cost), row)} ${space.cost === "ms" ? "on chip" : costName}${roles.length ? `, ${roles.join(", ")}` : ""}`;
  drawMarks();
}

function reveal(row) {
  const [x, y] = [column("across").values[row], column("up").values[row]];
  const { view } = state;
  if (x < view.x[0] || x > view.x[1] || y < view.y[0] || y > view.y[1]) {
    state.view = wholeView();
    draw();
  }
}

// --- Zoom -------------------------------------------------------------------------------------------------------

function zoom(factor) {
  const centre = (axis, axisColumn) => {
    const [low, high] = state.view[axis];
    const value = state.chosen === null ? NaN : axisColumn.values[state.chosen];
    return value >= low && value <= high ? value : (low + high) / 2;
  };
  for (const [axis, axisColumn] of [["x", column("across")], ["y", column("up")]]) {
    const middle = centre(axis, axisColumn);
    const [low, high] = state.view[axis];
    state.view[axis] = [middle - (middle - low) * factor, middle + (high - middle) * factor];
  }
  draw();
}

function zoomTo(view) {
  state.view = view;
  draw();
}

byId("zoom-in").addEventListener("click", () => zoom(0.6));
byId("zoom-out").addEventListener("click", () => zoom(1 / 0.6));
byId("zoom-all").addEventListener("click", () => zoomTo(wholeView()));
byId("zoom-front").addEventListener("click", () => zoomTo(wholeView(fronts.part?.length ? fronts.part : fronts.whole)));

// --- Pointer and keys -------------------------------------------------------------------------------------------

let drag = null;
const placeOf = (event) => ({ x: event.offsetX, y: event.offsetY });

marks.addEventListener("pointerdown", (event) => {
  const place = placeOf(event);
  drag = { ...place, toX: place.x, toY: place.y, framing: false, mouse: event.pointerType === "mouse" };
  if (drag.mouse) marks.setPointerCapture(event.pointerId);
});

marks.addEventListener("pointermove", (event) => {
  const place = placeOf(event);
  if (drag?.mouse) {
    [drag.toX, drag.toY] = [place.x, place.y];
    drag.framing ||= Math.hypot(place.x - drag.x, place.y - drag.y) > 6;
  }
  hover(drag?.framing || event.pointerType !== "mouse" ? null : nearest(place.x, place.y, 22));
});

marks.addEventListener("pointerup", (event) => {
  const ended = drag;
  drag = null;
  if (ended?.framing) {
    const [x, y] = [[ended.x, ended.toX], [ended.y, ended.toY]].map((pair) => pair.slice().sort((a, b) => a - b));
    if (x[1] - x[0] > 6 && y[1] - y[0] > 6) zoomTo({ x: x.map(fromX), y: [fromY(y[1]), fromY(y[0])] });
    else drawMarks();
    return;
  }
  const place = placeOf(event);
  const row = nearest(place.x, place.y, 30);
  if (row !== null) choose(row);
});

marks.addEventListener("pointercancel", () => {
  drag = null;
  drawMarks();
});
marks.addEventListener("pointerleave", () => hover(null));
marks.addEventListener("dblclick", () => zoomTo(wholeView()));

let frame = 0;
function hover(row) {
  state.hovered = row;
  cancelAnimationFrame(frame);
  frame = requestAnimationFrame(() => {
    drawMarks();
    const tip = byId("tip");
    tip.hidden = row === null;
    if (row === null) return;
    const lines = [column("up"), column("across")].map((axis) => `${escaped(axis.label)} ${shown(axis, row)}`);
    tip.innerHTML = `<b>${codeOf(row)}</b><br>${lines.join("<br>")}`;
    const left = at.x[row] + 14 + tip.offsetWidth > width ? at.x[row] - 14 - tip.offsetWidth : at.x[row] + 14;
    tip.style.translate = `${Math.max(0, left)}px ${Math.max(0, at.y[row] - tip.offsetHeight - 10)}px`;
  });
}

// The next subnet along the shown front, from wherever one is.
function alongFront(direction) {
  const rows = fronts.part ?? fronts.whole;
  if (!rows.length) return null;
  const place = rows.indexOf(state.chosen);
  if (place >= 0) return rows[Math.min(rows.length - 1, Math.max(0, place + direction))];
  const x = column("across").values;
  return rows.reduce((best, row) => (Math.abs(x[row] - x[state.chosen]) < Math.abs(x[best] - x[state.chosen]) ? row : best));
}

// The next subnet that the filter finds, by the axis that goes up.
function byRank(direction) {
  const y = column("up").values;
  const before = (a, b) => y[a] < y[b] || (y[a] === y[b] && a < b);
  let best = null;
  for (let row = 0; row < size; row++) {
    if (!matches(row) || row === state.chosen) continue;
    const beyond = direction > 0 ? before(state.chosen, row) : before(row, state.chosen);
    if (beyond && (best === null || (direction > 0 ? before(row, best) : before(best, row)))) best = row;
  }
  return best;
}

const KEYS = {
  ArrowLeft: () => alongFront(-1),
  ArrowRight: () => alongFront(1),
  ArrowUp: () => byRank(1),
  ArrowDown: () => byRank(-1),
  Home: () => (fronts.part ?? fronts.whole)[0],
  End: () => (fronts.part ?? fronts.whole).at(-1),
};
const ZOOM_KEYS = { "+": () => zoom(0.6), "=": () => zoom(0.6), "-": () => zoom(1 / 0.6), 0: () => zoomTo(wholeView()) };

marks.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key in ZOOM_KEYS) ZOOM_KEYS[event.key]();
  else if (event.key in KEYS) {
    const row = KEYS[event.key]();
    if (row !== null && row !== undefined) {
      choose(row);
      reveal(row);
    }
  } else return;
  event.preventDefault();
});

// --- The rest of the page ---------------------------------------------------------------------------------------

for (const axis of ["across", "up"]) {
  byId(axis).addEventListener("change", (event) => {
    state[axis] = event.target.value;
    zoomTo(null);
  });
}
byId("colour").addEventListener("change", (event) => {
  state.colour = event.target.value;
  draw();
});
byId("filter").addEventListener("input", applyFilter);
byId("filter").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || state.matched === null) return;
  const row = state.matched.indexOf(1);
  if (row < 0) return;
  choose(row);
  reveal(row);
});
for (const select of document.querySelectorAll("select[data-block]")) {
  select.addEventListener("change", () => {
    const row = rowOf([...document.querySelectorAll("select[data-block]")].map((other) => other.value));
    choose(row);
    reveal(row);
  });
}

const toPlot = () => byId("space-title").scrollIntoView({ block: "start" });
document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.row !== undefined) {
    const row = rowOf(button.dataset.row.split(","));
    const elsewhere = !button.closest(".explorer");
    choose(row);
    reveal(row);
    if (elsewhere) {
      toPlot();
      marks.focus({ preventScroll: true });
    }
  } else if (button.dataset.filter !== undefined) {
    byId("filter").value = button.dataset.filter;
    applyFilter();
    toPlot();
    byId("filter").focus({ preventScroll: true });
  } else if (button.dataset.copies !== undefined) copy(byId(button.dataset.copies), button);
});

async function copy(element, button) {
  try {
    await navigator.clipboard.writeText(element.textContent);
    button.textContent = "copied";
    setTimeout(() => (button.textContent = "copy"), 1500);
  } catch {
    // Where a page may not write to the clipboard, its text is at least selected.
    getSelection().selectAllChildren(element);
  }
}

// Codes and numbers as `subnets.csv` has them; what the page has in single precision, to its seven digits.
function csvOf(rows) {
  const cell = (other, row) => (other.type === "f4" ? Number(other.values[row].toPrecision(7)) : other.values[row]);
  const lines = [["code", ...space.columns.map((other) => other.key)]];
  for (const row of rows) lines.push([digitsOf(row).join(""), ...space.columns.map((other) => cell(other, row))]);
  return lines.map((line) => `${line.join(",")}\n`).join("");
}

function save(name, text) {
  const anchor = document.createElement("a");
  anchor.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  anchor.download = name;
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(anchor.href), 1000);
}

byId("save-front").addEventListener("click", () => save("pareto_front.csv", csvOf(space.front)));
byId("save-found").addEventListener("click", () => save("found_subnets.csv", csvOf([...allRows].filter(matches))));

new ResizeObserver(() => {
  const { clientWidth, clientHeight } = byId("frame");
  if (clientWidth === width && clientHeight === height) return;
  [width, height] = [clientWidth, clientHeight];
  margin.left = width < 480 ? 54 : 62;
  draw();
}).observe(byId("frame"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

[width, height] = [byId("frame").clientWidth, byId("frame").clientHeight];
applyFilter();
choose(space.picks[1].row, false);
