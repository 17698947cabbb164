// Headings of tables marked so sort by their column; without this the table stands as it was written.
for (const table of document.querySelectorAll("table[data-sortable]")) {
  const value = (row, column) => row.cells[column].textContent.trim();
  const number = (text) => { const found = text.replace("\u2212", "-").match(/^-?[\d.]+(e-?\d+)?/); return found ? parseFloat(found[0]) : Infinity; };
  const scale = { kB: 1e3, MB: 1e6, GB: 1e9 };
  const amount = (text) => number(text) * (scale[text.split(" ")[1]] || 1);
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent;
    heading.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = heading.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows];
      const words = rows.every((row) => amount(value(row, column)) === Infinity);
      const order = (a, b) => words ? value(a, column).localeCompare(value(b, column)) : Math.sign(amount(value(a, column)) - amount(value(b, column))) || 0;
      rows.sort((a, b) => (down ? -1 : 1) * order(a, b));
      table.tBodies[0].append(...rows);
    });
  });
}
