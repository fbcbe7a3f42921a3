import assert from "node:assert/strict";
import { test } from "node:test";

import { compared } from "./compare";

test("versions are told apart by what they say, not by their white space", () => {
  const fields = compared(['{"a": {"b":1}, "n": 1.50}', '{"a":{"b": 1},"n":1.5,"new":true}']);
  assert.deepEqual(fields.map(({ name, isDifferent }) => [name, isDifferent]), [["a", false], ["n", true], ["new", true]]);
  assert.deepEqual(fields[1]?.values, ["1.50", "1.5"]);
  assert.deepEqual(fields[2]?.values, [null, "true"]);
});

test("a deleted version has no fields, and numbers stay as they were written", () => {
  const fields = compared([null, '{"big":12345678901234567890}']);
  assert.deepEqual(fields, [{ name: "big", values: [null, "12345678901234567890"], isDifferent: true }]);
  assert.deepEqual(compared([]), []);
});
