// What became of a document, newest first, as far back as the node's log goes.

import { readHistory, type Place } from "../../api/client";
import type { OperationRecord } from "../../api/types";
import { indented } from "../../format/json";
import { ago, clock } from "../../format/moment";
import { button, fill, make } from "../../parts/element";
import { loading, problemNotice } from "../../parts/notice";
import type { Page } from "../page";
import { trail } from "./trail";

export function historyPage(place: Place): Page {
  const list = make("ol", { class: "list card" });
  const outcome = make("div", {});
  const element = make("section", {}, trail(place.database, place.collection, place.id),
    make("h1", {}, "History"), list, outcome);
  list.hidden = true;
  void load(null);
  return { title: `History of ${place.id}`, element };

  async function load(from: number | null): Promise<void> {
    fill(outcome, loading("operations"));
    const answer = await readHistory(place, from);
    if (!answer.ok) {
      fill(outcome, problemNotice(answer.problem));
      return;
    }
    const { Operations, Next } = answer.value;
    list.append(...Operations.map((operation) => make("li", {}, entry(operation))));
    list.hidden = list.childElementCount === 0;
    fill(outcome, Next !== null
      ? button("Older operations", () => void load(Next))
      : make("p", { class: "soft small" }, "The node's log holds nothing older about this document."));
  }
}

function entry(operation: OperationRecord): HTMLElement {
  const { Kind, NodeId, TimestampUtc, Payload, LogSequence, IsTombstone } = operation;
  return make(
    "details",
    {},
    make("summary", {},
      make("strong", {}, Kind), ` on ${NodeId}, `,
      make("time", { datetime: TimestampUtc, title: TimestampUtc }, ago(TimestampUtc, Date.now())),
      make("span", { class: "soft small" }, ` · ${clock(TimestampUtc)} · position ${LogSequence}`)),
    IsTombstone || Payload === null
      ? make("p", { class: "soft" }, IsTombstone ? "The document was deleted." : "There is nothing to show.")
      : make("pre", { class: "code" }, readable(Payload)),
  );
}

/** A payload over lines; as it is where this version of Studio does not understand it. */
function readable(payload: string): string {
  try {
    return indented(payload);
  } catch {
    return payload;
  }
}
