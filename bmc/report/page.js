// Draws charts where they can be seen, those in closed details when they are opened, and lets a
// reader pick methods, a task, and whose answers the matrix shows.
const data = JSON.parse(document.getElementById("data").textContent);
const options = { actions: false, renderer: "svg", defaultStyle: false, tooltip: { disableDefaultStyle: true } };
const views = new Map(); // of drawn charts, by their boxes
const picked = new Map(); // names of the methods shown alone, by the article they are in
document.documentElement.classList.add("js");

const articleOf = (element) => element.closest("article");
const sectionOf = (element) => data.sections[articleOf(element).id];
const pickedIn = (element) => picked.get(articleOf(element)) ?? new Set();

async function draw(root) {
  for (const box of root.querySelectorAll(".chart:not([data-drawn])")) {
    if (!box.checkVisibility()) continue; // in closed details
    box.dataset.drawn = "";
    const chart = data.charts[box.dataset.chart];
    chart.config.legend.columns = Math.max(1, Math.floor(box.clientWidth / 170));
    chart.description = box.getAttribute("aria-label");
    const { view } = await vegaEmbed(box, chart, options);
    box.setAttribute("role", "img"); // its label says it all: the marks inside have no names
    box.querySelector("svg").setAttribute("aria-hidden", "true");
    views.set(box, view);
    if (box.dataset.kind === "task") await showTask(box);
    if (pickedIn(box).size) await showPicked(box);
    await new Promise((done) => setTimeout(done)); // the page can be read meanwhile
  }
}

// Rows of the chosen task: name of the method, tasks learned, accuracy in per cent.
async function showTask(box) {
  const select = articleOf(box).querySelector("[data-tasks]");
  const rows = sectionOf(box).tasks.methods.flatMap(({ name, learned, R }) =>
    learned.map((count, k) => ({ name, learned: count, accuracy: R[k][select.selectedIndex] / 10 }))
      .filter((_, k) => R[k][select.selectedIndex] !== null));
  box.setAttribute("aria-label", `Accuracy on ${select.value}. ` + sectionOf(box).tasks.methods
    .map(({ name }) => [name, rows.filter((row) => row.name === name).at(-1)])
    .map(([name, last]) => `${name}: ${last ? `${last.accuracy} % at the end` : "not measured"}`).join("; "));
  await views.get(box)?.data("task", rows).runAsync();
}

async function showPicked(box) {
  const view = views.get(box);
  if (!view || !("picked" in view.getState().signals)) return;
  await view.signal("picked", [...pickedIn(box)]).runAsync();
}

// The names of a legend become buttons; without this script they are a plain legend.
for (const name of document.querySelectorAll(".legend [data-method]")) {
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.method = name.dataset.method;
  button.setAttribute("aria-pressed", "false");
  button.append(...name.childNodes);
  name.replaceWith(button);
  button.addEventListener("click", () => pick(button));
}

function pick(button) {
  const article = articleOf(button), names = picked.get(article) ?? new Set();
  if (!names.delete(button.dataset.method)) names.add(button.dataset.method);
  picked.set(article, names);
  for (const other of article.querySelectorAll(".legend button")) {
    other.setAttribute("aria-pressed", names.has(other.dataset.method));
  }
  for (const legend of article.querySelectorAll(".legend")) {
    legend.classList.toggle("picking", names.size > 0);
  }
  for (const box of article.querySelectorAll(".chart[data-drawn]")) showPicked(box);
}

function showMatrix(select) {
  const table = articleOf(select).querySelector("table[data-name=answers]");
  const { name, cells } = sectionOf(select).matrices[select.selectedIndex];
  for (const cell of table.querySelectorAll("td[class]")) {
    cell.textContent = "";
    cell.removeAttribute("class");
  }
  for (let k = 0; k < cells.length; k += 3) {
    const cell = table.tBodies[0].rows[cells[k]].cells[cells[k + 1] + 1], share = cells[k + 2];
    cell.textContent = share < 100 ? "<1" : Math.floor((share + 50) / 100);
    cell.className = `v${Math.ceil(9 * Math.sqrt(share / 10000) - 1e-9)}`;
  }
  const caption = table.caption.firstElementChild;
  caption.textContent = caption.textContent.replace(/^Answers of .*?(?=: a row)/s, () => `Answers of ${name}`);
  table.parentElement.setAttribute("aria-label", caption.textContent);
}

for (const select of document.querySelectorAll("[data-tasks]")) {
  select.addEventListener("change", () => showTask(articleOf(select).querySelector("[data-kind=task]")));
}
for (const select of document.querySelectorAll("[data-matrix]")) {
  select.addEventListener("change", () => showMatrix(select));
}
for (const details of document.querySelectorAll("details")) {
  details.addEventListener("toggle", () => draw(details));
}
draw(document).then(() => { document.body.dataset.ready = ""; });
