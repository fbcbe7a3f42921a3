// What stands around every page: the name, the ways to the pages, the database, the way out.

import { chooseDatabase, session, signOut } from "../state/session";
import { fill, link, make, button } from "../parts/element";
import {
  conflictsPath, connectPath, deadLettersPath, documentsPath, overviewPath, syncPath, type Route,
} from "../routes";
import { conflictPage } from "./conflicts/conflict";
import { conflictsPage } from "./conflicts/conflicts";
import { connectPage } from "./connect/connect";
import { deadLettersPage } from "./dead-letters/dead-letters";
import { overviewPage } from "./overview/overview";
import { collectionPage } from "./documents/collection";
import { databasePage } from "./documents/database";
import { documentPage } from "./documents/document";
import { historyPage } from "./documents/history";
import { newDocumentPage } from "./documents/new-document";
import type { Page } from "./page";
import { syncPage } from "./sync/sync";

const main = make("main", { id: "main", tabindex: "-1" });
const header = make("header", { class: "top" });
document.body.append(make("a", { class: "skip", href: "#main", onclick: skip }, "Skip to the page"), header, main);

let current: Page | undefined;

window.addEventListener("beforeunload", (event) => {
  if (current?.hasUnsaved?.() === true) event.preventDefault();
});

/** Whether the page may be left; asks where something would be lost. */
export function confirmedLeave(): boolean {
  return current?.hasUnsaved?.() !== true || window.confirm("Leave without saving? The changes on this page are lost.");
}

/** Shows a place; the connect page where a key is missing. */
export function showRoute(route: Route | null): void {
  const isFirst = current === undefined;
  current?.close?.();
  if (route !== null && "database" in route) chooseDatabase(route.database);
  const shown = session.get().key === "" ? { page: "connect" as const } : route;
  current = pageOf(shown);
  document.title = `${current.title} · Holdfast Studio`;
  fill(header, ...frame(shown));
  fill(main, current.element);
  window.scrollTo(0, 0);
  // Readers of the screen hear where they are; the first page leaves the focus where browsers put it.
  if (!isFirst && !main.contains(document.activeElement)) main.focus({ preventScroll: true });
}

function pageOf(route: Route | null): Page {
  switch (route?.page) {
    case "connect":
      return connectPage();
    case "overview":
      return overviewPage();
    case "documents":
      return databasePage(route.database);
    case "collection":
      return collectionPage(route.database, route.collection, route.trail);
    case "new":
      return newDocumentPage(route.database, route.collection);
    case "document":
      return documentPage(route);
    case "history":
      return historyPage(route);
    case "conflicts":
      return conflictsPage(route.database);
    case "conflict":
      return conflictPage(route.database, route.id);
    case "sync":
      return syncPage(route.database);
    case "dead-letters":
      return deadLettersPage(route.database);
    default:
      return {
        title: "Not found",
        element: make("section", {}, make("h1", {}, "Not found"), make("p", {}, "This address names nothing here. "),
          make("p", {}, link("To the overview", overviewPath()))),
      };
  }
}

function frame(route: Route | null): HTMLElement[] {
  const { key, database } = session.get();
  const name = make("a", { class: "brand", href: overviewPath() }, "Holdfast", make("span", {}, "Studio"));
  if (key === "") return [name];
  const isOverview = route?.page === "overview";
  const isOf = (...pages: string[]): boolean => route !== null && pages.includes(route.page);
  const current = (is: boolean): string | undefined => (is ? "page" : undefined);
  return [
    name,
    make(
      "nav",
      { "aria-label": "Pages" },
      link("Overview", overviewPath(), { "aria-current": current(isOverview) }),
      database !== "" && link("Documents", documentsPath(database), { "aria-current": current(isOf("documents", "collection", "new", "document", "history")) }),
      database !== "" && link("Conflicts", conflictsPath(database), { "aria-current": current(isOf("conflicts", "conflict")) }),
      database !== "" && link("Sync", syncPath(database), { "aria-current": current(isOf("sync")) }),
      database !== "" && link("Dead letters", deadLettersPath(database), { "aria-current": current(isOf("dead-letters")) }),
      make("a", { href: "/docs" }, "API"),
    ),
    make(
      "div",
      { class: "row session" },
      database !== "" && link(database, connectPath(), { title: "Choose another database", class: "chip" }),
      button("Sign out", () => {
        if (!confirmedLeave()) return;
        signOut();
        location.hash = connectPath();
      }, { class: "plain" }),
    ),
  ];
}

function skip(event: Event): void {
  event.preventDefault();
  main.focus();
}
