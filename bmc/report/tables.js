// Tables that can be sorted by a column, filtered by a word, and saved as CSV.
const MISSING = ["", "n/a"];
const FEW = 4; // rows that need no filter

const textOf = (cell) => {
  const copy = cell.cloneNode(true);
  for (const mark of copy.querySelectorAll("[aria-hidden], .star, abbr")) mark.remove();
  for (const line of copy.querySelectorAll("br")) line.replaceWith("; ");
  return copy.textContent.replace(/\s+/g, " ").trim().replaceAll("\u2212", "-");
};

// The number a text begins with; NaN if it begins with none.
const numberOf = (text) => {
  const found = text.replace(/(?<=\d),(?=\d{3})/g, "").match(/^[<>]? ?([+-]?\d+(\.\d+)?)(?=[\s%±]|$)/);
  return found ? parseFloat(found[1]) : NaN;
};

// One header for each column, where a second row tells the columns of a group apart.
function headersOf(table) {
  const [first, second] = table.tHead.rows;
  if (!second) return [...first.cells].map((cell) => [cell, textOf(cell)]);
  const groups = [...first.cells].flatMap((cell) => Array(cell.colSpan).fill(textOf(cell)));
  const columns = [first.cells[0], ...second.cells];
  return columns.map((cell, k) => [cell, k ? `${groups[k]} ${textOf(cell)}` : textOf(cell)]);
}

function sort(table, column, header) {
  const down = header.getAttribute("aria-sort") !== "descending";
  const rows = [...table.tBodies[0].rows].map((row) => [row, textOf(row.cells[column])]);
  const known = rows.filter(([, text]) => !MISSING.includes(text));
  const numbers = known.filter(([, text]) => !Number.isNaN(numberOf(text))).length;
  const byNumber = numbers * 2 > known.length;
  const words = new Intl.Collator(undefined, { numeric: true });
  const rank = ([, text]) => MISSING.includes(text) || (byNumber && Number.isNaN(numberOf(text)));
  const sign = down ? -1 : 1;
  rows.sort((a, b) => rank(a) - rank(b) || (rank(a) ? 0
    : sign * (byNumber ? numberOf(a[1]) - numberOf(b[1]) : words.compare(b[1], a[1]))));
  for (const [other] of headersOf(table)) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", down ? "descending" : "ascending");
  table.tBodies[0].append(...rows.map(([row]) => row));
}

function csvOf(table) {
  const quoted = (text) => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const plain = (text) => (/^[+-]?\d{1,3}(,\d{3})+(\.\d+)?$/.test(text) ? text.replaceAll(",", "") : text);
  const rows = [...table.tBodies[0].rows].filter((row) => getComputedStyle(row).display !== "none");
  const lines = rows.map((row) => [...row.cells].map((cell) => plain(textOf(cell))));
  return [headersOf(table).map(([, name]) => name), ...lines]
    .map((line) => line.map(quoted).join(",") + "\r\n").join("");
}

function save(table) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([csvOf(table)], { type: "text/csv" }));
  link.download = `${table.dataset.name}.csv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function filter(table, word, count) {
  const rows = [...table.tBodies[0].rows], wanted = word.trim().toLowerCase();
  for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  const shown = rows.filter((row) => !row.hidden).length;
  count.textContent = wanted ? `${shown} of ${rows.length} rows` : "";
}

function button(text, action) {
  const made = document.createElement("button");
  made.type = "button";
  made.append(text);
  made.addEventListener("click", action);
  return made;
}

function toolsOf(table) {
  const tools = document.createElement("div"), caption = table.caption.textContent;
  tools.className = "tools";
  if (!("fixed" in table.dataset) && table.tBodies[0].rows.length > FEW) {
    const box = document.createElement("input"), count = document.createElement("output");
    Object.assign(box, { type: "search", placeholder: "Filter rows" });
    box.setAttribute("aria-label", `Filter rows: ${caption}`);
    box.addEventListener("input", () => filter(table, box.value, count));
    tools.append(box, count);
  }
  const csv = button("CSV", () => save(table));
  csv.setAttribute("aria-label", `Save as CSV: ${caption}`);
  tools.append(csv);
  return tools;
}

for (const table of document.querySelectorAll("table[data-name]")) {
  table.parentElement.before(toolsOf(table));
  if ("fixed" in table.dataset) continue;
  headersOf(table).forEach(([header], column) => {
    const name = button("", () => sort(table, column, header));
    name.append(...header.childNodes);
    header.append(name);
  });
}
