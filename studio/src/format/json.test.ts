import assert from "node:assert/strict";
import { test } from "node:test";

import { JsonError, brief, compact, indented, items, members, tokens } from "./json";

const NUMBERS = '{"big":12345678901234567890,"small":-9223372036854775808,"price":3.20,"zero":-0,"e":1E+400,"one":1.0}';

test("numbers come through the formatter exactly as they were written", () => {
  const text = indented(NUMBERS);
  for (const number of ["12345678901234567890", "-9223372036854775808", "3.20", "-0", "1E+400", "1.0"]) {
    assert.ok(text.includes(`: ${number}`), number);
  }
  assert.equal(compact(text), NUMBERS);
});

test("texts, escapes and the order of names come through the formatter as they were written", () => {
  const text = '{"z":"\\u00e9\\/","a":"é\\"{[,:","z2":["\\\\"]}';
  assert.equal(compact(indented(text)), text);
});

test("formatted text has a line for each member, and empty things stay on one line", () => {
  const text = indented('{"a":[1,{"b":null}],"c":{},"d":[ ]}');
  assert.equal(
    text,
    '{\n  "a": [\n    1,\n    {\n      "b": null\n    }\n  ],\n  "c": {},\n  "d": []\n}',
  );
  assert.equal(indented(text), text);
});

test("what is JSON and what is not is judged as JSON.parse judges it", () => {
  const texts = [
    "1", "-1", "01", "1.", ".5", "+1", "1e5", "1e", "0x1", "-", "NaN", "Infinity", "tru", "true", "nulll", "null false",
    '""', '"', '"\\x"', '"\\u12"', '"\\u12g4"', '"\\u1234"', '"a\nb"', '"\\', "'a'", "{}", "[]", "{", "[", "}", "]", "[}",
    '{"a"}', '{"a":}', '{"a":1,}', '{,}', '{"a":1 "b":2}', "{a:1}", "[1,]", "[,1]", "[1 2]", "[1:2]", '{"a":1}}', "",
    "  ", " [1 , 2 ] ", '{"a":{"b":[{}]}}', "\u00a01", "[1]/*c*/", '"\u2028"', '"\u007f"', "\ufeff{}", '{"a":1,"a":2}',
  ];
  for (const text of texts) {
    const judge = (parse: (text: string) => unknown): boolean => {
      try {
        parse(text);
        return true;
      } catch {
        return false;
      }
    };
    assert.equal(judge(tokens), judge(JSON.parse), JSON.stringify(text));
  }
});

test("a mistake is told with its line and column", () => {
  const fails = (text: string): JsonError => {
    try {
      tokens(text);
    } catch (error) {
      if (error instanceof JsonError) return error;
    }
    throw new Error("no JsonError");
  };
  const comma = fails('{\n  "a": 1,\n}');
  assert.deepEqual([comma.line, comma.column], [3, 1]);
  assert.match(comma.message, /after the comma/);
  assert.match(fails("{\"a\": 007}").message, /Line 1, column 7: 007 is not a number/);
  assert.match(fails("{\"a\": tea}").message, /double quotes/);
  assert.match(fails("[1, 2").message, /\] is missing/);
});

test("members and items give values as they were written", () => {
  const page = '{"Documents": [ {"Id":"a","n":1.10}, {"Id":"b","x":{"y":[1,2]}} ], "Next": "b"}';
  const [documents, next] = members(page);
  assert.equal(documents?.name, "Documents");
  assert.equal(next?.value, '"b"');
  const found = items(documents?.value ?? "");
  assert.deepEqual(found, ['{"Id":"a","n":1.10}', '{"Id":"b","x":{"y":[1,2]}}']);
  assert.deepEqual(members(found[0] ?? ""), [{ name: "Id", value: '"a"' }, { name: "n", value: "1.10" }]);
  assert.deepEqual(members(found[1] ?? "")[1], { name: "x", value: '{"y":[1,2]}' });
  assert.deepEqual(members("{}"), []);
  assert.deepEqual(items("[[],[1]]"), ["[]", "[1]"]);
  assert.throws(() => members("[]"), JsonError);
});

test("a cell shows texts plainly and numbers exactly", () => {
  assert.deepEqual(['"a\\"b"', "3.20", "null", "{}", '{"a":1}', "[1,[2]]"].map(brief), [
    'a"b', "3.20", "null", "{}", "{…}", "[2]",
  ]);
});

test("depth costs no stack", () => {
  const deep = "[".repeat(100_000) + "]".repeat(100_000);
  assert.equal(tokens(deep).length, 200_000);
});
