// The only file that calls the node. Errors become values, so that no page forgets them.
//
// What stays true: a document is read and written as text, never parsed and printed again, for its numbers must stay
// as they are.

import { brief, items, members } from "../format/json";
import { session } from "../state/session";
import type {
  BulkResolution,
  CollectionSummary,
  Conflict,
  ConflictList,
  DatabaseSummary,
  DeadLetterList,
  DeadLetterResult,
  History,
  Members,
  NodeSummary,
  Problem,
  ReplicationStatus,
} from "./types";

const TIMEOUT_MILLIS = 20_000;

export type Result<T> = { ok: true; value: T } | { ok: false; problem: Problem };

/** A document as the node keeps it. */
export interface DocumentText {
  text: string;
  /** Its version, as `If-Match` takes it. */
  etag: string;
}

/** A document among others. */
export interface DocumentRow {
  id: string;
  /** Its fields; the values are JSON text. */
  fields: Map<string, string>;
}

export interface DocumentPage {
  rows: DocumentRow[];
  /** The id to go on after; null on the last page. */
  next: string | null;
}

/** Where a document is. */
export interface Place {
  database: string;
  collection: string;
  id: string;
}

/** What a write expects to find. */
export type Expected = { etag: string } | "absent";

interface Call {
  method?: string;
  database?: string;
  /** The key to try; the session's if absent. */
  key?: string;
  expected?: Expected;
  body?: string;
  signal?: AbortSignal | undefined;
}

export function readNode(signal?: AbortSignal): Promise<Result<NodeSummary>> {
  return json("/node", { signal });
}

export function listDatabases(options: { key?: string; signal?: AbortSignal } = {}): Promise<Result<DatabaseSummary[]>> {
  return json("/api/databases", options);
}

export function readReplicationStatus(signal?: AbortSignal): Promise<Result<ReplicationStatus>> {
  return json("/api/replication/status", { signal });
}

export function listCollections(database: string): Promise<Result<CollectionSummary[]>> {
  return json("/api/collections", { database });
}

export async function listDocuments(
  database: string,
  collection: string,
  after: string | null,
  limit: number,
): Promise<Result<DocumentPage>> {
  const query = new URLSearchParams({ limit: String(limit), includeReservedFields: "true" });
  if (after !== null) query.set("after", after);
  const answer = await call(`/api/documents/${encodeURIComponent(collection)}?${query.toString()}`, { database });
  return answer.ok ? read(() => documentPage(answer.value.text)) : answer;
}

export async function readDocument(place: Place): Promise<Result<DocumentText>> {
  const answer = await call(pathOf(place), { database: place.database });
  if (!answer.ok) return answer;
  const { text, headers } = answer.value;
  return { ok: true, value: { text, etag: headers.get("ETag") ?? "" } };
}

export async function writeDocument(place: Place, text: string, expected: Expected): Promise<Result<void>> {
  const answer = await call(pathOf(place), { method: "PUT", database: place.database, expected, body: text });
  return answer.ok ? { ok: true, value: undefined } : answer;
}

export async function deleteDocument(place: Place, etag: string): Promise<Result<void>> {
  const answer = await call(pathOf(place), { method: "DELETE", database: place.database, expected: { etag } });
  return answer.ok ? { ok: true, value: undefined } : answer;
}

export function readHistory(place: Place, from: number | null): Promise<Result<History>> {
  const query = from === null ? "" : `&from=${from}`;
  return json(`${pathOf(place)}/history?limit=50${query}`, { database: place.database });
}

export function readMembers(database: string, signal?: AbortSignal): Promise<Result<Members>> {
  return json("/api/replication/members", { database, signal });
}

export function listConflicts(database: string, after: string | null): Promise<Result<ConflictList>> {
  const query = new URLSearchParams({ limit: "50" });
  if (after !== null) query.set("after", after);
  return json(`/api/conflicts?${query.toString()}`, { database });
}

export function readConflict(database: string, id: string): Promise<Result<Conflict>> {
  return json(`/api/conflicts/${encodeURIComponent(id)}`, { database });
}

/** How somebody settles a conflict; a value is JSON text. */
export type Settlement = { choose: string } | { value: string } | "delete";

export async function settleConflict(database: string, id: string, how: Settlement): Promise<Result<void>> {
  const body = how === "delete" ? '{"Delete":true}'
    : "choose" in how ? JSON.stringify({ Choose: how.choose }) : `{"Value":${how.value}}`;
  const answer = await call(`/api/conflicts/${encodeURIComponent(id)}/resolve`, { method: "POST", database, body });
  return answer.ok ? { ok: true, value: undefined } : answer;
}

/** A rule for many conflicts; tried only, unless `isMeant`. */
export function settleConflicts(
  database: string,
  rule: { name: string; node: string; collection: string },
  isMeant: boolean,
  after: string | null,
): Promise<Result<BulkResolution>> {
  const { name, node, collection } = rule;
  const body = JSON.stringify({
    Rule: name, DryRun: !isMeant,
    ...(name === "PreferNode" && { Node: node }), ...(collection !== "" && { Collection: collection }),
    ...(after !== null && { After: after }),
  });
  return json("/api/conflicts/resolve", { method: "POST", database, body });
}

export function listDeadLetters(database: string, after: number | null): Promise<Result<DeadLetterList>> {
  return json(`/api/replication/dead-letters?limit=50${after === null ? "" : `&after=${after}`}`, { database });
}

export function retryDeadLetters(database: string, dot: string | null): Promise<Result<DeadLetterResult>> {
  const which = dot === null ? "" : `/${encodeURIComponent(dot)}`;
  return json(`/api/replication/dead-letters${which}/retry`, { method: "POST", database });
}

export function settleDeadLetter(database: string, dot: string): Promise<Result<DeadLetterResult>> {
  return json(`/api/replication/dead-letters/${encodeURIComponent(dot)}/settle`, { method: "POST", database });
}

function pathOf({ collection, id }: Place): string {
  return `/api/documents/${encodeURIComponent(collection)}/${encodeURIComponent(id)}`;
}

function documentPage(text: string): DocumentPage {
  const parts = new Map(members(text).map(({ name, value }) => [name, value]));
  const rows = items(parts.get("Documents") ?? "[]").map((document) => {
    const fields = new Map(members(document).map(({ name, value }) => [name, value]));
    const id = brief(fields.get("_id") ?? '""');
    for (const name of [...fields.keys()]) {
      if (name === "_id" || name.startsWith("_sys_")) fields.delete(name);
    }
    return { id, fields };
  });
  const next = parts.get("Next") ?? "null";
  return { rows, next: next === "null" ? null : brief(next) };
}

async function json<T>(path: string, options: Call): Promise<Result<T>> {
  const answer = await call(path, options);
  return answer.ok ? read(() => JSON.parse(answer.value.text) as T) : answer;
}

/** What can be read of an answer that should be JSON. */
function read<T>(parse: () => T): Result<T> {
  try {
    return { ok: true, value: parse() };
  } catch {
    return failed("unreadable", "The answer is not what Studio expects. Is something standing between it and the node?");
  }
}

async function call(path: string, options: Call): Promise<Result<{ text: string; headers: Headers }>> {
  if (/\/(?:\.|%2e){1,2}(?=[/?]|$)/i.test(path)) {
    return failed("unreachable", "Browsers cannot name '.' and '..' in a path. Use another tool for this one.");
  }
  const timeout = AbortSignal.timeout(TIMEOUT_MILLIS);
  const signal = options.signal ? AbortSignal.any([options.signal, timeout]) : timeout;
  try {
    const answer = await fetch(path, {
      method: options.method ?? "GET",
      headers: headersOf(options),
      body: options.body ?? null,
      cache: "no-store",
      credentials: "omit",
      signal,
    });
    const text = await answer.text();
    if (answer.ok) return { ok: true, value: { text, headers: answer.headers } };
    return { ok: false, problem: problemOf(answer.status, text) };
  } catch (error) {
    if (timeout.aborted) return failed("timeout", "The node has not answered for 20 seconds. Try again.");
    if (options.signal?.aborted === true) return failed("cancelled", "The request was given up.");
    if (error instanceof TypeError && error.message.includes("ISO-8859-1")) {
      return failed("invalid-key", "A key holds visible ASCII characters alone. Check what was pasted.");
    }
    return failed("unreachable", "The node does not answer. Check that it runs, then try again.");
  }
}

function headersOf({ key, database, expected, body }: Call): Headers {
  const headers = new Headers();
  const apiKey = key ?? session.get().key;
  if (apiKey !== "") headers.set("ApiKey", apiKey);
  if (database !== undefined) headers.set("Database", database);
  if (body !== undefined) headers.set("Content-Type", "application/json");
  if (expected === "absent") headers.set("If-None-Match", "*");
  else if (expected !== undefined) headers.set("If-Match", expected.etag);
  return headers;
}

function problemOf(status: number, text: string): Problem {
  const plain = { status, code: `http-${status}`, detail: `The node answered with status ${status}.`, instance: null };
  try {
    const body = JSON.parse(text) as Partial<Problem>;
    return {
      status,
      code: body.code ?? plain.code,
      detail: body.detail ?? plain.detail,
      instance: body.instance ?? null,
    };
  } catch {
    return plain;
  }
}

function failed(code: string, detail: string): { ok: false; problem: Problem } {
  return { ok: false, problem: { status: 0, code, detail, instance: null } };
}
