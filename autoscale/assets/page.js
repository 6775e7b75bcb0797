// The list of scaled apps, and one app's demand against supply with its journal. All text from the server is set as text.

const EVERY = 5000;
const [WIDTH, HEIGHT, LEFT, ABOVE, BELOW] = [900, 260, 44, 10, 24];
const element = (id) => document.getElementById(id);
let chosen = decodeURIComponent(location.hash.slice(1));

async function read(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.json();
}

function cell(text, kind = "") {
  const made = document.createElement("td");
  made.textContent = text ?? "–";
  made.className = kind;
  return made;
}

function row(...cells) {
  const made = document.createElement("tr");
  made.append(...cells);
  return made;
}

const number = (value) => (value === null || value === undefined ? "–" : value.toLocaleString(undefined, { maximumFractionDigits: 1 }));

function link(app) {
  const button = document.createElement("button");
  button.className = "app";
  button.textContent = app;
  button.addEventListener("click", () => { location.hash = encodeURIComponent(app); });
  const made = cell("");
  made.replaceChildren(button);
  return made;
}

async function list() {
  const { apps, leads } = await read("apps");
  element("leads").textContent = leads ? "" : "standby: another autoscaler acts";
  const part = element("search").value.trim().toLowerCase();
  const found = apps.filter((one) => one.app.toLowerCase().includes(part));
  element("apps").replaceChildren(...found.slice(0, 500).map((one) => row(
    link(one.app), cell(number(one.needed), "n"), cell(number(one.in_rotation), "n"), cell(number(one.instances), "n"),
    cell(`${one.min} – ${one.max}`, "n"), cell(one.reason),
  )));
  element("none").hidden = apps.length > 0;
}

async function detail() {
  element("detail").hidden = !chosen;
  if (!chosen) return;
  const app = encodeURIComponent(chosen);
  const [{ series }, { journal }] = await Promise.all([read(`series?app=${app}`), read(`journal?most=50&app=${app}`)]);
  element("detail-title").textContent = chosen;
  draw(series);
  element("journal").replaceChildren(...journal.reverse().map((entry) => row(
    cell(new Date(entry.at * 1000).toLocaleString()), cell(number(entry.instances), "n"), cell(number(entry.decided), "n"),
    cell(entry.outcome, entry.outcome.replace(" ", "-")), cell(entry.quality), cell(entry.reason),
  )));
}

function shape(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// Demand against supply, as steps; a minute of which nothing is known is a gap.
function draw(series) {
  const top = Math.max(1, ...series.flatMap((point) => [point.needed, point.in_rotation, point.instances].map((value) => value ?? 0)));
  const x = (index) => LEFT + ((WIDTH - LEFT - 6) * index) / Math.max(1, series.length - 1);
  const y = (value) => ABOVE + (HEIGHT - ABOVE - BELOW) * (1 - value / top);
  const parts = [shape("title", {}, `Demand against supply of ${chosen}, the last ${(series.length / 60).toFixed(1)} hours`)];
  for (const share of [0, 0.5, 1]) {
    parts.push(shape("path", { class: "grid", d: `M${LEFT} ${y(top * share)}H${WIDTH}` }));
    parts.push(shape("text", { x: LEFT - 8, y: y(top * share) + 4, "text-anchor": "end" }, number(top * share)));
  }
  for (const [name, key] of [["instances", "instances"], ["rotation", "in_rotation"], ["needed", "needed"]]) {
    let path = "", drawing = false;
    series.forEach((point, index) => {
      const value = point[key];
      if (value === null) { drawing = false; return; }
      path += drawing ? `H${x(index).toFixed(1)}V${y(value).toFixed(1)}` : `M${x(index).toFixed(1)} ${y(value).toFixed(1)}`;
      drawing = true;
    });
    parts.push(shape("path", { class: name, d: path || "M0 0" }));
  }
  const ends = [[0, "start"], [series.length - 1, "end"]];
  for (const [index, anchor] of series.length ? ends : []) {
    const time = new Date(series[index].at * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    parts.push(shape("text", { x: x(index), y: HEIGHT - 6, "text-anchor": anchor }, time));
  }
  element("chart").replaceChildren(...parts);
}

async function refresh() {
  try {
    await list();
    await detail();
    element("problem").hidden = true;
  } catch (error) {
    element("problem").textContent = `The autoscaler does not answer: ${error.message}`;
    element("problem").hidden = false;
  }
}

addEventListener("hashchange", () => { chosen = decodeURIComponent(location.hash.slice(1)); refresh(); });
element("search").addEventListener("input", refresh);
setInterval(refresh, EVERY);
refresh();
