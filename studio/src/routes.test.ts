import assert from "node:assert/strict";
import { test } from "node:test";

import { collectionPath, documentPath, historyPath, newPath, routeOf } from "./routes";

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

test("an address that names nothing is told apart", () => {
  assert.deepEqual(routeOf(""), { page: "overview" });
  for (const hash of ["#/nowhere", "#/overview/x", "#/documents/%", "#/documents/a/b/c/d"]) assert.equal(routeOf(hash), null, hash);
});
