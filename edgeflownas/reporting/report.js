"use strict";

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
