// The collections of a database, with how much each holds.

import { listCollections } from "../../api/client";
import type { CollectionSummary } from "../../api/types";
import { count } from "../../format/count";
import { dataTable } from "../../parts/data-table";
import { fill, link, make } from "../../parts/element";
import { loading, problemNotice } from "../../parts/notice";
import { collectionPath, newPath } from "../../routes";
import type { Page } from "../page";

export function databasePage(database: string): Page {
  const outcome = make("div", {}, loading("collections"));
  const element = make(
    "section",
    {},
    make("div", { class: "row between" }, make("h1", {}, database),
      link("New document", newPath(database, ""), { class: "button" })),
    outcome,
  );
  void load();
  return { title: database, element };

  async function load(): Promise<void> {
    const answer = await listCollections(database);
    if (answer.ok) fill(outcome, table(answer.value));
    else if (answer.problem.code === "database-not-found") {
      fill(outcome, make("p", {}, "This database does not exist yet. The first document that you save creates it."));
    } else fill(outcome, problemNotice(answer.problem));
  }

  function table(collections: CollectionSummary[]): HTMLElement {
    if (collections.length === 0) return make("p", { class: "soft" }, "There are no collections yet.");
    return dataTable("Collections", [{ title: "Collection" }, { title: "Documents", isNumber: true }],
      collections.map(({ Name, Count }) => [link(Name, collectionPath(database, Name)), count(Count)]));
  }
}
