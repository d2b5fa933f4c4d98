// Up to 100,000 points: drawn pixel by pixel, and found by place through a grid of cells.

const CELLS = 256; // a side
const GRID = 65536;
const NONE = 65535;
const NAMED = ["#3f7fd0", "#d9702b", "#3d9a50", "#c9414f", "#8a63c4", "#94694f", "#d46bb0", "#7f858d", "#a8991f", "#1fa3b5"];

// The colour of a class by its number; grey without one.
export function colour(label) {
  if (label < 0 || label === NONE) return "#8b9097";
  return NAMED[label] ?? `hsl(${Math.round((label * 137.508) % 360)} 55% ${label % 2 ? 46 : 58}%)`;
}

export class Points {
  // As the route sends them: float64 ids, uint16 pairs of places, uint16 labels.
  constructor(buffer, count) {
    this.count = count;
    this.ids = new Float64Array(buffer, 0, count);
    this.places = new Uint16Array(buffer, 8 * count, 2 * count);
    this.labels = new Uint16Array(buffer, 12 * count, count);
    this.rows = new Map();
    for (let row = 0; row < count; row++) this.rows.set(this.ids[row], row);
    this.sort();
  }

  cell(x, y) {
    return ((y * CELLS) >> 16) * CELLS + ((x * CELLS) >> 16);
  }

  // Rows by cell, as `order[first[cell]] ... order[first[cell + 1] - 1]`.
  sort() {
    const first = new Uint32Array(CELLS * CELLS + 1);
    const cells = new Uint32Array(this.count);
    for (let row = 0; row < this.count; row++) {
      cells[row] = this.cell(this.places[2 * row], this.places[2 * row + 1]);
      first[cells[row] + 1]++;
    }
    for (let cell = 0; cell < CELLS * CELLS; cell++) first[cell + 1] += first[cell];
    const next = first.slice();
    this.order = new Uint32Array(this.count);
    for (let row = 0; row < this.count; row++) this.order[next[cells[row]]++] = row;
    this.first = first;
  }

  // The row nearest to a place within a distance, both in units of the grid; -1 where there is none.
  nearest(x, y, reach) {
    const [left, right, top, bottom] = [x - reach, x + reach, y - reach, y + reach].map((side) =>
      Math.min(CELLS - 1, Math.max(0, Math.floor((side * CELLS) / GRID))),
    );
    let best = reach * reach;
    let found = -1;
    for (let line = top; line <= bottom; line++) {
      for (let at = this.first[line * CELLS + left]; at < this.first[line * CELLS + right + 1]; at++) {
        const row = this.order[at];
        const [across, down] = [this.places[2 * row] - x, this.places[2 * row + 1] - y];
        const squared = across * across + down * down;
        if (squared <= best) [best, found] = [squared, row];
      }
    }
    return found;
  }

  // Draw into pixels (Uint32Array of `width` x `height`): a place p is at p * scale + (left, top). only: the
  // label that is picked out, or null.
  draw(pixels, width, height, scale, left, top, radius, only, colours) {
    const stamp = disc(radius, width);
    const [reach, places, labels] = [Math.ceil(radius), this.places, this.labels];
    for (const picked of only === null ? [true] : [false, true]) {
      for (let row = 0; row < this.count; row++) {
        const label = labels[row];
        if (only !== null && (label === only) !== picked) continue;
        const x = (places[2 * row] * scale + left) | 0;
        const y = (places[2 * row + 1] * scale + top) | 0;
        if (x < reach || y < reach || x >= width - reach || y >= height - reach) continue;
        const ink = picked ? colours[label] : colours.faded;
        const middle = y * width + x;
        for (let at = 0; at < stamp.length; at++) pixels[middle + stamp[at]] = ink;
      }
    }
  }
}

// Where the pixels of a disc lie from its middle, in a picture of so many columns.
function disc(radius, width) {
  const found = [];
  const reach = Math.floor(radius);
  for (let y = -reach; y <= reach; y++) {
    for (let x = -reach; x <= reach; x++) if (x * x + y * y <= radius * radius) found.push(y * width + x);
  }
  return Int32Array.from(found);
}
