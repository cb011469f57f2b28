"use strict";

// What pages with tables of features share: texts, cells, filters, and small tables.

const escapes = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
const escaped = (text) => String(text).replace(/[&<>"']/g, (letter) => escapes[letter]);
const codes = (tokens) => tokens.map((token) => `<code>${escaped(token)}</code>`).join(" ");
const fixed = (value, digits = 2) => (value === null ? "–" : value.toFixed(digits));

function smallNumber(value) {
  if (value === null) return "–";
  return value !== 0 && value < 0.001 ? value.toExponential(1) : value.toFixed(4);
}

// ---- Columns: `at` tells where a row holds each key, `lacking` what a missing value sorts as. ----

const columnsOf = (at, lacking) => (title, key, display, extra = {}) => {
  const render = (data, type, row) => {
    const value = row[at[key]];
    if (type === "display") return (display || escaped)(value, row);
    return type === "sort" && value === null ? lacking(key) : value;
  };
  return { title, data: at[key], render, ...extra };
};

const numbers = (first = "desc") => ({ type: "num", className: "n", orderSequence: first === "asc" ? ["asc", "desc"] : ["desc", "asc"] });

// ---- Filters ----

function fillChoices(form, rows, at) {
  for (const select of form.querySelectorAll("select")) {
    const kinds = new Set(rows.map((row) => row[at[select.dataset.key]]));
    const values = [...kinds].filter((value) => value !== null);
    values.sort((a, b) => (typeof a === "string" ? (a < b ? -1 : a > b ? 1 : 0) : Number(a) - Number(b)));
    select.add(new Option("all", ""));
    for (const value of values) select.add(new Option(typeof value === "boolean" ? (value ? "yes" : "no") : value, String(value)));
    select.parentElement.hidden = kinds.size < 2;
  }
}

// A list asks for its very value and a number for as much or more, unless `own` has another test for the key.
function chosenFilters(form, at, own) {
  const tests = [];
  for (const { dataset: { key }, tagName, value } of form.querySelectorAll("select, input")) {
    const text = value.trim();
    if (!text) continue;
    if (tagName === "SELECT") tests.push((row) => String(row[at[key]]) === value);
    else if (own[key]) tests.push((row) => own[key](row, text));
    else tests.push((row) => row[at[key]] !== null && row[at[key]] >= Number(text));
  }
  return tests;
}

function connectFilters(form, table, rows, at, own) {
  const apply = () => {
    const tests = chosenFilters(form, at, own);
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

// ---- Elements and small tables ----

function element(name, text, children = []) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

// A table of rows of texts or elements; the first cell of each, an element, is its heading, and cells from
// `numeric` on are numbers.
function plainTable(caption, heads, rows, numeric) {
  const table = element("table");
  table.createCaption().append(element("span", caption));
  const head = table.createTHead().insertRow();
  for (const [index, title] of heads.entries()) {
    const cell = element("th", title);
    cell.scope = "col";
    if (index >= numeric) cell.className = "n";
    head.append(cell);
  }
  const body = table.createTBody();
  for (const [first, ...others] of rows) {
    const row = body.insertRow();
    const name = element("th", "", [first]);
    name.scope = "row";
    row.append(name);
    for (const [index, value] of others.entries()) {
      const cell = Object.assign(element("td"), { className: index + 1 >= numeric ? "n" : "" });
      cell.append(value instanceof Node ? value : String(value));
      row.append(cell);
    }
  }
  const scroller = element("div", "", [table]);
  scroller.className = "scroll";
  return scroller;
}
