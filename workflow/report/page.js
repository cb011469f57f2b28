const read = (id) => JSON.parse(document.getElementById(id).textContent);
const escapes = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
const escaped = (text) => String(text).replace(/[&<>"']/g, (letter) => escapes[letter]);

// ---- Table of features ----

const KEYS = ["model", "dataset", "dictionary", "seed", "layer", "step", "feature", "label", "type", "mono", "active", "tokens", "top", "enrichment", "p"];
const AT = Object.fromEntries(KEYS.map((key, index) => [key, index]));

function featureRows() {
  const { runs, rows } = read("feature-data");
  return rows.map((row) => [...runs[row[0]], ...row.slice(1)]);
}

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

const TYPED = { p: "num", enrichment: "num", active: "num", tokens: "num", seed: "num" };
const number = (key) => ({ type: TYPED[key], className: "n", orderSequence: key === "p" ? ["asc", "desc"] : ["desc", "asc"] });

const COLUMNS = [
  {
    title: "Feature",
    data: AT.feature,
    render: (data, type, row) => (type === "sort" || type === "type" ? sortableId(row) : type === "display" ? `<code>${featureId(row)}</code>` : featureId(row)),
  },
  column("Label", "label"),
  column("Type", "type"),
  column("Mono.", "mono", (flag) => (flag ? "yes" : "no"), { searchable: false }),
  column("Active", "active", (n) => n.toLocaleString("en-US"), number("active")),
  column("Tokens", "tokens", null, number("tokens")),
  {
    title: "Top tokens",
    data: AT.top,
    className: "tokens",
    orderable: false,
    render: (tokens, type) => (type === "display" ? tokens.map((token) => `<code>${escaped(token)}</code>`).join(" ") : tokens.join(" ")),
  },
  column("Enrichment", "enrichment", (value) => (value === null ? "–" : value.toFixed(1)), number("enrichment")),
  column("p", "p", smallNumber, number("p")),
  column("Model", "model"),
  column("Data set", "dataset"),
  column("Dictionary", "dictionary"),
  column("Seed", "seed", null, number("seed")),
];

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
  form.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(apply, 150);
  });
  form.addEventListener("reset", () => setTimeout(apply));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
}

async function showFeatures() {
  // Browsers import no module from a page on disk, so the bundle is imported from memory.
  const encoded = document.getElementById("datatables-bundle").textContent;
  const bytes = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
  const url = URL.createObjectURL(new Blob([bytes], { type: "text/javascript" }));
  const { default: DataTable } = await import(url);
  URL.revokeObjectURL(url);
  const rows = featureRows();
  const several = (key) => new Set(rows.map((row) => row[AT[key]])).size > 1;
  const table = new DataTable("#feature-table", {
    data: rows,
    columns: COLUMNS.map((each) => (each.title === "Data set" ? { ...each, visible: several("dataset") } : each)),
    order: [[8, "asc"]],
    deferRender: true,
    autoWidth: false,
    pageLength: 25,
    lengthMenu: [10, 25, 50, 100, 250],
    language: { search: "Search all columns", lengthMenu: "_MENU_ rows per page", emptyTable: "No feature has a pair." },
  });
  const form = document.getElementById("filters");
  fillChoices(form, rows);
  connectFilters(form, table, rows);
}

drawFigures();
showFeatures();
