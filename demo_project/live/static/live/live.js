// What the server tells (EventSource) on the page, and the page's buttons to the server.
"use strict";

const base = document.body.dataset.base;
const token = document.querySelector("[name=csrfmiddlewaretoken]").value;
const one = (selector) => document.querySelector(selector);
const count = new Intl.NumberFormat("en");
const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });

const KEPT = 120; // rows of the stream, and samples of the backlog: one a second
const TRAFFIC_MS = 1000;
const WHO = { // an error's side, in more words
  "account A": "The owner of account A",
  "account B": "The owner of account B",
  "account A or account B": "Account A's owner and B's, together",
  "network": "AWS, or who runs the network to it",
  "site": "The site: its settings, its processes",
};

let now = null; // the last state
let skew = 0; // our clock's seconds behind the server's
// Since something broke: how many waited at most, and how many must have arrived before it is over.
let outage = null;
const samples = [];

// To the server

async function post(path) {
  const answer = await fetch(base + path, { method: "POST", headers: { "X-CSRFToken": token } });
  const type = answer.headers.get("Content-Type") || "";
  const said = type.startsWith("application/json") ? (await answer.json()).said : null;
  if (!answer.ok && !said) throw new Error(`The site answered ${answer.status}.`);
  return said;
}

async function press(button, path) {
  button.disabled = true;
  try {
    one("#said").value = (await post(path)) || one("#said").value;
  } catch (error) {
    one("#said").value = error.message;
  }
  button.disabled = false;
}

document.addEventListener("click", async (click) => {
  const button = click.target.closest("button");
  if (!button) return;
  if (button.dataset.switch) {
    await press(button, `switch/${button.dataset.switch}/`);
    if (now) showSwitches(now);
  } else if (button.dataset.post) {
    await press(button, button.dataset.post);
  }
});

// A customer a second, while somebody looks.
setInterval(() => {
  if (!one("#traffic").checked || document.hidden || !now) return;
  const chance = Math.random();
  const order = now.orders[Math.floor(Math.random() * now.orders.length)];
  let path = "shop/place/";
  if (order && chance < 0.3) path = `shop/edit/${order.id}/`;
  else if (order && chance < 0.4 && now.orders.length > 3) path = `shop/delete/${order.id}/`;
  post(path).catch(() => {}); // the page says when the site is gone
}, TRAFFIC_MS);

// From the server

const source = new EventSource(base + "events/");
let heard = 0;

source.addEventListener("state", (message) => {
  heard = Date.now();
  const state = JSON.parse(message.data);
  skew = state.now - Date.now() / 1000;
  show(state);
});

source.addEventListener("arrivals", (message) => {
  const { rows, missed } = JSON.parse(message.data);
  arrive(rows, missed);
});

setInterval(() => {
  const silent = heard && Date.now() - heard > 4000;
  const link = one("#link");
  link.className = silent ? "lost" : heard ? "up" : "";
  link.textContent = silent ? "The site does not answer" : heard ? "Connected" : "Connecting …";
  if (!now) return;
  countDown(now.session);
  samples.push(now.waiting);
  samples.splice(0, samples.length - KEPT);
  draw();
}, 1000);

// The figures

function show(state) {
  now = state;
  for (const place of document.querySelectorAll("[data-show]")) {
    place.textContent = count.format(state[place.dataset.show]);
  }
  one("#oldest").textContent = state.waiting && state.oldest > 1 ? `, the oldest for ${state.oldest} s` : "";
  one("#lost").classList.toggle("bad", state.lost > 0);
  one("#reordered").classList.toggle("bad", state.reordered > 0);
  showSession(state);
  showSwitches(state);
  showWhy(state);
  showOrders(state.orders);
}

function showSession({ session, relay }) {
  const [, role, name] = session ? session.arn.split("/") : [];
  one("#role-name").textContent = role || "none now";
  one("#session").textContent = name || "–";
  one("#relay").textContent = relay ? `process ${relay}` : "not running";
  countDown(session);
}

function countDown(session) {
  const left = session ? Math.max(0, Math.round(session.expires - Date.now() / 1000 - skew)) : null;
  const seconds = String(left % 60).padStart(2, "0");
  one("#left").textContent = left === null ? "–" : `${Math.floor(left / 60)}:${seconds} min`;
}

function showSwitches({ broken }) {
  for (const button of document.querySelectorAll(".switches button")) {
    button.setAttribute("aria-pressed", String(broken.includes(button.dataset.switch)));
  }
  one(".repair").disabled = !broken.length;
}

function showWhy(state) {
  const { broken, trouble, waiting, oldest, committed, arrived, lost } = state;
  if (broken.length) {
    outage = { peak: Math.max(waiting, outage?.over ? 0 : outage?.peak || 0), due: committed };
  } else if (outage && (!waiting || oldest < 2) && arrived + lost >= outage.due) {
    outage.over = true; // of what waits now, nothing is from then
  }
  // An order that waits for a moment, as each does, is no outage, whatever was before.
  const catching = !broken.length && (outage ? !outage.over : waiting > 0 && trouble);

  const named = broken.map((name) => one(`[data-switch="${name}"] b`).textContent);
  let mode = "flows";
  let words = "Events flow";
  if (broken.length) {
    mode = "broken";
    words = `${named.join(", ")}: ${trouble || waiting ? "events wait" : "no event has failed yet"}`;
  } else if (catching) {
    mode = "catching";
    words = "Repaired: the relay catches up";
  }
  document.body.dataset.state = mode;
  one("#state").textContent = words;
  one("#note").textContent = noteOn(mode, state);
  one("#why").hidden = mode !== "broken" || !trouble;
  if (!trouble) return;
  one("#cause").textContent = trouble.cause;
  one("#fix").textContent = trouble.fix;
  one("#side").textContent = WHO[trouble.side] || trouble.side;
  one("#code").textContent = trouble.code;
}

function noteOn(mode, { broken, relay, trouble, lost, reordered }) {
  if (mode === "broken") {
    const done = broken.map((name) => one(`[data-switch="${name}"]`).dataset.done).join(" ");
    if (!trouble) return done;
    return `${done} ${relay ? "The relay says:" : "What kinesis_doctor says:"}`;
  }
  if (mode === "catching") {
    return "It rests between two tries, 10 seconds at most; then what waits goes, oldest first.";
  }
  if (outage?.over && outage.peak) {
    return `${lost ? "Not all" : "Everything"} that waited has arrived: ${count.format(outage.peak)} at most,`
      + ` ${lost} lost, ${reordered} reordered.`;
  }
  return "Break the way with a switch: here you read what happened, what to do, and who can mend it.";
}

function draw() {
  const most = Math.max(10, ...samples);
  const at = (value, place) => `${place + KEPT - samples.length},${(35 - (value / most) * 33).toFixed(1)}`;
  const line = samples.map(at).join("L");
  const begin = KEPT - samples.length;
  one("#spark .line").setAttribute("d", `M${line}`);
  one("#spark .area").setAttribute("d", `M${begin},36L${line}L${KEPT - 1},36Z`);
}

// The shop's orders: no row moves under a finger or a pointer.

function showOrders(orders) {
  const list = one("#orders");
  const held = list.matches(":focus-within") || (matchMedia("(hover: hover)").matches && list.matches(":hover"));
  const rows = new Map([...list.children].map((row) => [Number(row.dataset.id), row]));
  for (const order of orders) {
    const row = rows.get(order.id);
    if (row) fill(row, order);
  }
  if (held) return;
  const wanted = orders.map((order) => rows.get(order.id) || fill(orderRow(order), order));
  if (wanted.length !== list.children.length || wanted.some((row, at) => row !== list.children[at])) {
    list.replaceChildren(...wanted);
  }
}

function orderRow({ id }) {
  const row = make("li");
  row.dataset.id = id;
  const words = make("span");
  words.append(make("b"), make("small"));
  row.append(words);
  for (const [verb, label] of [["edit", "Edit"], ["delete", "Delete"]]) {
    const button = make("button", label);
    button.type = "button";
    button.setAttribute("aria-label", `${label} order ${id}`);
    button.addEventListener("click", async () => {
      await press(button, `shop/${verb}/${id}/`);
      button.blur();
      if (verb === "delete") row.remove();
    });
    row.append(button);
  }
  return row;
}

function fill(row, { id, customer, status, total }) {
  row.querySelector("b").textContent = `Order ${id} · ${customer}`;
  row.querySelector("small").textContent = `${status}, ${total}`;
  return row;
}

// The stream

function arrive(rows, missed) {
  one("#empty").hidden = true;
  const list = one("#events");
  const fresh = rows.map(eventRow).reverse();
  if (missed > 0) fresh.push(make("li", `… and ${count.format(missed)} more, just before`, "more"));
  list.prepend(...fresh);
  while (list.children.length > KEPT) list.lastElementChild.remove();
  const wire = one(".wire");
  if (!wire.classList.contains("moving")) {
    wire.classList.add("moving");
    setTimeout(() => wire.classList.remove("moving"), 700);
  }
}

function eventRow({ event, at, customer, repeat, shard }) {
  const [, thing, kind] = event.type.split(".");
  const row = make("li", "", "fresh");
  const box = make("details");
  const head = make("summary");
  const { id, status, name } = event.data;
  const what = [`${thing[0].toUpperCase()}${thing.slice(1)} ${id}`, name || customer, status];
  head.append(
    make("span", repeat ? "repeated" : kind, `kind ${kind}`),
    make("span", what.filter(Boolean).join(" · "), "who"),
    make("time", clock.format(new Date(at * 1000))),
  );
  box.append(head);
  // Written when it is opened: a thousand of them would be for nobody.
  box.addEventListener("toggle", () => {
    if (box.open && box.children.length === 1) {
      box.append(make("pre", `${shard}\n${JSON.stringify(event, null, 2)}`));
    }
  });
  row.append(box);
  return row;
}

function make(name, text = "", classes = "") {
  const element = document.createElement(name);
  if (text) element.textContent = text;
  if (classes) element.className = classes;
  return element;
}
