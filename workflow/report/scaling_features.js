"use strict";

// ---- Rows ----

const KEYS = ["feature", "density", "largest", "topic", "place", "area", "p", "control", "beside", "explanation", "detection", "detectionSwapped", "fuzzing", "fuzzingSwapped", "explained"];
const AT = Object.fromEntries(KEYS.map((key, index) => [key, index]));
const { chunk: CHUNK, block: BLOCK, steps: STEPS, splits: SPLITS, bins: BINS, searched: SEARCHED } = JSON.parse(document.getElementById("manifest").textContent);
// By feature: its row, and its place among the chunks.
const ROW = new Map();
const ORDER = new Map();
const HASH = /^#feature-(\d+)$/;

const explained = (text) => (text === null ? "none made" : text ? "says something" : "empty");
const share = (value) => (value === null ? "–" : `${Number((100 * value).toPrecision(3))}\u00a0%`);
const plain = (value) => (value === null ? "–" : String(Number(value.toPrecision(3))).replace("-", "−"));
const count = (value) => (value === null ? "–" : value.toLocaleString("en-US"));

// ---- Table ----

const column = columnsOf(AT, (key) => (key === "p" || key === "place" ? Infinity : -Infinity));
const score = (title, key) => column(title, key, (value) => fixed(value), numbers());
const isolated = (text) => `<span dir="auto">${escaped(text)}</span>`;

const COLUMNS = [
  column("Feature", "feature", (value) => `<a href="#feature-${value}">${value}</a>`, numbers("asc")),
  column("Density", "density", share, numbers()),
  column("Largest", "largest", plain, numbers()),
  column("Explanation", "explanation", (text) => (text ? `<span dir="auto" class="clamped">${escaped(text)}</span>` : text === null ? "–" : "(empty)"), { className: "wrap" }),
  score("Detection", "detection"),
  score("Swapped", "detectionSwapped"),
  score("Fuzzing", "fuzzing"),
  score("Swapped", "fuzzingSwapped"),
  column("Topic", "topic", (text) => (text === null ? "–" : isolated(text))),
  column("Place", "place", (value) => value ?? "–", numbers("asc")),
  column("AUROC", "area", (value) => fixed(value, 3), numbers()),
  column("p", "p", smallNumber, numbers("asc")),
  column("Best control", "control", (value, row) => (value === null ? "–" : `${fixed(value, 3)} <small>${escaped(controlTitle(row[AT.beside]))}</small>`), numbers()),
];

const FILTERS = {
  place: (row, text) => row[AT.place] !== null && row[AT.place] <= Number(text),
  rare: (row, text) => row[AT.density] !== null && row[AT.density] <= Number(text),
};

// ---- One feature ----

const CONTROLS = { words: "words", length: "length", difference_of_means: "difference of means", untrained: "untrained model", frozen_decoder: "frozen decoder" };
const LEVELS = { document_max: "prompts, by maximum", document_mean: "prompts, by mean", token: "tokens" };
const NEGATIVES = { all: "all kinds", random: "random contexts", near_miss: "near misses", moved: "other tokens marked" };
const controlTitle = (name) => CONTROLS[name] ?? name.replaceAll("_", " ");

const code = (text) => Object.assign(element("code", text), { className: "marked", dir: "auto" });
const words = (text) => Object.assign(element("span", text), { dir: "auto" });
const leaf = (name, text, className) => Object.assign(element(name, text), { className });

function featureLink(feature) {
  return ROW.has(feature) ? Object.assign(element("a", String(feature)), { href: `#feature-${feature}` }) : words(String(feature));
}

function shade(value, most) {
  if (value === null) return "begin";
  if (!value || !most) return "";
  return `${value > 0 ? "p" : "n"}${Math.min(STEPS, 1 + Math.floor((STEPS * Math.abs(value)) / most))}`;
}

// A context: its tokens, shaded by activation, with the example's own token in a frame.
function context([, , , centre, tokens], active, texts, most) {
  const values = new Map();
  for (let index = 0; index < active.length; index += 2) values.set(active[index], active[index + 1]);
  const parts = tokens.map((token, place) => {
    const value = values.has(place) ? values.get(place) : 0;
    const classes = [shade(value, most), place === centre ? "centre" : ""].filter(Boolean);
    if (!classes.length) return document.createTextNode(texts[token]);
    const made = leaf("span", texts[token], classes.join(" "));
    made.title = value === null ? "put before the text by the tokenizer" : plain(value);
    return made;
  });
  const line = code("");
  line.append(...parts);
  return line;
}

function exampleList(examples, data, most) {
  const items = examples.map(([number, value, active]) => {
    const [text, position, group] = data.windows[number];
    const told = [plain(value), `document ${text}, token ${position}`, group].filter(Boolean).join(", ");
    const head = leaf("span", told, "activation");
    head.dir = "auto";
    return element("li", "", [head, " ", context(data.windows[number], active, data.tokens, most)]);
  });
  const list = element("ol", "", items);
  list.className = "tops";
  return list;
}

function folded(title, children, open) {
  const made = element("details", "", [element("summary", title), ...children]);
  made.open = open;
  made.className = "folded";
  return made;
}

function exampleParts(found, data, most) {
  const parts = [];
  for (const [number, split] of SPLITS.entries()) {
    const { top = [], bin = {}, silent = [] } = found.examples[split] ?? {};
    if (top.length) parts.push(folded(`Largest in ${split} documents: ${top.length} ${top.length === 1 ? "token" : "tokens"}`, [exampleList(top, data, most)], !number));
    const drawn = Object.entries(bin).sort(([a], [b]) => b - a);
    if (drawn.length) {
      const lists = drawn.flatMap(([place, [tokens, examples]]) => {
        const [low, high] = [place, Number(place) + 1].map((end) => Number(((100 * end) / BINS).toPrecision(3)));
        return [element("p", `${low} to ${high} % of its largest activation: ${examples.length} of ${count(tokens)} tokens`), exampleList(examples, data, most)];
      });
      parts.push(folded(`From every strength in ${split} documents, drawn at random`, lists, false));
    }
    if (silent.length) parts.push(folded(`Silent in ${split} documents: tokens around which it is 0, drawn at random`, [exampleList(silent, data, most)], false));
  }
  if (!parts.length) parts.push(element("p", "No examples are stored of it."));
  return [element("h3", "Where it fires"), ...parts];
}

function tokenParts(found) {
  const parts = [];
  const heads = ["Token", "Fires on", "Expected", "Times expected", "Read", "Summed activation"];
  for (const [number, split] of SPLITS.entries()) {
    for (const [by, title] of [["count", "most often"], ["total", "with most activation"]]) {
      const tokens = found.tokens[split]?.[by] ?? [];
      if (!tokens.length) continue;
      const rows = tokens.map(([token, fires, total, read, expected]) =>
        [code(token), count(fires), plain(expected), expected ? plain(fires / expected) : "–", count(read), plain(total)]);
      parts.push(folded(`Tokens on which it fires ${title} in ${split} documents`, [plainTable("Expected: if it fired on any token alike.", heads, rows, 1)], !number && by === "count"));
    }
  }
  return parts.length ? [element("h3", "Tokens"), ...parts] : [];
}

function neighbourParts(found) {
  const titles = { correlation: ["Correlation", "Cosine", "activations over all tokens"], cosine: ["Cosine", "Correlation", "decoder directions"] };
  const tables = Object.entries(titles).filter(([by]) => found.neighbours[by]?.length).map(([by, [own, other, what]]) => {
    const rows = found.neighbours[by].map(([feature, similarity, alike]) =>
      [featureLink(feature), words(ROW.get(feature)?.[AT.explanation] || "–"), fixed(similarity, 3), fixed(alike, 3)]);
    return plainTable(`Nearest by ${own.toLowerCase()} of ${what}. Features without a link are not listed on this page.`, ["Feature", "Explanation", own, other], rows, 2);
  });
  return tables.length ? [element("h3", "Neighbours"), ...tables] : [];
}

function splitTable(found) {
  const heads = ["Documents", "Tokens it fires on", "Documents it fires in", "Density", "Mean", "Largest"];
  const ordered = SPLITS.flatMap((name) => found.splits.filter(([split]) => split === name));
  const rows = ordered.map(([split, tokens, documents, density, mean, largest]) =>
    [words(split), count(tokens), count(documents), share(density), plain(mean), plain(largest)]);
  const [, , , , , , cosine, other] = ordered[0];
  const caption = element("p", cosine === null ? "" : `Largest cosine of its decoder direction with that of another feature: ${fixed(cosine, 3)}, feature `);
  if (cosine !== null) caption.append(featureLink(other), ".");
  return [plainTable("Mean: over all tokens, those where it is silent as well.", heads, rows, 1), caption];
}

function searchParts(found) {
  if (!found.search.length) return SEARCHED ? [element("h3", "Search"), element("p", "No search lists it.")] : [];
  const heads = ["Prompts", "Procedure", "Largest on", "Controls, held out", "Place", "Chosen by", "Held out", "p (Holm)", "Found again"];
  const rows = found.search.map(([topic, mode, inputs, level, score, place, chosen, value, p, stability, controls, tokens]) => {
    const told = controls.map(([name, area]) => `${controlTitle(name)} ${fixed(area, 3)}`).join(", ");
    const procedure = mode === "published" ? `published, ${score.replaceAll("_", " ")}, inputs ${inputs}` : `${mode}, ${LEVELS[level] ?? level}`;
    const largest = Object.assign(element("span", "", tokens.flatMap((token) => [code(token), " "])), { className: "several" });
    return [words(topic), procedure, largest, leaf("span", told || "–", "several"), place, plain(chosen), fixed(value, 3), smallNumber(p), stability === null ? "–" : share(stability)];
  });
  const caption = "Calibrated: chosen on half of the prompts, and the AUROC held out on the other; 0.5 is chance. Found again: in draws of the prompts that it was chosen on. Published scores hold nothing out.";
  return [element("h3", "Search"), plainTable(caption, heads, rows, 4)];
}

function explanationParts(found) {
  const parts = found.explanations.flatMap(({ explainer, explanation, parsed, contexts, swapped, scores }) => {
    const said = element("p", "", [element("b", `${explainer}: `), words(explanation || "nothing to explain from"), ` (from ${contexts} contexts${parsed ? "" : "; the reply did not have the form asked for"})`]);
    const [other, text] = swapped;
    const control = element("p", "", other < 0 ? ["No swapped explanation."] : ["Swapped, of feature ", featureLink(other), ": ", words(text || "empty")]);
    const scored = (values) => {
      if (values === null || values[0] === null) return "–";
      const [value, low, high, area] = values;
      return `${fixed(value)}${low === null ? "" : ` [${fixed(low)}, ${fixed(high)}]`}${area === null ? "" : `; ${fixed(area)}`}`;
    };
    const rows = scores.map(([scorer, method, kind, positive, negative, unread, own, swap, empty]) =>
      [words(method), scorer, NEGATIVES[kind] ?? kind, `${count(positive)} / ${count(negative)}`, count(unread), scored(own), scored(swap), scored(empty)]);
    const heads = ["Method", "Scorer", "Told from", "Firing / others", "Not read", "Own", "Swapped", "Empty"];
    const caption = "Balanced accuracy [95 %]; AUROC where the scorer gives numbers, on documents that it was not explained from. 0.5 is chance.";
    return [said, control, ...(rows.length ? [plainTable(caption, heads, rows, 3)] : [])];
  });
  return parts.length ? [element("h3", "Explanations"), ...parts] : [];
}

async function details(feature) {
  const place = ORDER.get(feature);
  const data = await saeflow.load(`${CHUNK}-${Math.floor(place / BLOCK)}`);
  const found = data.features[feature];
  const most = ROW.get(feature)[AT.largest] ?? 0;
  return [
    ...(found.splits.length ? splitTable(found) : []),
    ...explanationParts(found),
    ...exampleParts(found, data, most),
    ...tokenParts(found),
    ...neighbourParts(found),
    ...searchParts(found),
  ];
}

// ---- The address says which feature is open, so that it can be linked to and left with “back”. ----


async function showHash() {
  const asked = HASH.exec(location.hash);
  if (!asked) return;
  const feature = Number(asked[1]);
  const section = document.getElementById("detail");
  const title = document.getElementById("detail-title");
  const body = document.getElementById("detail-body");
  let parts;
  try {
    parts = ROW.has(feature) ? await details(feature) : [element("p", "It is not listed on this page.")];
  } catch (error) {
    parts = [element("p", error.message)];
  }
  // Another one may have been asked for while this one was loading.
  if (location.hash !== asked[0]) return;
  title.textContent = `Feature ${feature}`;
  body.replaceChildren(...parts);
  section.hidden = false;
  section.scrollIntoView();
  title.focus({ preventScroll: true });
}

async function showFeatures() {
  const status = document.getElementById("loading");
  let rows;
  try {
    rows = (await saeflow.load(CHUNK)).map((row) => [...row, explained(row[AT.explanation])]);
  } catch (error) {
    status.textContent = error.message;
    return;
  }
  for (const [place, row] of rows.entries()) {
    ROW.set(row[AT.feature], row);
    ORDER.set(row[AT.feature], place);
  }
  // A column in which nothing was measured would only take room.
  const columns = COLUMNS.map((each) => ({ ...each, visible: rows.some((row) => row[each.data] !== null) }));
  // By what half A of the prompts says, which chose; what half B says of it chooses nothing.
  const searched = columns.some((each) => each.data === AT.place && each.visible);
  const first = columns.findIndex((each) => each.data === (searched ? AT.place : AT.density));
  const table = new DataTable("#feature-table", {
    data: rows,
    columns,
    order: [[first, searched ? "asc" : "desc"]],
    deferRender: true,
    autoWidth: false,
    pageLength: 10,
    lengthMenu: [10, 25, 50, 100, 250],
    searchDelay: 250,
    language: { search: "Search all columns", lengthMenu: "_MENU_ rows per page", emptyTable: "No feature is listed." },
  });
  const form = document.getElementById("filters");
  fillChoices(form, rows, AT);
  for (const key of ["place", "area", "detection"]) {
    form.querySelector(`[data-key=${key}]`).parentElement.hidden = rows.every((row) => row[AT[key]] === null);
  }
  connectFilters(form, table, rows, AT, FILTERS);
  status.hidden = true;
  const map = document.getElementById("map");
  map?.on?.("plotly_click", ({ points: [point] }) => { location.hash = `#feature-${point.customdata}`; });
  addEventListener("hashchange", showHash);
  await showHash();
}

if (document.getElementById("loading").textContent.startsWith("Loading")) showFeatures();
