// Starts each part when gradio has put it on the page, and hands on what gradio's controls hold.

import { asking, CONDITIONS, learn, resume, search, state } from "./asking.js";
import { start as map } from "./map.js";
import { start as query } from "./query.js";
import { start as results } from "./results.js";

const parts = { map, query, results, title };
let waiting;

export async function start(element) {
  const root = element.querySelector("[data-part]");
  if (root.dataset.started) return;
  root.dataset.started = "yes";
  await learn();
  parts[root.dataset.part](root);
  if (root.dataset.part === "results") resume();
}

// Called by gradio's controls with their values, many times while a slider is drawn.
export function conditions(values) {
  clearTimeout(waiting);
  const named = Object.keys(CONDITIONS).map((name, at) => [name, values[at]]);
  waiting = setTimeout(() => search(Object.fromEntries(named)), 250);
}

// What the controls are to show, when the way back led to other conditions.
export const restored = () => Object.entries(CONDITIONS).map(([name, first]) => state.asked[name] ?? first);
asking.addEventListener("restored", () => document.querySelector("#sslkit-restore")?.click());

function title(root) {
  const { name, count, model } = state.facts;
  root.querySelector("h1").textContent = name;
  const short = model.split("/").filter(Boolean).slice(-2).join("/");
  root.querySelector("p").textContent = `${count.toLocaleString("en")} items${short ? `, seen by ${short}` : ""}`;
}

// The token has done its work once it is in the cookie; it need not stay in the history.
history.replaceState(history.state, "", location.pathname);
