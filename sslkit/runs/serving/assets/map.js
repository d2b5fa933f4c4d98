// The map: all items as points that can be moved, drawn near, looked at and searched by.

import { answered, asking, search, state } from "./asking.js";
import { colour, Points } from "./points.js";
import { fill, follow } from "./results.js";

const GRID = 65536;
const NONE = 65535;
const NEAR = 14; // pixels of the screen within which a point is meant
const CLOSEST = 400; // times
const NAMED = 40; // labels in the legend

export async function start(root) {
  const find = (selector) => root.querySelector(selector);
  const [told, plane, canvas, tip, legend, list] = [".told", ".plane", "canvas", ".tip", ".legend", ".hits"].map(find);
  follow(root);
  asking.addEventListener("found", ({ detail }) => fill(list, detail.hits.slice(0, 12)));
  if (state.found) fill(list, state.found.hits.slice(0, 12));
  let points;
  try {
    const response = await answered("map");
    points = new Points(await response.arrayBuffer(), Number(response.headers.get("x-count")));
    told.textContent = `Near is similar, far says little: ${response.headers.get("x-described")}.`;
  } catch (error) {
    told.textContent = error.message;
    return;
  }

  const view = { zoom: 1, x: GRID / 2, y: GRID / 2 }; // what is in the middle
  const pen = canvas.getContext("2d");
  const inks = inksOf(state.facts.classes.length);
  let only = null;
  let pointed = -1; // the row under the pointer or, by keyboard, in the middle
  let waiting = false;
  const redraw = () => {
    if (!waiting) requestAnimationFrame(draw);
    waiting = true;
  };

  const side = () => Math.min(canvas.clientWidth, canvas.clientHeight) - 24;
  const scale = () => (side() / GRID) * view.zoom; // pixels of the screen for each unit
  const onScreen = (row) => [
    (points.places[2 * row] - view.x) * scale() + canvas.clientWidth / 2,
    (points.places[2 * row + 1] - view.y) * scale() + canvas.clientHeight / 2,
  ];
  const onPlane = (x, y) => [
    (x - canvas.clientWidth / 2) / scale() + view.x,
    (y - canvas.clientHeight / 2) / scale() + view.y,
  ];
  const radius = () => Math.min(7, Math.max(1, ((side() / 5) * Math.sqrt(view.zoom)) / Math.sqrt(points.count)));

  function draw() {
    waiting = false;
    const dense = Math.min(2, devicePixelRatio || 1);
    const [width, height] = [Math.round(canvas.clientWidth * dense), Math.round(canvas.clientHeight * dense)];
    if (!width || !height) return; // another tab is open
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    const picture = pen.createImageData(width, height);
    const [left, top] = [width / 2 - view.x * scale() * dense, height / 2 - view.y * scale() * dense];
    points.draw(new Uint32Array(picture.data.buffer), width, height, scale() * dense, left, top, radius() * dense, only, inks);
    pen.putImageData(picture, 0, 0);
    pen.setTransform(dense, 0, 0, dense, 0, 0);
    pen.strokeStyle = getComputedStyle(canvas).color;
    for (const hit of state.found?.hits ?? []) ring(points.rows.get(hit.id), 2, 1.5);
    ring(points.rows.get(state.found?.query.id), 6, 3);
    ring(pointed < 0 ? undefined : pointed, 3, 2);
    if (document.activeElement === canvas && canvas.matches(":focus-visible")) cross();
    pen.setTransform(1, 0, 0, 1, 0, 0);
  }

  function ring(row, away, thick) {
    if (row === undefined) return;
    pen.lineWidth = thick;
    pen.beginPath();
    pen.arc(...onScreen(row), radius() + away, 0, 2 * Math.PI);
    pen.stroke();
  }

  function cross() {
    const [x, y] = [canvas.clientWidth / 2, canvas.clientHeight / 2];
    pen.lineWidth = 1;
    pen.beginPath();
    for (const [across, down] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      pen.moveTo(x + 6 * across, y + 6 * down);
      pen.lineTo(x + 14 * across, y + 14 * down);
    }
    pen.stroke();
  }

  // Zoom so that what is at (x, y) of the screen stays there.
  function zoom(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
    const [fixed, down] = onPlane(x, y);
    view.zoom = Math.min(CLOSEST, Math.max(0.5, view.zoom * factor));
    const [now, below] = onPlane(x, y);
    move(fixed - now, down - below);
  }

  function move(across, down) {
    view.x = Math.min(GRID, Math.max(0, view.x + across));
    view.y = Math.min(GRID, Math.max(0, view.y + down));
    forget();
    redraw();
  }

  function all() {
    Object.assign(view, { zoom: 1, x: GRID / 2, y: GRID / 2 });
    forget();
    redraw();
  }

  function forget() {
    pointed = -1;
    show(tip, plane, null);
  }

  function point(x, y, reach = NEAR) {
    const row = points.nearest(...onPlane(x, y), reach / scale());
    if (row !== pointed) {
      pointed = row;
      show(tip, plane, row < 0 ? null : points.ids[row], row < 0 ? null : onScreen(row));
      redraw();
    }
    return row;
  }

  const choose = (row) => row >= 0 && search({ item: points.ids[row], picture: null, box: null });
  gestures(canvas, { move: (x, y) => move(-x / scale(), -y / scale()), zoom, point, choose });
  keys(canvas, {
    move: (x, y) => move(x / scale(), y / scale()),
    zoom,
    all,
    point: () => point(canvas.clientWidth / 2, canvas.clientHeight / 2, canvas.clientWidth),
    choose: () => choose(pointed),
  });
  canvas.addEventListener("focus", redraw);
  canvas.addEventListener("blur", redraw);
  canvas.addEventListener("pointerleave", () => point(-1e6, -1e6));
  [() => zoom(1.6), () => zoom(1 / 1.6), all].forEach((act, at) =>
    root.querySelectorAll(".zoom button")[at].addEventListener("click", act),
  );
  label(legend, points, (chosen) => {
    only = chosen;
    redraw();
  });
  asking.addEventListener("found", redraw);
  new ResizeObserver(redraw).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  redraw();
}

// Moving by one finger or the mouse, zooming by the wheel or two fingers, pointing and choosing.
function gestures(canvas, act) {
  const held = new Map();
  let travelled = 0;
  const place = (event) => {
    const { left, top } = canvas.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    if (!held.size) travelled = 0;
    held.set(event.pointerId, place(event));
  });
  canvas.addEventListener("pointermove", (event) => {
    const now = place(event);
    const before = held.get(event.pointerId);
    if (!before) return void act.point(...now);
    const other = [...held].find(([id]) => id !== event.pointerId)?.[1];
    travelled += Math.hypot(now[0] - before[0], now[1] - before[1]);
    held.set(event.pointerId, now);
    if (!other) return void (travelled > 4 && act.move(now[0] - before[0], now[1] - before[1]));
    const span = (one) => Math.max(1, Math.hypot(one[0] - other[0], one[1] - other[1]));
    act.zoom(span(now) / span(before), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
    return undefined;
  });
  const release = (event) => {
    const clicked = held.delete(event.pointerId) && event.type === "pointerup" && travelled <= 4;
    if (clicked) act.choose(act.point(...place(event)));
  };
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      act.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.002)), ...place(event));
    },
    { passive: false },
  );
}

function keys(canvas, act) {
  const pressed = {
    ArrowLeft: () => act.move(-40, 0),
    ArrowRight: () => act.move(40, 0),
    ArrowUp: () => act.move(0, -40),
    ArrowDown: () => act.move(0, 40),
    "+": () => act.zoom(1.3),
    "=": () => act.zoom(1.3),
    "-": () => act.zoom(1 / 1.3),
    0: act.all,
    Enter: act.choose,
  };
  canvas.addEventListener("keydown", (event) => {
    if (!pressed[event.key] || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    if (event.key === "Enter") act.point();
    pressed[event.key]();
    act.point();
  });
}

// Picture and name of an item beside its point, once the pointer rests on it.
const known = new Map();
let resting;
function show(tip, plane, id, place) {
  clearTimeout(resting);
  tip.hidden = true;
  if (id === null) return;
  resting = setTimeout(async () => {
    if (!known.has(id)) known.set(id, answered(`items/${id}`));
    const own = resting;
    const item = await known.get(id).catch(() => null);
    if (!item || own !== resting) return;
    const [image, caption] = tip.children;
    image.onerror = () => (image.hidden = true);
    image.hidden = false;
    image.src = `/sslkit/items/${id}/tile`;
    caption.textContent = [item.label, item.name, item.time].filter(Boolean).join("\n");
    const [x, y] = place;
    tip.style.left = `${Math.min(plane.clientWidth - 190, Math.max(4, x + 14))}px`;
    tip.style.top = y > plane.clientHeight / 2 ? "auto" : `${y + 14}px`;
    tip.style.bottom = y > plane.clientHeight / 2 ? `${plane.clientHeight - y + 14}px` : "auto";
    tip.hidden = false;
  }, 60);
}

// A button for each label that is there, which picks out its points.
function label(legend, points, pick) {
  const counts = new Map();
  for (const one of points.labels) counts.set(one, (counts.get(one) ?? 0) + 1);
  const { classes } = state.facts;
  const present = [...counts.keys()].filter((one) => one !== NONE).sort((one, other) => counts.get(other) - counts.get(one));
  for (const one of present.slice(0, NAMED)) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = `${classes[one]} ${counts.get(one).toLocaleString("en")}`;
    button.style.setProperty("--tag", colour(one));
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      for (const other of legend.querySelectorAll("button")) other.setAttribute("aria-pressed", "false");
      button.setAttribute("aria-pressed", String(on));
      pick(on ? one : null);
    });
    const item = document.createElement("li");
    item.append(button);
    legend.append(item);
  }
  if (present.length > NAMED) legend.append(`and ${present.length - NAMED} more`);
}

// Colours as the pixels of a canvas hold them, by label; `faded` for what is not picked out.
function inksOf(classes) {
  const [pen] = [Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true })];
  const ink = (style) => {
    pen.clearRect(0, 0, 1, 1);
    pen.fillStyle = style;
    pen.fillRect(0, 0, 1, 1);
    return new Uint32Array(pen.getImageData(0, 0, 1, 1).data.buffer)[0];
  };
  const inks = { [NONE]: ink(colour(NONE)), faded: ink("rgb(140 145 150 / 35%)") };
  for (let one = 0; one < classes; one++) inks[one] = ink(colour(one));
  return inks;
}
