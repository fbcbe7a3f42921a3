// The rules that keep Studio readable, held by a test.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";

interface File {
  name: string;
  text: string;
}

// The tests run from the folder of `package.json`.
const FILES: File[] = readdirSync("src", { recursive: true, encoding: "utf8" })
  .filter((name) => /\.(?:ts|css)$/.test(name) && !name.endsWith(".test.ts"))
  .map((name) => ({ name: name.replaceAll(path.sep, "/"), text: readFileSync(path.join("src", name), "utf8") }));

function breaking(pattern: RegExp, allowed: string): string[] {
  return FILES.filter(({ name, text }) => name !== allowed && pattern.test(text)).map(({ name }) => name);
}

test("one file calls fetch", () => {
  assert.deepEqual(breaking(/\bfetch\(|XMLHttpRequest|sendBeacon/, "api/client.ts"), []);
  assert.ok(FILES.some(({ name }) => name === "api/client.ts"));
});

test("colours are named in one file", () => {
  assert.deepEqual(breaking(/#[0-9a-f]{3,8}\b|\b(?:rgb|hsl|oklch|color-mix)a?\(/i, "style/tokens.css"), []);
});

test("no file makes markup or code from text", () => {
  assert.deepEqual(breaking(/innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function/, ""), []);
});

test("nothing is loaded from another machine", () => {
  assert.deepEqual(breaking(/https?:\/\//, ""), []);
});

test("no file is longer than 300 lines", () => {
  assert.deepEqual(FILES.filter(({ text }) => text.split("\n").length > 301).map(({ name }) => name), []);
});
