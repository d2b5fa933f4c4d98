// The query: a picture that is chosen, dropped or pasted, or an item; and the box on it.

import { asking, search, state, upload } from "./asking.js";

const LEAST = 8; // pixels of the screen; anything smaller is a click
const STEP = 0.03; // of the picture, a press of an arrow key

export function start(root) {
  const find = (selector) => root.querySelector(selector);
  const [stage, picture, image, box] = [".stage", ".picture", ".picture img", ".box"].map(find);
  const [name, whole, input] = [".name", ".hint button", "input"].map(find);
  let shown = null; // the box as it is drawn: left, top, width, height as shares of the picture
  let corner = null; // where a drag began
  let waiting;

  // On a phone the results come first.
  if (matchMedia("(max-width: 40rem)").matches) document.querySelector("#sslkit-conditions > button")?.click();

  input.addEventListener("change", () => {
    if (input.files.length) upload(input.files[0]);
    input.value = "";
  });
  document.addEventListener("paste", (event) => take(event, event.clipboardData));
  document.addEventListener("dragover", (event) => {
    if (event.dataTransfer?.types.includes("Files")) event.preventDefault();
  });
  document.addEventListener("drop", (event) => take(event, event.dataTransfer));
  function take(event, data) {
    const file = [...(data?.files ?? [])].find((one) => one.type.startsWith("image/"));
    if (!file) return;
    event.preventDefault();
    event.stopPropagation();
    upload(file);
  }

  asking.addEventListener("asked", ({ detail }) => {
    const source = detail.picture != null ? `pictures/${detail.picture}` : `items/${detail.item}/whole`;
    const address = `/sslkit/${source}`;
    if (image.getAttribute("src") !== address) {
      stage.classList.remove("missing");
      image.setAttribute("src", address);
      image.alt = name.textContent = detail.picture != null ? "Your picture" : "";
    }
    stage.hidden = false;
    draw(detail.box);
  });
  asking.addEventListener("found", ({ detail }) => {
    if (detail.query.name) image.alt = name.textContent = detail.query.name;
  });
  image.addEventListener("error", () => stage.classList.add("missing"));
  whole.addEventListener("click", () => search({ box: null }));

  function draw(next) {
    shown = next ?? null;
    box.hidden = whole.hidden = shown === null;
    if (shown === null) return;
    ["left", "top", "width", "height"].forEach((side, at) => (box.style[side] = `${shown[at] * 100}%`));
  }

  function place(event) {
    const { left, top, width, height } = image.getBoundingClientRect();
    return [clamp((event.clientX - left) / width), clamp((event.clientY - top) / height)];
  }
  picture.addEventListener("pointerdown", (event) => {
    if (event.button || stage.classList.contains("missing")) return;
    picture.setPointerCapture(event.pointerId);
    corner = { at: place(event), x: event.clientX, y: event.clientY };
  });
  function stretch(event) {
    const [x, y] = place(event);
    draw([Math.min(x, corner.at[0]), Math.min(y, corner.at[1]), Math.abs(x - corner.at[0]), Math.abs(y - corner.at[1])]);
  }
  picture.addEventListener("pointermove", (event) => corner && stretch(event));
  picture.addEventListener("pointerup", (event) => {
    if (!corner) return;
    stretch(event);
    const drawn = Math.min(Math.abs(event.clientX - corner.x), Math.abs(event.clientY - corner.y)) >= LEAST;
    corner = null;
    if (drawn) search({ box: shown });
    else draw(state.asked.box);
  });
  picture.addEventListener("pointercancel", () => {
    corner = null;
    draw(state.asked.box);
  });

  picture.addEventListener("keydown", (event) => {
    const next = pressed(event, shown);
    if (next === undefined || stage.classList.contains("missing")) return;
    event.preventDefault();
    draw(next);
    clearTimeout(waiting);
    waiting = setTimeout(() => search({ box: next }), 400);
  });
}

// The box after a key: moved or, with Shift, resized; null for none, undefined for a key that means nothing.
function pressed(event, box) {
  if (event.key === "Escape") return null;
  if (event.key === "Enter") return box ?? [0.25, 0.25, 0.5, 0.5];
  const way = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [1, -1], ArrowDown: [1, 1] }[event.key];
  if (!box || !way) return undefined;
  const [axis, sign] = way;
  const next = [...box];
  if (event.shiftKey) next[axis + 2] = Math.min(1 - box[axis], Math.max(STEP, box[axis + 2] + sign * STEP));
  else next[axis] = Math.min(1 - box[axis + 2], Math.max(0, box[axis] + sign * STEP));
  return next;
}

const clamp = (share) => Math.min(1, Math.max(0, share));
