// The items that were found, most similar first. Each is a button that searches by it.

import { asking, search, state } from "./asking.js";
import { colour } from "./points.js";

export function start(root) {
  const [back, told, list] = [".back", ".told", ".hits"].map((selector) => root.querySelector(selector));
  back.addEventListener("click", () => history.back());
  follow(root);
  told.textContent = "Choose a picture, or an item on the map.";
  asking.addEventListener("found", ({ detail }) => {
    const { hits, count, milliseconds, depth } = detail;
    const what = hits.length ? `${hits.length} nearest of ${count.toLocaleString("en")}` : "Nothing fits these conditions";
    told.textContent = `${what}, in ${milliseconds} ms`;
    back.disabled = depth < 2;
    fill(list, hits);
  });
}

// Show in a part that something is being looked for, or what went wrong.
export function follow(root) {
  const error = root.querySelector(".error");
  asking.addEventListener("asked", () => root.classList.add("waiting"));
  asking.addEventListener("found", () => {
    root.classList.remove("waiting");
    error.hidden = true;
  });
  asking.addEventListener("failed", ({ detail }) => {
    root.classList.remove("waiting");
    error.hidden = false;
    error.textContent = detail;
  });
}

// Fill a list with hits.
export function fill(list, hits) {
  list.replaceChildren(...hits.map(shown));
}

function shown(hit) {
  const button = made("button", { type: "button", className: "hit" });
  button.dataset.id = hit.id;
  const image = made("img", { loading: "lazy", alt: "", src: `/sslkit/items/${hit.id}/tile` });
  image.addEventListener("error", () => image.replaceWith(made("span", { className: "none", textContent: "no picture" })));
  const frame = made("span", { className: "frame" });
  frame.append(image);
  const line = made("span", { className: "line" });
  line.append(made("b", { textContent: hit.similarity.toFixed(3) }));
  if (hit.time) line.append(made("span", { className: "time", textContent: hit.time }));
  button.append(frame, line);
  if (hit.label != null) button.append(tag(hit.label));
  button.append(made("span", { className: "name", textContent: hit.name }));
  button.addEventListener("click", () => search({ item: hit.id, picture: null, box: null }));
  const item = made("li", {});
  item.append(button);
  const known = Object.entries(hit.metadata);
  if (known.length) item.append(details(known));
  return item;
}

function tag(label) {
  const shown = made("span", { className: "tag", textContent: label });
  shown.style.setProperty("--tag", colour(state.facts.classes.indexOf(label)));
  return shown;
}

function details(known) {
  const list = made("dl", {});
  for (const [key, value] of known) {
    const text = typeof value === "string" ? value : JSON.stringify(value);
    list.append(made("dt", { textContent: key }), made("dd", { textContent: text }));
  }
  const whole = made("details", {});
  whole.append(made("summary", { textContent: "metadata" }), list);
  return whole;
}

export function made(name, properties) {
  return Object.assign(document.createElement(name), properties);
}
