"use strict";

// ---- Rows: what a run's chunk holds, with the run in front. ----

const RUN = ["run", "model", "dataset", "dictionary", "seed"];
const KEYS = [...RUN, "layer", "step", "feature", "label", "type", "mono", "active", "tokens", "top", "enrichment", "p", "best", "q", "follows"];
const AT = Object.fromEntries(KEYS.map((key, index) => [key, index]));
const { runs: RUNS, block: BLOCK, calibrated: CALIBRATED } = JSON.parse(document.getElementById("manifest").textContent);

async function featureRows(told) {
  const rows = [];
  for (const [number, run] of RUNS.entries()) {
    told(`Loading ${run.model}, seed ${run.seed} (${number + 1} of ${RUNS.length})…`);
    const front = [number, run.model, run.dataset, run.dictionary, run.seed];
    for (const row of await saeflow.load(`features-${number}`)) rows.push([...front, ...row, row[row.length - 1] !== null]);
  }
  return rows;
}

// ---- Table ----

const featureId = (row) => `L${row[AT.layer]}_P${row[AT.step]}_F${row[AT.feature]}`;
const sortableId = (row) => (row[AT.layer] * 1000 + row[AT.step]) * 1e7 + row[AT.feature];

// What a feature lacks sorts after all p-values, and below all other numbers.
const lacking = (key) => (key === "p" || key === "q" ? Infinity : -Infinity);

const column = columnsOf(AT, lacking);
const number = (key) => numbers(key === "p" || key === "q" ? "asc" : "desc");

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
  column("Label", "label", (text) => escaped(text || "–")),
  column("Mono.", "mono", (flag) => (flag ? "yes" : "no"), { searchable: false }),
  column("Active", "active", (n) => (n === null ? "–" : n.toLocaleString("en-US")), number("active")),
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
  {
    title: "Follows",
    data: AT.best,
    render: (token, type) => (type === "display" ? (token === null ? "–" : codes([token])) : token ?? ""),
  },
  column("q", "q", smallNumber, number("q")),
];

// What one model has several of; a column that only repeats the model's name for it would take room.
const several = (key) => RUNS.some((run) => RUNS.some((other) => other.model === run.model && other[key] !== run[key]));
const OPTIONAL = {
  Follows: () => CALIBRATED,
  q: () => CALIBRATED,
  "Data set": () => several("dataset"),
  Dictionary: () => several("dictionary"),
};

// ---- Filters ----

const FILTERS = {
  token: (row, text) => row[AT.top].includes(text),
  p: (row, text) => row[AT.p] !== null && row[AT.p] <= Number(text),
  q: (row, text) => row[AT.q] !== null && row[AT.q] <= Number(text),
};

// ---- One feature: its tokens, and the problems where it fires hardest, with those tokens marked. ----

function tokenTable(tokens, passing) {
  const heads = ["Token", "Active, with", "Active, without", "Silent, with", "Silent, without", "Enrichment", "p"];
  const shown = passing > tokens.length ? `The ${tokens.length} most enriched of ${passing} tokens that pass the criteria` : "Tokens that pass the criteria, most enriched first";
  const rows = tokens.map(([token, a, b, c, d, enrichment, p]) =>
    [element("code", token), a, b, c, d, enrichment === null ? "–" : enrichment.toFixed(1), smallNumber(p)]);
  return plainTable(`Published. ${shown}, and on how many problems.`, heads, rows, 1);
}

function discoveryTable(found) {
  const heads = ["Label", "Target", "Half", "Active, with", "Active, without", "Silent, with", "Silent, without", "Exact p", "q", "Log odds [95 %]", "Precision", "Recall", "AUROC", "Carried"];
  const rows = found.map(([sign, target, label, a, b, c, d, p, q, odds, low, high, precision, recall, auroc, carried]) =>
    [element("code", label), target, sign === "+" ? "above\u00a00" : "below\u00a00", a, b, c, d, smallNumber(p), smallNumber(q), `${fixed(odds)} [${fixed(low)}, ${fixed(high)}]`, fixed(precision), fixed(recall), fixed(auroc), carried ? "yes" : "no"]);
  const caption = "Calibrated: what either half of the feature follows on problems that no SAE saw. Carried: no longer significant once the half’s best label of the same target is given. Rounded; in full in discoveries.parquet.";
  return plainTable(caption, heads, rows, 3);
}

function matchTable(matches, row) {
  const heads = ["Partner", "SAE seed", "Cosine", "Correlation", "Recurs", "Same token"];
  const said = (flag) => (flag === null ? "–" : flag ? "yes" : "no");
  const rows = matches.map(([seed, feature, cosine, correlation, recurs, same]) =>
    [element("code", `L${row[AT.layer]}_P${row[AT.step]}_F${feature}`), seed, fixed(cosine), fixed(correlation), said(recurs), said(same)]);
  return plainTable("Partner under another SAE seed: cosine of both directions, correlation of both activations.", heads, rows, 1);
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
  const marked = new Set([...found.tokens.map(([token]) => token), ...found.found.filter(([, target]) => target === "token").map(([, , label]) => label)]);
  const named = row[AT.label] ? `Label: ${row[AT.label]} (${found.why}).` : "The published procedure has no pair of it, so it has no label.";
  const parts = [element("p", `${featureId(row)} of ${run.model}, ${run.dictionary}, seed ${run.seed}. ${named}`)];
  if (found.tokens.length) parts.push(tokenTable(found.tokens, row[AT.tokens]));
  if (found.found.length) parts.push(discoveryTable(found.found));
  else if (CALIBRATED) parts.push(element("p", "Calibrated: no half of it has a discovery."));
  if (found.matches.length) parts.push(matchTable(found.matches, row));
  if (found.problems.length) {
    const [first] = found.tokens[0] ?? [""];
    const hits = found.problems.filter(([problem]) => texts[problem][2].flat().includes(first)).length;
    parts.push(
      element("h3", "Problems where it fires hardest"),
      element("p", `The most enriched token, ${first}, is in ${hits} of these ${found.problems.length}. Activation, sign included; the tokens above are marked in the calculation.`),
      element("ol", "", found.problems.map(([problem, value]) => problemItem(value, texts[problem], marked))),
    );
  } else parts.push(element("p", "No examples are stored of it: those are kept of features with a published label."));
  const box = element("div", "", parts);
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
  fillChoices(form, rows, AT);
  connectFilters(form, table, rows, AT, FILTERS);
  connectDetails(table);
  status.hidden = true;
}

if (RUNS.length) showFeatures();
