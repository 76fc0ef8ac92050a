"use strict";
// The live page of the admin address. It shows what /status says, and sends commands to /v1. It loads nothing from elsewhere, and
// puts text into the page as text only.

const $ = (id) => document.getElementById(id);
const FIRST = 200; // Rows that are shown of an upstream until the rest is asked for.
const shown = new Map(); // What is shown of each upstream, by name.
let token = sessionStorage.getItem("token") || "";
let before = null; // The last figures, to make rates of.
let last = []; // The upstreams as they were drawn last.
let timer = 0;

// An element with a class and text.
function make(tag, kind, text) {
  const element = document.createElement(tag);
  if (kind) element.className = kind;
  if (text !== undefined) element.textContent = text;
  return element;
}

// Sets a text only if it is another one, so that the browser has nothing to do.
function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function call(method, path, body) {
  const headers = {};
  if (token) headers.Authorization = "Bearer " + token;
  if (body) headers["Content-Type"] = "application/json";
  const options = { method, headers, cache: "no-store", redirect: "error" };
  if (body) options.body = JSON.stringify(body);
  return fetch(path, options);
}

function message(text) {
  put($("message"), text);
}

async function refresh() {
  clearTimeout(timer);
  const began = performance.now();
  try {
    const response = await call("GET", "/status");
    if (response.status === 401) {
      if (token) message("The token was rejected.");
      $("login").hidden = false;
      document.querySelector("main").hidden = true;
      put($("summary"), "");
      return;
    }
    if (!response.ok) throw new Error("/status returned " + response.status);
    draw(await response.json(), began / 1000);
    if ($("message").dataset.lost) message("");
    delete $("message").dataset.lost;
  } catch (error) {
    message("No figures: " + error.message + ". Trying again.");
    $("message").dataset.lost = "yes";
  }
  const pause = Number($("interval").value);
  // A page that is slow to draw does not fall behind.
  if (pause && !document.hidden) timer = setTimeout(refresh, Math.max(pause, 4 * (performance.now() - began)));
}

function number(value) {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

function rate(value) {
  return value === null ? "–" : number(value) + "/s";
}

// How much a counter has grown in each second since the last figures; null at first.
function growth(now, key, value) {
  const old = before && before.counts.get(key);
  now.counts.set(key, value);
  if (old === undefined || old === null || now.at <= before.at || value < old) return null;
  return (value - old) / (now.at - before.at);
}

function draw(status, at) {
  const now = { at, counts: new Map() };
  $("login").hidden = true;
  document.querySelector("main").hidden = false;
  put($("version"), status.version);
  const reloads = status.reloads.last;
  put($("summary"), (status.ready ? "ready" : "not ready") + " · up " + duration(status.uptime_seconds) + " · " +
    status.workers + " workers" + (reloads ? " · last reload " + reloads.result + " at " + reloads.at : ""));
  const flow = { listeners: [], routes: [], groups: [] };
  for (const one of status.listeners) {
    const speed = growth(now, "l " + one.address, one.connections_accepted);
    flow.listeners.push({ name: one.address, kind: "good", speed,
      text: one.connections_open + " connections open, " + rate(speed) + " new" });
  }
  for (const one of status.routes) {
    const speed = growth(now, "r " + one.name, one.requests);
    flow.routes.push({ name: one.name, kind: "good", speed, to: one.upstreams,
      text: one.requests + " requests, " + rate(speed) });
  }
  for (const one of status.upstreams) flow.groups.push(group(one, now));
  list($("listeners"), flow.listeners);
  list($("routes"), flow.routes);
  list($("groups"), flow.groups);
  links(flow);
  forget(status.upstreams);
  last = status.upstreams;
  // A rate of a few milliseconds, after a click, would be noise.
  if (!before || now.at - before.at >= 0.9) before = now;
}

// What the diagram shows of an upstream; also fills its table.
function group(upstream, now) {
  let speed = null;
  for (const backend of upstream.backends) {
    const key = "b " + upstream.name + " " + backend.name;
    backend.rate = growth(now, key, backend.attempts);
    const time = growth(now, key + " t", backend.response_seconds);
    const responses = growth(now, key + " n", backend.responses);
    backend.latency = responses ? 1000 * time / responses : null;
    if (backend.rate !== null) speed = (speed || 0) + backend.rate;
  }
  const usable = upstream.backends.filter((one) => one.state === "up" || one.state === "starting").length;
  upstream.usable = usable;
  table(upstream);
  const kind = usable === 0 || upstream.mode !== "normal" ? "bad" : usable < upstream.backends.length ? "warn" : "good";
  return { name: upstream.name, kind, speed, link: "#" + id(upstream.name),
    text: usable + " of " + upstream.backends.length + " backends usable, " + rate(speed) };
}

// A list of the diagram.
function list(element, items) {
  while (element.children.length > items.length) element.lastChild.remove();
  items.forEach((item, at) => {
    let entry = element.children[at];
    if (!entry) {
      entry = make("li");
      entry.append(make("b"), make("small"));
      element.append(entry);
    }
    if (entry.className !== item.kind) entry.className = item.kind;
    entry.dataset.name = item.name;
    const name = entry.firstChild;
    if (item.link && !name.firstElementChild) name.append(make("a"));
    if (item.link) {
      name.firstElementChild.setAttribute("href", item.link);
      put(name.firstElementChild, item.name);
    } else {
      put(name, item.name);
    }
    put(entry.lastChild, item.text);
  });
}

// The lines from listeners to routes and from routes to upstreams: the more traffic, the thicker.
function links(flow) {
  const svg = $("links");
  const frame = svg.getBoundingClientRect();
  if (!frame.width) return;
  const edge = (element, right) => {
    const box = element.getBoundingClientRect();
    return [(right ? box.right : box.left) - frame.left, box.top - frame.top + box.height / 2];
  };
  const wanted = [];
  const join = (from, to, speed) => {
    const [x1, y1] = edge(from, true), [x2, y2] = edge(to, false), middle = (x1 + x2) / 2;
    wanted.push(["M" + x1 + " " + y1 + "C" + middle + " " + y1 + " " + middle + " " + y2 + " " + x2 + " " + y2,
      1 + Math.log2(1 + (speed || 0)) / 2]);
  };
  const [listeners, routes, groups] = ["listeners", "routes", "groups"].map((name) => [...$(name).children]);
  flow.routes.forEach((route, at) => {
    for (const listener of listeners) join(listener, routes[at], route.speed);
    for (const name of route.to || []) {
      const target = flow.groups.findIndex((one) => one.name === name);
      if (target >= 0) join(routes[at], groups[target], route.speed);
    }
  });
  while (svg.children.length > wanted.length) svg.lastChild.remove();
  wanted.forEach(([path, width], at) => {
    const line = svg.children[at] || svg.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "path"));
    line.setAttribute("d", path);
    line.setAttribute("stroke-width", width.toFixed(1));
  });
}

const COLUMNS = ["Backend", "State", "Requests", "In flight", "Total", "Failures", "Latency", "Weight", "Change"];

// The table of an upstream.
function table(upstream) {
  let view = shown.get(upstream.name);
  if (!view) {
    view = { rows: new Map(), all: false, section: make("section", "upstream") };
    view.section.id = id(upstream.name);
    const title = make("h2", "", upstream.name);
    title.id = view.section.id + "-title";
    view.section.setAttribute("aria-labelledby", title.id);
    view.note = make("p");
    view.source = make("p");
    view.changes = make("p");
    const grid = make("table");
    grid.append(make("caption", "", "Backends of " + upstream.name));
    const head = make("tr");
    COLUMNS.forEach((name, at) => {
      const cell = make("th", at >= 2 && at <= 6 ? "number" : "", name);
      cell.scope = "col";
      head.append(cell);
    });
    const top = make("thead");
    top.append(head);
    view.body = make("tbody");
    grid.append(top, view.body);
    const scroll = make("div", "scroll");
    scroll.append(grid);
    view.more = make("button");
    view.more.type = "button";
    view.more.addEventListener("click", () => { view.all = true; last.forEach(table); });
    view.section.append(title, view.note, view.source, view.changes, scroll, view.more);
    $("upstreams").append(view.section);
    shown.set(upstream.name, view);
  }
  put(view.note, "mode " + upstream.mode + " · " + upstream.usable + " usable · " + upstream.pending + " requests wait");
  const source = upstream.discovery;
  put(view.source, source ? "from " + source.source + ": " + (source.backends === null ? "no" : source.backends) +
    " backends" + (source.age_seconds === null ? "" : ", confirmed " + duration(source.age_seconds) + " ago") +
    (source.error ? " · " + source.error : "") : "");
  const hidden = (upstream.changes || []).filter((one) => one.removed || !one.in_effect);
  put(view.changes, hidden.map((one) => one.backend + (one.removed ? " removed by " : " changed by ") + one.by +
    (one.in_effect ? "" : ", not in effect")).join(" · "));
  const wanted = $("filter").value.trim().toLowerCase();
  const all = upstream.backends.filter((one) => !wanted || [one.name, one.address, one.state, one.from,
    ...Object.values(one.metadata || {})].join(" ").toLowerCase().includes(wanted));
  const visible = view.all ? all : all.slice(0, FIRST);
  view.more.hidden = visible.length === all.length;
  put(view.more, "Show all " + all.length + " backends");
  const names = new Set(visible.map((one) => one.name));
  for (const [name, line] of view.rows) {
    if (!names.has(name)) {
      line.row.remove();
      view.rows.delete(name);
    }
  }
  let above = null;
  for (const backend of visible) {
    const line = view.rows.get(backend.name) || row(upstream.name, backend.name, view);
    fill(line, backend, source);
    const follows = above ? above.nextSibling : view.body.firstChild;
    if (follows !== line.row) view.body.insertBefore(line.row, follows);
    above = line.row;
  }
}

// A new row.
function row(upstream, name, view) {
  const line = { row: make("tr"), cells: [] };
  const head = make("th");
  head.scope = "row";
  line.origin = make("small");
  head.append(make("span", "", name), line.origin);
  line.row.append(head);
  COLUMNS.slice(1, 8).forEach((label, at) => {
    const cell = make("td", at === 0 ? "state" : at < 6 ? "number" : "");
    cell.dataset.label = label;
    line.cells.push(cell);
    line.row.append(cell);
  });
  delete line.cells[0].dataset.label;
  line.drain = make("button");
  line.drain.type = "button";
  line.drain.addEventListener("click", () => change(upstream, name, { drained: !line.drained }));
  const weight = make("input");
  weight.type = "number";
  weight.min = "0";
  weight.max = "65535";
  weight.setAttribute("aria-label", "Weight of " + name);
  weight.addEventListener("change", () => {
    if (weight.value === "") change(upstream, name, { weight: null });
    else if (weight.checkValidity()) change(upstream, name, { weight: Number(weight.value) });
    else message("A weight is 0 to 65535. An empty field means the configured weight.");
  });
  line.weight = weight;
  const actions = make("td", "actions");
  actions.append(line.drain);
  line.cells[6].append(weight);
  line.row.append(actions);
  view.rows.set(name, line);
  return line;
}

const KINDS = { up: "good", starting: "warn", down: "bad", ejected: "bad", out: "idle" };

function fill(line, backend, source) {
  const change = backend.change;
  line.drained = Boolean(change && change.drained);
  const doubt = backend.state === "up" && (backend.gray || backend.unreachable);
  const kind = doubt ? "warn" : KINDS[backend.state] || "idle";
  if (line.row.className !== kind) line.row.className = kind;
  let state = line.drained ? (backend.in_flight ? "draining" : "drained") : backend.state;
  if (backend.state === "out" && !line.drained) state = "out (weight 0)";
  if (backend.state === "ejected") state += " for " + duration(backend.ejected_for_seconds);
  if (backend.state === "starting") state += " " + Math.round(100 * backend.share) + " %";
  if (backend.gray) state += ", probes disagree";
  if (backend.unreachable) state += ", unreachable";
  const latency = backend.latency === null ? "–" : number(backend.latency) + " ms";
  const texts = [state, rate(backend.rate), String(backend.in_flight), String(backend.attempts), String(backend.failures), latency];
  texts.forEach((text, at) => put(line.cells[at], text));
  if (document.activeElement !== line.weight) {
    const weight = change && change.weight !== null ? change.weight
      : change && change.given_weight !== null ? change.given_weight : backend.weight;
    if (line.weight.value !== String(weight)) line.weight.value = String(weight);
  }
  put(line.drain, line.drained ? "Undrain" : "Drain");
  line.drain.setAttribute("aria-label", line.drain.textContent + " " + line.row.firstChild.firstChild.textContent);
  const from = [];
  if (change && change.added) from.push("added by " + change.by + " at " + change.at);
  else if (backend.from) from.push("from " + backend.from);
  if (backend.from && source && source.age_seconds !== null && backend.from === source.source) {
    from.push("confirmed " + duration(source.age_seconds) + " ago");
  }
  if (change && !change.added) from.push("changed by " + change.by + " at " + change.at);
  if (backend.last_probe && backend.last_probe.result === "failed") from.push("probe: " + backend.last_probe.reason);
  put(line.origin, from.join(" · "));
}

async function change(upstream, backend, update) {
  const path = "/v1/upstreams/" + encodeURIComponent(upstream) + "/backends/" + encodeURIComponent(backend);
  try {
    const response = await call("PATCH", path, update);
    const said = await response.json();
    if (response.ok) {
      message(backend + " was changed. This survives a reload, and ends with the process." +
        (said.usable_backends === 0 ? " Upstream " + upstream + " has no backend that can be picked now." : ""));
    } else {
      message(backend + ": " + said.detail);
    }
  } catch (error) {
    message(backend + ": " + error.message);
  }
  refresh();
}

// Upstreams that are no longer there.
function forget(upstreams) {
  const names = new Set(upstreams.map((one) => one.name));
  for (const [name, view] of shown) {
    if (!names.has(name)) {
      view.section.remove();
      shown.delete(name);
    }
  }
}

function id(name) {
  return "upstream-" + encodeURIComponent(name).replace(/%/g, "_");
}

function duration(seconds) {
  if (seconds < 90) return Math.round(seconds) + " s";
  if (seconds < 5400) return Math.round(seconds / 60) + " min";
  if (seconds < 172800) return Math.round(seconds / 3600) + " h";
  return Math.round(seconds / 86400) + " days";
}

$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value.trim();
  sessionStorage.setItem("token", token);
  $("token").value = "";
  message("");
  refresh();
});
$("interval").addEventListener("change", refresh);
$("filter").addEventListener("input", () => last.forEach(table));
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
addEventListener("resize", refresh);
refresh();
