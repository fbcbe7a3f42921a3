import assert from "node:assert/strict";
import { test } from "node:test";

import {
  collectionPath, conflictPath, conflictsPath, deadLettersPath, documentPath, historyPath, newPath, routeOf, syncPath,
} from "./routes";

test("an address leads back to where it was made, whatever an id holds", () => {
  for (const id of ["a", "a/b", "?x#y", "100%", "é 漢", "..", "{\"a\":1}"]) {
    assert.deepEqual(routeOf(documentPath("shop", "orders", id)), { page: "document", database: "shop", collection: "orders", id });
    assert.deepEqual(routeOf(historyPath("shop", "orders", id)), { page: "history", database: "shop", collection: "orders", id });
    assert.deepEqual(routeOf(collectionPath("shop", "orders", ["first", id])), {
      page: "collection", database: "shop", collection: "orders", trail: ["first", id],
    });
  }
  assert.deepEqual(routeOf(newPath("shop", "")), { page: "new", database: "shop", collection: "" });
});

test("conflicts, sync and dead letters are places of a database", () => {
  assert.deepEqual(routeOf(conflictsPath("shop")), { page: "conflicts", database: "shop" });
  assert.deepEqual(routeOf(conflictPath("shop", "01f/x")), { page: "conflict", database: "shop", id: "01f/x" });
  assert.deepEqual(routeOf(syncPath("shop")), { page: "sync", database: "shop" });
  assert.deepEqual(routeOf(deadLettersPath("shop")), { page: "dead-letters", database: "shop" });
});

test("an address that names nothing is told apart", () => {
  assert.deepEqual(routeOf(""), { page: "overview" });
  for (const hash of ["#/nowhere", "#/overview/x", "#/documents/%", "#/documents/a/b/c/d"]) assert.equal(routeOf(hash), null, hash);
});
