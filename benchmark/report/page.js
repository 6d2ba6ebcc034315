// Sorting: the first click on a heading sorts in descending order (text columns: ascending), the second reverses it,
// the third restores the original order. Rows are sorted within their group; in a table of class "entries" each tbody is
// one entry, sorted by its first row.
"use strict";
const collator = new Intl.Collator("en", { numeric: true });

function compare(one, other, direction) {
  if (one === undefined || other === undefined) return (one === undefined) - (other === undefined); // empty: last
  const numbers = [Number(one), Number(other)];
  const found = numbers.some(Number.isNaN) ? collator.compare(one, other) : numbers[0] - numbers[1];
  return found * direction;
}

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const bodies = [...table.tBodies];
  const groups = table.classList.contains("entries")
    ? [{ parent: table, units: bodies }]
    : bodies.map((body) => ({ parent: body, units: [...body.rows] }));
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const first = head.classList.contains("number") ? "descending" : "ascending";
      const second = first === "descending" ? "ascending" : "descending";
      const next = { [first]: second, [second]: undefined }[head.ariaSort ?? ""];
      const order = head.ariaSort ? next : first;
      for (const each of heads) each.removeAttribute("aria-sort");
      if (order) head.setAttribute("aria-sort", order);
      const value = (unit) => (unit.rows?.[0] ?? unit).cells[column].dataset.value;
      for (const { parent, units } of groups) {
        const sorted = units.filter((unit) => !unit.classList.contains("group"));
        if (order) sorted.sort((a, b) => compare(value(a), value(b), order === "ascending" ? 1 : -1));
        parent.append(...sorted);
      }
    });
  });
}
