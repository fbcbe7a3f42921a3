// JSON as text. A document's numbers are shown and sent exactly as they were written (`12345678901234567890`, `3.20`),
// which `JSON.parse` would not keep. So nothing here turns a number into a number.
//
// What stays true: `indented` and `compact` change white space alone. Text is walked without recursion, so depth costs
// no stack.

/** One piece of JSON text, without the white space around it. */
export interface Token {
  kind: "{" | "}" | "[" | "]" | ":" | "," | "string" | "number" | "word";
  start: number;
  end: number;
}

/** A field of an object; its value is the text as written. */
export interface Member {
  name: string;
  value: string;
}

/** Why a text is no JSON, and where; lines and columns count from 1. */
export class JsonError extends Error {
  readonly offset: number;
  readonly line: number;
  readonly column: number;

  constructor(text: string, offset: number, what: string) {
    const before = text.slice(0, offset);
    const line = before.split("\n").length;
    const column = offset - before.lastIndexOf("\n");
    super(`Line ${line}, column ${column}: ${what}`);
    this.offset = offset;
    this.line = line;
    this.column = column;
  }
}

/** The text spread over lines, two spaces for each level. */
export function indented(text: string): string {
  const parts: string[] = [];
  let depth = 0;
  let before: Token["kind"] | undefined;
  const line = (): number => parts.push("\n", "  ".repeat(depth));
  for (const { kind, start, end } of tokens(text)) {
    const closes = kind === "}" || kind === "]";
    if (closes) depth -= 1;
    const opened = before === "{" || before === "[";
    if (opened !== closes && (opened || closes)) line();
    parts.push(text.slice(start, end));
    if (kind === "{" || kind === "[") depth += 1;
    if (kind === ",") line();
    if (kind === ":") parts.push(" ");
    before = kind;
  }
  return parts.join("");
}

/** The text without white space between its parts. */
export function compact(text: string): string {
  return tokens(text).map(({ start, end }) => text.slice(start, end)).join("");
}

/** The fields of an object, in their order. */
export function members(text: string): Member[] {
  const found: Member[] = [];
  let name = "";
  for (const part of parts(text, "{")) {
    if (part.isName) name = JSON.parse(part.text) as string;
    else found.push({ name, value: part.text });
  }
  return found;
}

/** The items of an array, in their order. */
export function items(text: string): string[] {
  return parts(text, "[").map((part) => part.text);
}

/** A value for one line of a table: texts without quotes, numbers as they are, objects and arrays as a hint. */
export function brief(text: string): string {
  const value = text.trim();
  if (value.startsWith('"')) return JSON.parse(value) as string;
  if (value.startsWith("{")) return members(value).length === 0 ? "{}" : "{…}";
  if (value.startsWith("[")) return `[${items(value).length}]`;
  return value;
}

/** What stands directly inside an object or array. */
function parts(text: string, opening: "{" | "["): { text: string; isName: boolean }[] {
  const all = tokens(text);
  if (all[0]?.kind !== opening) {
    throw new JsonError(text, all[0]?.start ?? 0, opening === "{" ? "an object is expected." : "an array is expected.");
  }
  const found: { text: string; isName: boolean }[] = [];
  let depth = 0;
  let from: number | undefined;
  let until = 0;
  for (const { kind, start, end } of all) {
    const closes = kind === "}" || kind === "]";
    if (closes) depth -= 1;
    const isBoundary = (depth === 1 && (kind === "," || kind === ":")) || (depth === 0 && closes);
    if (isBoundary && from !== undefined) {
      found.push({ text: text.slice(from, until), isName: kind === ":" });
      from = undefined;
    } else if (depth >= 1 && !isBoundary) {
      from ??= start;
    }
    until = end;
    if (kind === "{" || kind === "[") depth += 1;
  }
  return found;
}

type Expectation = "value" | "value or ]" | "name" | "name or }" | ":" | ", or end" | "end";

/** Splits a text into its tokens; throws a `JsonError` where it is not JSON (RFC 8259). */
export function tokens(text: string): Token[] {
  const found: Token[] = [];
  const open: ("{" | "[")[] = [];
  let expected: Expectation = "value";
  let offset = skipSpace(text, 0);
  while (offset < text.length) {
    const token = tokenAt(text, offset);
    expected = follow(text, token, expected, open);
    found.push(token);
    offset = skipSpace(text, token.end);
  }
  if (expected !== "end") {
    const inner = open[open.length - 1];
    const missing = inner === undefined ? "a value" : inner === "{" ? "}" : "]";
    throw new JsonError(text, text.length, `the text ends too early: ${missing} is missing.`);
  }
  return found;
}

/** Checks that a token may stand where it stands; gives what may come next. */
function follow(text: string, token: Token, expected: Expectation, open: ("{" | "[")[]): Expectation {
  const { kind, start } = token;
  const afterValue = (): Expectation => (open.length === 0 ? "end" : ", or end");
  switch (kind) {
    case "{":
    case "[":
      if (!expected.startsWith("value")) break;
      open.push(kind);
      return kind === "{" ? "name or }" : "value or ]";
    case "}":
      if (open[open.length - 1] !== "{" || (expected !== "name or }" && expected !== ", or end")) break;
      open.pop();
      return afterValue();
    case "]":
      if (open[open.length - 1] !== "[" || (expected !== "value or ]" && expected !== ", or end")) break;
      open.pop();
      return afterValue();
    case ":":
      if (expected !== ":") break;
      return "value";
    case ",":
      if (expected !== ", or end") break;
      return open[open.length - 1] === "{" ? "name" : "value";
    case "string":
      if (expected.startsWith("name")) return ":";
      if (expected.startsWith("value")) return afterValue();
      break;
    default:
      if (expected.startsWith("value")) return afterValue();
  }
  throw new JsonError(text, start, misplaced(text.charAt(start), expected, open));
}

function misplaced(found: string, expected: Expectation, open: ("{" | "[")[]): string {
  const closing = open[open.length - 1] === "{" ? "}" : "]";
  switch (expected) {
    case "end":
      return `nothing may follow the value, but here is ${found}`;
    case ", or end":
      return `a comma or ${closing} is expected, not ${found}`;
    case ":":
      return `a colon is expected after the name, not ${found}`;
    case "name":
      return `a name in double quotes is expected after the comma, not ${found}`;
    case "name or }":
      return `a name in double quotes or } is expected, not ${found}`;
    default:
      return `a value is expected, not ${found}`;
  }
}

function skipSpace(text: string, offset: number): number {
  while (offset < text.length && " \t\n\r".includes(text.charAt(offset))) offset += 1;
  return offset;
}

const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const WORD = /[\p{L}\p{N}_.+-]+/uy;

function tokenAt(text: string, start: number): Token {
  const first = text.charAt(start);
  switch (first) {
    case "{":
    case "}":
    case "[":
    case "]":
    case ":":
    case ",":
      return { kind: first, start, end: start + 1 };
    case '"':
      return { kind: "string", start, end: stringEnd(text, start) };
    default:
  }
  WORD.lastIndex = start;
  const word = WORD.exec(text)?.[0];
  if (word === undefined) throw new JsonError(text, start, `${first} cannot stand here.`);
  const end = start + word.length;
  if (word === "true" || word === "false" || word === "null") return { kind: "word", start, end };
  NUMBER.lastIndex = start;
  if (NUMBER.exec(text)?.[0].length === word.length) return { kind: "number", start, end };
  const advice = /^[-+.0-9]/.test(word) ? "is not a number as JSON writes them." : "needs double quotes to be text.";
  throw new JsonError(text, start, `${word} ${advice}`);
}

/** Where the text that begins with a quote ends. */
function stringEnd(text: string, start: number): number {
  let offset = start + 1;
  while (offset < text.length) {
    const character = text.charAt(offset);
    if (character === '"') return offset + 1;
    if (character < " ") {
      throw new JsonError(text, offset, "a line break or other control character must be written as \\n, \\t or \\u00XX.");
    }
    if (character === "\\") {
      const escape = text.charAt(offset + 1);
      if (escape === "u") {
        if (!/^[0-9a-fA-F]{4}$/.test(text.slice(offset + 2, offset + 6))) {
          throw new JsonError(text, offset, "\\u is followed by four hexadecimal digits.");
        }
        offset += 4;
      } else if (escape === "" || !'"\\/bfnrt'.includes(escape)) {
        throw new JsonError(text, offset, `\\${escape} is no escape. A backslash itself is written \\\\.`);
      }
      offset += 1;
    }
    offset += 1;
  }
  throw new JsonError(text, start, "the text that begins here has no closing quote.");
}
