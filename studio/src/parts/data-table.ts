// Rows and columns. On a narrow screen the table scrolls inside its own frame, which the keyboard reaches.

import { make, type Child } from "./element";

export interface Column {
  title: string;
  /** Numbers stand at the right. */
  isNumber?: boolean;
}

export function dataTable(caption: string, columns: Column[], rows: Child[][]): HTMLElement {
  const side = (column: Column | undefined): string | undefined => (column?.isNumber === true ? "number" : undefined);
  return make(
    "div",
    { class: "frame", tabindex: "0", role: "region", "aria-label": caption },
    make(
      "table",
      {},
      make("caption", { class: "hidden" }, caption),
      make("thead", {}, make("tr", {}, ...columns.map((column) =>
        make("th", { scope: "col", class: side(column) }, column.title)))),
      make("tbody", {}, ...rows.map((row) =>
        make("tr", {}, ...row.map((cell, index) => make("td", { class: side(columns[index]) }, cell))))),
    ),
  );
}
