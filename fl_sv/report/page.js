
"use strict";
// The page is whole without this script. It adds: tips under the pointer and by arrow keys, search,
// sorting, and a button for light or dark.
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const byId = (id) => document.getElementById(id);
const tip = byId("tip");

function show(mark) {
  all(".pointed").forEach((each) => each.classList.remove("pointed"));
  tip.hidden = !mark;
  if (!mark) return;
  mark.classList.add("pointed");
  tip.textContent = mark.dataset.tip;
  const box = mark.getBoundingClientRect(), own = tip.getBoundingClientRect();
  const left = Math.min(box.left + box.width / 2 - own.width / 2, innerWidth - own.width - 8);
  const above = box.top - own.height - 8;
  tip.style.left = `${Math.max(8, left)}px`;
  tip.style.top = `${above > 0 ? above : box.bottom + 8}px`;
}

// A browser would show a title beside our tip.
for (const title of all("[data-tips] title")) {
  title.parentElement.dataset.tip = title.textContent;
  title.remove();
}
for (const figure of all("[data-tips]")) {
  let place = -1;
  figure.addEventListener("pointerover", (event) => show(event.target.closest("[data-tip]")));
  figure.addEventListener("pointerleave", () => show(null));
  figure.tabIndex = 0;
  figure.addEventListener("blur", () => { place = -1; show(null); });
  figure.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") show(null);
    if (!step || event.target !== figure) return;
    event.preventDefault();
    const marks = all("[data-tip]", figure).filter((mark) => mark.getClientRects().length);
    place = Math.max(0, Math.min(marks.length - 1, place + step));
    marks[place].scrollIntoView({ block: "nearest", inline: "nearest" });
    show(marks[place]);
  });
}

const list = document.querySelector(".payouts"), items = all("li", list);
byId("search").addEventListener("input", (event) => {
  const wanted = event.target.value.trim().toLowerCase();
  items.forEach((item) => { item.hidden = !item.dataset.name.toLowerCase().includes(wanted); });
  byId("none").hidden = items.some((item) => !item.hidden);
});
byId("sort").addEventListener("change", (event) => {
  const key = event.target.value, rank = (item) => Number(item.dataset.rank);
  const order = {
    rank: (a, b) => rank(a) - rank(b),
    name: (a, b) => a.dataset.name.localeCompare(b.dataset.name, "en"),
    examples: (a, b) => Number(b.dataset.examples) - Number(a.dataset.examples) || rank(a) - rank(b),
  }[key];
  list.append(...[...items].sort(order));
});
byId("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});
all(".tools, #theme").forEach((each) => { each.hidden = false; });
