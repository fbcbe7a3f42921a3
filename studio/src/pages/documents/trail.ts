// The way from the database to where one is, above each page about documents.

import { link, make } from "../../parts/element";
import { collectionPath, documentPath, documentsPath } from "../../routes";

export function trail(database: string, collection?: string, id?: string): HTMLElement {
  const steps = [link(database, documentsPath(database))];
  if (collection !== undefined) steps.push(link(collection, collectionPath(database, collection)));
  if (collection !== undefined && id !== undefined) steps.push(link(id, documentPath(database, collection, id)));
  return make("nav", { class: "trail", "aria-label": "Where this is" },
    make("ol", {}, ...steps.map((step) => make("li", {}, step))));
}
