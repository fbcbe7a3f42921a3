import assert from "node:assert/strict";
import { test } from "node:test";

import { bytes, count, counted } from "./count";
import { ago, clock } from "./moment";

test("counts and sizes read as people write them", () => {
  assert.equal(count(1234567), "1,234,567");
  assert.deepEqual([0, 1, 2000].map((value) => counted(value, "document")), ["0 documents", "1 document", "2,000 documents"]);
  assert.deepEqual([0, 1023, 1536, 150 * 1024 ** 2].map(bytes), ["0 B", "1023 B", "1.5 KiB", "150 MiB"]);
});

test("moments are told by their distance, and what is no moment is shown as it is", () => {
  const now = Date.parse("2026-07-30T10:00:00Z");
  assert.equal(ago("2026-07-30T09:59:59.800Z", now), "now");
  assert.equal(ago("2026-07-30T09:55:00Z", now), "5 minutes ago");
  assert.equal(ago("2026-07-29T09:00:00Z", now), "1 day ago");
  assert.equal(ago("2026-07-30T10:02:00Z", now), "in 2 minutes");
  assert.equal(ago("soon", now), "soon");
  assert.equal(clock("2026-07-30T10:00:00.123Z"), "2026-07-30 10:00:00 UTC");
});
