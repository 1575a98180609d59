"use strict";
// Texts of models are set as text, never as markup.
const at = (id) => document.getElementById(id);
const parts = ["warning", "work", "complete", "finished"];
let shown = "warning";
let item = null;
let busy = false;

function show(part) {
  shown = part;
  for (const name of parts) at(name).hidden = name !== part;
  at("tools").hidden = part === "warning" || part === "finished";
}

async function ask(name, body) {
  const how = body === undefined ? {} : {
    method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body),
  };
  const reply = await fetch(name, how);
  const found = (reply.headers.get("Content-Type") || "").startsWith("application/json") ? await reply.json() : null;
  if (found && found.error) throw new Error(found.error);
  if (!found) throw new Error(await reply.text());
  return found;
}

// One request at a time: a key held down labels once.
async function run(step) {
  if (busy) return;
  busy = true;
  at("trouble").textContent = "";
  try {
    await step();
  } catch (error) {
    const gone = error instanceof TypeError;
    at("trouble").textContent = gone ? "mtb audit is not running any more; start it again to go on." : error.message;
  } finally {
    busy = false;
  }
}

function render(state) {
  at("progress").textContent = `${state.done} of ${state.total} labelled`;
  at("bar").value = state.done;
  at("undo").disabled = state.last === null;
  at("last").textContent = state.last === null ? "" : `: ${state.last}`;
  item = state.item;
  if (shown === "warning" || shown === "finished") return;
  show(item === null ? "complete" : "work");
  if (item === null) return;
  at("form").textContent = item.form.replaceAll("_", " ");
  at("request").textContent = item.request;
  at("answer").textContent = item.answer === "" ? "(nothing: the answer is empty)" : item.answer;
  at("answer").classList.toggle("soft", item.answer === "");
  at("cut").hidden = !item.truncated;
  for (const name of ["request", "answer"]) at(name).scrollTop = 0;
}

const refresh = async () => render(await ask("state"));
const say = (label) => run(async () => {
  if (item !== null) render(await ask("label", {answer: item.id, label}));
});
const undo = () => run(async () => render(await ask("undo", {})));
// A key pressed while the page still asks how far the labels are is not lost.
// Nor one pressed before the first answer is there: the work shows with it.
const begin = () => opened.then(() => run(async () => {
  shown = "work";
  try {
    await refresh();
  } catch (error) {
    shown = "warning";
    throw error;
  }
}));

const finish = () => run(async () => {
  const before = shown;
  show("finished");
  try {
    const found = await ask("finish", {});
    const [head, ...rows] = found.rows;
    for (const text of head) {
      const cell = document.createElement("th");
      cell.textContent = text;
      at("rates").tHead.rows[0].appendChild(cell);
    }
    for (const row of rows) {
      const line = at("rates").tBodies[0].insertRow();
      for (const text of row) line.insertCell().textContent = text;
    }
    at("rates").hidden = rows.length === 0;
    at("outcome").textContent = "Results and report are written";
    at("explained").textContent = found.text;
  } catch (error) {
    show(before);
    throw error;
  }
});

function help() {
  if (at("keys").open) at("keys").close();
  else { at("keys").showModal(); at("keys").scrollTop = 0; }
}

at("begin").addEventListener("click", begin);
at("undo").addEventListener("click", undo);
at("help").addEventListener("click", help);
at("close").addEventListener("click", help);
at("stop").addEventListener("click", finish);
at("compute").addEventListener("click", finish);
for (const button of document.querySelectorAll("[data-label]"))
  button.addEventListener("click", () => { button.blur(); say(button.dataset.label); });

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.key === "?" && shown !== "finished") { event.preventDefault(); help(); return; }
  if (at("keys").open) return;
  const pressed = event.target instanceof HTMLButtonElement && event.key === "Enter";
  if (event.key === "Enter" && !pressed && shown === "warning") begin();
  else if (event.key === "Enter" && !pressed && shown === "complete") finish();
  else if (event.key.toLowerCase() === "u" && (shown === "work" || shown === "complete")) undo();
  else if (shown === "work") {
    const button = document.querySelector(`[data-key="${CSS.escape(event.key.toLowerCase())}"]`);
    if (button) say(button.dataset.label);
  }
});

const opened = run(async () => render(await ask("progress")));
