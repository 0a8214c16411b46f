"use strict";

const compare = (a, b) => (a !== "" && b !== "" && !isNaN(a) && !isNaN(b) ? a - b : a.localeCompare(b));

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const turned = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", turned ? "descending" : "ascending");
      const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
      const rows = [...table.tBodies[0].rows].sort((a, b) => (turned ? -1 : 1) * compare(key(a), key(b)));
      table.tBodies[0].append(...rows);
    });
  });
}

const filter = document.getElementById("filter");
filter?.addEventListener("input", () => {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  const rows = [...document.querySelectorAll("#subnet-table tbody tr")];
  for (const row of rows) row.hidden = !words.every((word) => row.dataset.words.includes(word));
  document.getElementById("found").textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length}`;
});

const viewers = [...document.querySelectorAll(".viewer")];
const shown = (viewer) => viewer.querySelector("input:checked").closest("label");
const choice = document.getElementById("subnet");

function draw(viewer) {
  const [label, large] = [shown(viewer), viewer.querySelector(".large")];
  const small = label.querySelector("img:not([hidden])");
  large.src = small.src;
  large.alt = small.alt;
  viewer.querySelector("figcaption").textContent = `${label.textContent.trim()}${small.title ? ": " + small.title : ""}`;
}

function chooseSubnet() {
  for (const picture of document.querySelectorAll(".strip img[data-code]")) picture.hidden = picture.dataset.code !== choice.value;
  viewers.forEach(draw);
}

for (const viewer of viewers) {
  viewer.classList.add("on");
  viewer.addEventListener("change", () => draw(viewer));
  viewer.querySelector(".flick").addEventListener("click", () => {
    const isTrue = shown(viewer).dataset.view === "true flow";
    viewer.querySelector(`label[data-view="${isTrue ? "predicted flow" : "true flow"}"] input`).checked = true;
    draw(viewer);
  });
}
if (choice) {
  choice.addEventListener("change", chooseSubnet);
  chooseSubnet();
}
