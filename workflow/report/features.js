"use strict";

const escapes = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
const escaped = (text) => String(text).replace(/[&<>"']/g, (letter) => escapes[letter]);

// ---- Rows: what a run's chunk holds, with the run in front. ----

const RUN = ["run", "model", "dataset", "dictionary", "seed"];
const KEYS = [...RUN, "layer", "step", "feature", "label", "type", "mono", "active", "tokens", "top", "enrichment", "p"];
const AT = Object.fromEntries(KEYS.map((key, index) => [key, index]));
const { runs: RUNS, block: BLOCK } = JSON.parse(document.getElementById("manifest").textContent);

async function featureRows(told) {
  const rows = [];
  for (const [number, run] of RUNS.entries()) {
    told(`Loading ${run.model}, seed ${run.seed} (${number + 1} of ${RUNS.length})…`);
    const front = [number, run.model, run.dataset, run.dictionary, run.seed];
    for (const row of await saeflow.load(`features-${number}`)) rows.push([...front, ...row]);
  }
  return rows;
}

// ---- Table ----

const featureId = (row) => `L${row[AT.layer]}_P${row[AT.step]}_F${row[AT.feature]}`;
const sortableId = (row) => (row[AT.layer] * 1000 + row[AT.step]) * 1e7 + row[AT.feature];

function smallNumber(value) {
  if (value === null) return "–";
  return value !== 0 && value < 0.001 ? value.toExponential(1) : value.toFixed(4);
}

function column(title, key, display, extra = {}) {
  const render = (data, type, row) => (type === "display" ? (display || escaped)(row[AT[key]], row) : row[AT[key]]);
  return { title, data: AT[key], render, ...extra };
}

const number = (key) => ({ type: "num", className: "n", orderSequence: key === "p" ? ["asc", "desc"] : ["desc", "asc"] });
const codes = (tokens) => tokens.map((token) => `<code>${escaped(token)}</code>`).join(" ");

const COLUMNS = [
  {
    title: "Feature",
    data: AT.feature,
    render: (data, type, row) => {
      if (type === "sort" || type === "type") return sortableId(row);
      return type === "display" ? `<button type="button" class="opens" aria-expanded="false">${featureId(row)}</button>` : featureId(row);
    },
  },
  column("Model", "model"),
  column("Data set", "dataset"),
  column("Dictionary", "dictionary"),
  column("Seed", "seed", null, number("seed")),
  column("Label", "label"),
  column("Mono.", "mono", (flag) => (flag ? "yes" : "no"), { searchable: false }),
  column("Active", "active", (n) => n.toLocaleString("en-US"), number("active")),
  column("Tokens", "tokens", null, number("tokens")),
  {
    title: "Top tokens",
    data: AT.top,
    className: "tokens",
    orderable: false,
    render: (tokens, type) => (type === "display" ? codes(tokens) : tokens.join(" ")),
  },
  column("Enrichment", "enrichment", (value) => (value === null ? "–" : value.toFixed(1)), number("enrichment")),
  column("p", "p", smallNumber, number("p")),
];

// What one model has several of; a column that only repeats the model's name for it would take room.
const several = (key) => RUNS.some((run) => RUNS.some((other) => other.model === run.model && other[key] !== run[key]));
const OPTIONAL = { "Data set": () => several("dataset"), Dictionary: () => several("dictionary") };

// ---- Filters ----

function fillChoices(form, rows) {
  for (const select of form.querySelectorAll("select")) {
    const values = [...new Set(rows.map((row) => row[AT[select.dataset.key]]))];
    values.sort((a, b) => (typeof a === "string" ? (a < b ? -1 : a > b ? 1 : 0) : Number(a) - Number(b)));
    select.add(new Option("all", ""));
    for (const value of values) select.add(new Option(typeof value === "boolean" ? (value ? "yes" : "no") : value, String(value)));
    select.parentElement.hidden = values.length < 2;
  }
}

function chosenFilters(form) {
  const tests = [];
  for (const { dataset: { key }, tagName, value } of form.querySelectorAll("select, input")) {
    const text = value.trim();
    if (!text) continue;
    if (tagName === "SELECT") tests.push((row) => String(row[AT[key]]) === value);
    else if (key === "token") tests.push((row) => row[AT.top].includes(text));
    else if (key === "p") tests.push((row) => row[AT.p] !== null && row[AT.p] <= Number(text));
    else tests.push((row) => row[AT[key]] >= Number(text));
  }
  return tests;
}

function connectFilters(form, table, rows) {
  const apply = () => {
    const tests = chosenFilters(form);
    table.search.fixed("filters", (text, row, index) => tests.every((test) => test(rows[index]))).draw();
  };
  let waiting = 0;
  for (const kind of ["input", "change"]) {
    form.addEventListener(kind, () => {
      clearTimeout(waiting);
      waiting = setTimeout(apply, 150);
    });
  }
  form.addEventListener("reset", () => setTimeout(() => {
    table.search("");
    apply();
  }));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
}

// ---- One feature: its tokens, and the problems where it fires hardest, with those tokens marked. ----

function element(name, text, children = []) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

function tokenTable(tokens, passing) {
  const heads = ["Token", "Active, with", "Active, without", "Silent, with", "Silent, without", "Enrichment", "p"];
  const table = element("table");
  const shown = passing > tokens.length ? `The ${tokens.length} most enriched of ${passing} tokens that pass the criteria` : "Tokens that pass the criteria, most enriched first";
  table.createCaption().textContent = `${shown}, and on how many problems.`;
  const head = table.createTHead().insertRow();
  for (const [index, title] of heads.entries()) {
    const cell = element("th", title);
    cell.scope = "col";
    if (index) cell.className = "n";
    head.append(cell);
  }
  const body = table.createTBody();
  for (const [token, a, b, c, d, enrichment, p] of tokens) {
    const row = body.insertRow();
    const name = element("th", "", [element("code", token)]);
    name.scope = "row";
    row.append(name);
    for (const value of [a, b, c, d, enrichment === null ? "–" : enrichment.toFixed(1), smallNumber(p)]) {
      row.append(Object.assign(element("td", String(value)), { className: "n" }));
    }
  }
  return table;
}

function problemItem(value, [name, question, calculations, split], marked) {
  const steps = calculations.map((tokens) =>
    element("code", "", tokens.map((token) => (marked.has(token) ? element("mark", token) : document.createTextNode(token)))));
  const line = element("p", "", steps.flatMap((step, index) => (index ? [" ", step] : [step])));
  line.className = "calculation";
  const head = element("p", `${value === null ? "–" : value} on ${name} (${split})`);
  head.className = "activation";
  return element("li", "", [head, element("p", question), line]);
}

async function details(row) {
  const run = RUNS[row[AT.run]];
  const found = (await saeflow.load(`details-${row[AT.run]}-${row[AT.layer]}`))[`${row[AT.step]}_${row[AT.feature]}`];
  const blocks = [...new Set(found.problems.map(([problem]) => Math.floor(problem / BLOCK)))];
  const texts = Object.assign({}, ...(await Promise.all(blocks.map((each) => saeflow.load(`problems-${run.problems}-${each}`)))));
  const marked = new Set(found.tokens.map(([token]) => token));
  const hits = found.problems.filter(([problem]) => texts[problem][2].flat().includes(found.tokens[0]?.[0])).length;
  const list = element("ol", "", found.problems.map(([problem, value]) => problemItem(value, texts[problem], marked)));
  const box = element("div", "", [
    element("p", `${featureId(row)} of ${run.model}, ${run.dictionary}, seed ${run.seed}. Label: ${row[AT.label]} (${found.why}).`),
    tokenTable(found.tokens, row[AT.tokens]),
    element("h3", "Problems where it fires hardest"),
    element("p", `The most enriched token, ${found.tokens[0]?.[0] ?? ""}, is in ${hits} of these ${found.problems.length}. Activation, sign included; the tokens above are marked in the calculation.`),
    list,
  ]);
  box.className = "details";
  return box;
}

function connectDetails(table) {
  table.on("click", "button.opens", async (event) => {
    const button = event.target;
    const row = table.row(button.closest("tr"));
    if (row.child.isShown()) {
      row.child.hide();
      button.setAttribute("aria-expanded", "false");
      return;
    }
    try {
      row.child(await details(row.data()), "child").show();
    } catch (error) {
      row.child(element("p", error.message), "child").show();
    }
    button.setAttribute("aria-expanded", "true");
  });
}

async function showFeatures() {
  const status = document.getElementById("loading");
  const told = (text) => { status.textContent = text; };
  let rows;
  try {
    rows = await featureRows(told);
  } catch (error) {
    told(error.message);
    return;
  }
  const table = new DataTable("#feature-table", {
    data: rows,
    columns: COLUMNS.map((each) => (OPTIONAL[each.title] ? { ...each, visible: OPTIONAL[each.title]() } : each)),
    order: [[COLUMNS.findIndex((each) => each.title === "p"), "asc"]],
    deferRender: true,
    autoWidth: false,
    pageLength: 25,
    lengthMenu: [10, 25, 50, 100, 250],
    searchDelay: 250,
    language: { search: "Search all columns", lengthMenu: "_MENU_ rows per page", emptyTable: "No feature has a pair." },
  });
  const form = document.getElementById("filters");
  fillChoices(form, rows);
  connectFilters(form, table, rows);
  connectDetails(table);
  status.hidden = true;
}

if (RUNS.length) showFeatures();
