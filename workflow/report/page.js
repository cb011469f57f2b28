"use strict";

// ---- Data on demand: a page from disk cannot fetch, but it can add a script that hands its data over. ----

const saeflow = (() => {
  const asked = new Map();
  const waiting = new Map();
  const load = (name) => {
    if (!asked.has(name)) {
      asked.set(name, new Promise((resolve, reject) => {
        waiting.set(name, resolve);
        const script = document.createElement("script");
        script.src = `data/${name}.js`;
        script.onload = () => {
          script.remove();
          // A file that was cut short loads, too, and hands nothing over.
          if (waiting.delete(name)) reject(new Error(`data/${name}.js is damaged. Run the workflow again.`));
        };
        script.onerror = () => {
          asked.delete(name);
          script.remove();
          reject(new Error(`data/${name}.js is not beside this page. Open the page in the folder that the workflow wrote.`));
        };
        document.head.append(script);
      }));
    }
    return asked.get(name);
  };
  return { load, receive: (name, data) => { waiting.get(name)(data); waiting.delete(name); } };
})();

// ---- Figures: text and grid take the page's colours, light, dark or printed. ----

function colours() {
  const style = getComputedStyle(document.documentElement);
  const value = (name) => style.getPropertyValue(name).trim();
  return { ink: value("--ink"), soft: value("--soft"), rule: value("--rule"), paper: value("--paper") };
}

function restyle(layout) {
  const { ink, soft, rule, paper } = colours();
  layout.font = { color: ink, size: 13, family: getComputedStyle(document.body).fontFamily };
  layout.modebar = { bgcolor: "rgba(0,0,0,0)", color: soft, activecolor: ink };
  layout.hoverlabel = { bgcolor: paper, bordercolor: soft, align: "left", font: { color: ink } };
  for (const name of Object.keys(layout).filter((key) => /^[xy]axis/.test(key))) {
    Object.assign(layout[name], { gridcolor: rule, linecolor: soft, showline: true, ticks: "outside", tickcolor: soft });
  }
  return layout;
}

// Figures of which a reader chooses what is shown: lists above them, in place of plotly's own, which the
// keyboard does not reach.
function offerChoices(div, figure, draw) {
  const choices = figure.layout.meta?.choices ?? [];
  if (!choices.length) return;
  const bar = document.createElement("div");
  bar.className = "choices";
  for (const { label, options } of choices) {
    const select = document.createElement("select");
    select.autocomplete = "off";
    select.append(...options.map(({ title }, index) => new Option(title, index)));
    select.addEventListener("change", () => {
      options.forEach(({ traces }, index) => {
        for (const trace of traces) figure.data[trace].visible = index === select.selectedIndex;
      });
      draw();
    });
    const named = document.createElement("label");
    named.append(label, select);
    bar.append(named);
  }
  (div.closest(".scroll") ?? div).before(bar);
}

function drawFigures() {
  const options = { responsive: true, displaylogo: false, modeBarButtons: [["toImage", "resetScale2d"]] };
  const plots = [...document.querySelectorAll(".figure-data")].map((data) => ({
    div: document.getElementById(data.dataset.target),
    figure: JSON.parse(data.textContent),
  }));
  if (typeof Plotly === "undefined") {
    for (const { div } of plots) {
      div.classList.add("missing");
      div.textContent = "assets/plotly.min.js is not beside this page, so the figure cannot be drawn. Open the page in the folder that the workflow wrote.";
    }
    return;
  }
  const draw = () => {
    for (const { div, figure } of plots) Plotly.react(div, figure.data, restyle(figure.layout), options);
  };
  draw();
  for (const { div, figure } of plots) offerChoices(div, figure, draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  matchMedia("print").addEventListener("change", draw);
}

if (document.querySelector(".figure-data")) drawFigures();
