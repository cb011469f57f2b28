"use strict";

// Tables that are in the page already; each cell of numbers carries the number to sort by.
for (const table of document.querySelectorAll("table.sortable")) {
  const long = table.tBodies[0].rows.length > 25;
  new DataTable(table, {
    order: [],
    autoWidth: false,
    paging: long,
    searching: long,
    info: long,
    pageLength: 25,
    lengthMenu: [10, 25, 50, 100],
    columnDefs: [{ targets: [...table.tHead.rows[0].cells].flatMap((cell, index) => (cell.classList.contains("n") ? [index] : [])), type: "num", className: "n", orderSequence: ["desc", "asc"] }],
    language: { search: "Search", lengthMenu: "_MENU_ rows per page" },
  });
}
