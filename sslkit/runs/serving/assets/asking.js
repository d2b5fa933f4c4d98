// What is asked, what was found, and the way back. Parts listen to `asking`: "asked", "found", "failed".

// The conditions in the order of page.py, and what they are there at first.
export const CONDITIONS = { k: 24, label: "", path: "", time: "", where: "", exact: false };

export const asking = new EventTarget();
export const state = { asked: { ...CONDITIONS }, found: null, facts: null };

const OWN = "/sslkit/";
let serial = 0;
let depth = 0; // queries behind this one

// The facts of the index, asked once.
let facts;
export function learn() {
  facts ??= answered("facts").then((told) => (state.facts = told));
  return facts;
}

// JSON of a route of ours; an Error says what is wrong in words for people.
export async function answered(path, options) {
  let response;
  try {
    response = await fetch(OWN + path, options);
  } catch {
    throw new Error("The server does not answer. Is `sslkit serve` still running?");
  }
  if (response.headers.get("content-type")?.startsWith("application/json")) {
    const told = await response.json();
    if (response.ok) return told;
    throw new Error(told.error);
  }
  if (response.ok) return response;
  throw new Error(`The server could not answer (${response.status}): ${(await response.text()).slice(0, 200)}`);
}

// Search with some of what is asked changed; nothing happens until there is something to search by.
export function search(changes) {
  const asked = { ...state.asked, ...changes };
  if (JSON.stringify(asked) === JSON.stringify(state.asked)) return;
  state.asked = asked;
  if (asked.item == null && asked.picture == null) return;
  run(asked, () => {
    depth += 1;
    history.pushState({ sslkit: asked, depth }, "");
  });
}

// Take a picture from the person and search by it.
export async function upload(file) {
  try {
    const told = await answered("pictures", { method: "POST", body: file });
    search({ picture: told.picture, item: null, box: null });
  } catch (error) {
    tell("failed", error.message);
  }
}

async function run(asked, remember) {
  const own = ++serial;
  tell("asked", asked);
  try {
    const body = JSON.stringify(asked);
    const found = await answered("search", { method: "POST", body, headers: { "content-type": "application/json" } });
    if (own !== serial) return; // something else was asked meanwhile
    state.found = found;
    remember();
    tell("found", { ...found, depth });
  } catch (error) {
    if (own === serial) tell("failed", error.message);
  }
}

function tell(name, detail) {
  asking.dispatchEvent(new CustomEvent(name, { detail }));
}

function returned(past) {
  if (!past?.sslkit) return;
  depth = past.depth;
  state.asked = past.sslkit;
  tell("restored", state.asked);
  run(state.asked, () => {});
}

addEventListener("popstate", (event) => returned(event.state));
export const resume = () => returned(history.state); // after the page was loaded again
