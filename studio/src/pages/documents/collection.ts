// A collection, page by page in the order of ids. Where one is stands in the address, so that the browser's own ways
// back and forth work.

import { listDocuments, type DocumentRow } from "../../api/client";
import { brief } from "../../format/json";
import { dataTable } from "../../parts/data-table";
import { fill, link, make } from "../../parts/element";
import { loading, problemNotice } from "../../parts/notice";
import { collectionPath, documentPath, newPath } from "../../routes";
import type { Page } from "../page";
import { trail as trailOf } from "./trail";

const PAGE_DOCUMENTS = 50;
const COLUMNS_MAX = 6;
const CELL_CHARACTERS_MAX = 80;

export function collectionPage(database: string, collection: string, trail: string[]): Page {
  const outcome = make("div", {}, loading("documents"));
  const element = make(
    "section",
    {},
    trailOf(database),
    make("div", { class: "row between" }, make("h1", {}, collection),
      make("div", { class: "row" }, openById(database, collection),
        link("New document", newPath(database, collection), { class: "button" }))),
    outcome,
  );
  void load();
  return { title: collection, element };

  async function load(): Promise<void> {
    const answer = await listDocuments(database, collection, trail.at(-1) ?? null, PAGE_DOCUMENTS);
    if (!answer.ok) {
      fill(outcome, problemNotice(answer.problem));
      return;
    }
    const { rows, next } = answer.value;
    const ways = make(
      "nav",
      { class: "row", "aria-label": "Pages of documents" },
      trail.length > 1 && link("First", collectionPath(database, collection)),
      trail.length > 0 && link("Previous", collectionPath(database, collection, trail.slice(0, -1))),
      next !== null && link("Next", collectionPath(database, collection, [...trail, next])),
      make("span", { class: "soft" }, `Page ${trail.length + 1}`),
    );
    const none = trail.length > 0 ? "There are no documents after this." : "There are no documents here yet.";
    fill(outcome, rows.length === 0 ? make("p", { class: "soft" }, none) : table(rows), ways);
  }

  function table(rows: DocumentRow[]): HTMLElement {
    const names = columnsOf(rows);
    const columns = [{ title: "Id" }, ...names.map((name) => ({ title: name, isNumber: isNumeric(rows, name) }))];
    return dataTable(`Documents of ${collection}`, columns, rows.map(({ id, fields }) => [
      link(id, documentPath(database, collection, id)),
      ...names.map((name) => cell(fields.get(name))),
    ]));
  }
}

/** The fields that most documents of the page have, in their order; the id has a column of its own. */
function columnsOf(rows: DocumentRow[]): string[] {
  const times = new Map<string, number>();
  for (const { id, fields } of rows) {
    for (const [name, value] of fields) {
      const isId = name.toLowerCase() === "id" && value === JSON.stringify(id);
      if (!isId) times.set(name, (times.get(name) ?? 0) + 1);
    }
  }
  const most = [...times].sort(([, left], [, right]) => right - left).slice(0, COLUMNS_MAX).map(([name]) => name);
  return [...times.keys()].filter((name) => most.includes(name));
}

function isNumeric(rows: DocumentRow[], name: string): boolean {
  return rows.every(({ fields }) => /^(?:null|-?[0-9].*)?$/.test(fields.get(name) ?? ""));
}

function cell(value: string | undefined): string {
  const text = value === undefined ? "" : brief(value);
  return text.length > CELL_CHARACTERS_MAX ? `${text.slice(0, CELL_CHARACTERS_MAX)}…` : text;
}

function openById(database: string, collection: string): HTMLElement {
  const field = make("input", {
    id: "open-id", required: true, placeholder: "Id", autocomplete: "off", autocapitalize: "off", spellcheck: "false",
  });
  return make(
    "form",
    { class: "row", onsubmit: (event) => {
      event.preventDefault();
      location.hash = documentPath(database, collection, field.value);
    } },
    make("label", { for: "open-id", class: "hidden" }, "Open a document by its id"),
    field,
    make("button", { type: "submit" }, "Open"),
  );
}
