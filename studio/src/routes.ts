// Places in Studio, as the part of the address behind `#`, and the pages that show them. Ids may hold any character,
// so each part is encoded.

/** Where somebody is. */
export type Route =
  | { page: "connect" }
  | { page: "overview" }
  | { page: "documents"; database: string }
  | { page: "collection"; database: string; collection: string; trail: string[] }
  | { page: "new"; database: string; collection: string }
  | { page: "document"; database: string; collection: string; id: string }
  | { page: "history"; database: string; collection: string; id: string }
  | { page: "conflicts"; database: string }
  | { page: "conflict"; database: string; id: string }
  | { page: "sync"; database: string }
  | { page: "dead-letters"; database: string };

export const connectPath = (): string => "#/connect";
export const overviewPath = (): string => "#/overview";
export const documentsPath = (database: string): string => at("documents", database);
export const newPath = (database: string, collection: string): string => at("new", database, collection);

/** A page of a collection; the trail holds the last id of each page before it. */
export function collectionPath(database: string, collection: string, trail: string[] = []): string {
  const query = new URLSearchParams(trail.map((id) => ["after", id]));
  return at("documents", database, collection) + (trail.length > 0 ? `?${query.toString()}` : "");
}

export function documentPath(database: string, collection: string, id: string): string {
  return at("documents", database, collection, id);
}

export function historyPath(database: string, collection: string, id: string): string {
  return at("history", database, collection, id);
}

export const conflictsPath = (database: string): string => at("conflicts", database);
export const conflictPath = (database: string, id: string): string => at("conflicts", database, id);
export const syncPath = (database: string): string => at("sync", database);
export const deadLettersPath = (database: string): string => at("dead-letters", database);

function at(...parts: string[]): string {
  return `#/${parts.map(encodeURIComponent).join("/")}`;
}

/** The place that an address names; null where it names none. */
export function routeOf(hash: string): Route | null {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  let parts: string[];
  try {
    parts = path.split("/").map(decodeURIComponent);
  } catch {
    return null;
  }
  const [page, database = "", collection = "", id = ""] = parts;
  const shape = `${page ?? ""}/${parts.length - 1}`;
  switch (shape) {
    case "connect/0":
      return { page: "connect" };
    case "/0":
    case "overview/0":
      return { page: "overview" };
    case "documents/1":
      return { page: "documents", database };
    case "documents/2":
      return { page: "collection", database, collection, trail: new URLSearchParams(query).getAll("after") };
    case "documents/3":
      return { page: "document", database, collection, id };
    case "new/2":
      return { page: "new", database, collection };
    case "conflicts/1":
      return { page: "conflicts", database };
    case "conflicts/2":
      return { page: "conflict", database, id: collection };
    case "sync/1":
      return { page: "sync", database };
    case "dead-letters/1":
      return { page: "dead-letters", database };
    case "history/3":
      return { page: "history", database, collection, id };
    default:
      return null;
  }
}
