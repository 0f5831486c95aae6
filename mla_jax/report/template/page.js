"use strict";
// Says under each table and picture that is cut that it scrolls.
(() => {
  const tell = () => {
    for (const each of document.querySelectorAll(".wide")) {
      each.nextElementSibling.hidden = each.scrollWidth <= each.clientWidth;
    }
  };
  tell();
  window.addEventListener("resize", tell);
  for (const each of document.querySelectorAll("details")) each.addEventListener("toggle", tell);
})();

// Says under a map what the cell is that is pointed at or tapped, where no tooltip comes.
for (const map of document.querySelectorAll(".map")) {
  const said = map.closest(".wide").parentElement.querySelector(".said");
  const tell = (event) => {
    const title = event.target.closest("rect")?.querySelector("title");
    if (title) said.textContent = title.textContent;
  };
  map.addEventListener("pointerover", tell);
  map.addEventListener("click", tell);
}

// Sorts and searches the table of classes; without scripts it stands there whole, sorted as it came.
(() => {
  const table = document.getElementById("class-table");
  if (!table) return;
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const found = document.getElementById("found");
  const input = document.getElementById("search");
  const text = new Map(rows.map((row) => [row, row.querySelector("th").textContent.toLowerCase()]));

  // Of numbers and names alike: what is missing goes last, whichever way the rest is sorted.
  const key = (row, column) => {
    const cell = row.cells[column];
    if (cell.dataset.v === undefined) return text.get(row);
    return cell.dataset.v === "" ? null : Number(cell.dataset.v);
  };
  const order = (a, b) => (typeof a === "string" ? a.localeCompare(b) : a - b);

  const sortBy = (header, column) => {
    const before = header.getAttribute("aria-sort");
    const first = header.classList.contains("falling") ? "descending" : "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    const way = before === first ? other : first;
    for (const each of table.tHead.rows[0].cells) each.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", way);
    const sign = way === "ascending" ? 1 : -1;
    const keys = new Map(rows.map((row) => [row, key(row, column)]));
    rows.sort((a, b) => {
      const x = keys.get(a), y = keys.get(b);
      if (x === null || y === null) return (x === null) - (y === null);
      return sign * order(x, y);
    });
    body.append(...rows);
  };
  Array.from(table.tHead.rows[0].cells).forEach((header, column) => {
    const button = header.querySelector("button");
    button.disabled = false;
    button.addEventListener("click", () => sortBy(header, column));
  });

  // Every word must be in the name or the id.
  const search = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      row.hidden = !words.every((word) => text.get(row).includes(word));
      count += row.hidden ? 0 : 1;
    }
    found.textContent = words.length ? `${count} of ${rows.length} classes` : `${rows.length} classes`;
  };
  input.addEventListener("input", search);
  input.closest("p").hidden = false;
  if (input.value) search();
})();
