// Rows open to show where their numbers come from; without this script all are open. Filters hide rows.
const units = (table) => [...table.tBodies];

function open(unit, opened, column) {
  unit.querySelector(".more").setAttribute("aria-expanded", opened);
  for (const row of unit.querySelectorAll(".detail")) row.hidden = !opened;
  for (const row of unit.querySelectorAll(".seed")) {
    [...row.cells].forEach((cell, place) => cell.classList.toggle("seen", place > 0 && place === column));
  }
}

for (const button of document.querySelectorAll(".more")) {
  const unit = button.closest("tbody");
  open(unit, false);
  unit.rows[0].addEventListener("click", (event) => {
    const closed = button.getAttribute("aria-expanded") === "false";
    const cell = event.target.closest("td");
    // Another cell of an open row only moves the highlight.
    const moves = cell && !closed && !unit.querySelector(".seed")?.cells[cell.cellIndex].classList.contains("seen");
    open(unit, closed || Boolean(moves), cell?.cellIndex);
  });
}

function keeps(input, unit) {
  if (input.type === "checkbox") return input.checked || unit.dataset[input.name] !== input.value;
  if (input.type === "search") return unit.dataset[input.name].includes(input.value.trim().toLowerCase());
  return !input.value || unit.dataset[input.name] === input.value;
}

for (const filters of document.querySelectorAll(".filters")) {
  const table = document.getElementById(filters.dataset.for);
  const inputs = [...filters.querySelectorAll("input, select")];
  const update = () => {
    const all = units(table);
    for (const unit of all) unit.hidden = !inputs.every((input) => keeps(input, unit));
    const shown = all.filter((unit) => !unit.hidden).length;
    filters.querySelector("output").textContent = `${shown} of ${all.length} rows`;
  };
  filters.addEventListener("input", update);
  update(); // browsers may restore inputs when a page is reloaded
}
