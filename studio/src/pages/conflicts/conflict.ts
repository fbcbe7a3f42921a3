// One conflict: what they started from and each version side by side; somebody says which is right.

import { readConflict, settleConflict, type Settlement } from "../../api/client";
import type { Conflict, ConflictVersion } from "../../api/types";
import { compared } from "../../format/compare";
import { ago } from "../../format/moment";
import { dataTable } from "../../parts/data-table";
import { confirmed } from "../../parts/dialog";
import { button, fill, link, make } from "../../parts/element";
import { jsonEditor } from "../../parts/json-editor";
import { loading, problemNotice, toast } from "../../parts/notice";
import { statusDot } from "../../parts/status-dot";
import { conflictPath, conflictsPath, documentPath } from "../../routes";
import type { Page } from "../page";
import { reasonWords } from "./reason";

const ANCESTORS: Record<Conflict["AncestorState"], string> = {
  Found: "What all sides had seen is shown first.",
  None: "The document was created on each side: there is nothing that all had seen.",
  Gone: "What all sides had seen is no longer in this node's log.",
};

export function conflictPage(database: string, id: string): Page {
  const body = make("div", {}, loading("the conflict"));
  const outcome = make("div", {});
  const editor = jsonEditor("The document as it is to be", () => void settleByValue());
  const element = make("section", {}, make("p", {}, link("All conflicts", conflictsPath(database))), body, outcome);
  void load();
  return { title: "Conflict", element, hasUnsaved: () => element.contains(editor.element) && editor.hasChanged() };

  async function load(): Promise<void> {
    const answer = await readConflict(database, id);
    fill(body, ...(answer.ok ? shown(answer.value) : [problemNotice(answer.problem)]));
  }

  function shown(conflict: Conflict): HTMLElement[] {
    const { Collection, EntityId, State, Reason, Policy, ReplacedBy, Versions } = conflict;
    const facts = make("div", {},
      make("h1", {}, "Conflict about ", link(`${Collection}/${EntityId}`, documentPath(database, Collection, EntityId))),
      make("p", {}, statusDot(State), ` ${reasonWords(Reason)}. ${ANCESTORS[conflict.AncestorState]} This node's policy is ${Policy}.`),
      conflict.IsDecidedBySuspectStamp && make("p", { class: "notice busy" },
        make("strong", {}, "Look twice: "), "the version that is shown may have won by a clock that was wrong."),
      ReplacedBy !== null && make("p", {}, link("It goes on as another conflict", conflictPath(database, ReplacedBy))));
    if (State !== "Open") return [facts, versionTable(conflict)];
    editor.show(Versions.find(({ IsShown }) => IsShown)?.Payload ?? "{}");
    return [facts, versionTable(conflict), make("div", { class: "row" }, ...Versions.map(choice)),
      make("details", {}, make("summary", {}, "Write another value, or delete the document"), editor.element,
        make("div", { class: "row" }, button("Settle with this value", () => void settleByValue(), { class: "main" }),
          button("Delete the document", () => void deleted(), { class: "danger" })))];
  }

  function choice(version: ConflictVersion): HTMLElement {
    return button(`Take ${version.NodeId}'s${version.IsDeleted ? " (deleted)" : ""}`,
      () => void settle({ choose: version.VersionId }), version.IsShown ? { class: "main" } : {});
  }

  async function settleByValue(): Promise<void> {
    const value = editor.text();
    if (value === null) editor.focus();
    else await settle({ value });
  }

  async function deleted(): Promise<void> {
    const isMeant = await confirmed("Delete the document?", "It is deleted on every node. Its history keeps the versions.", "Delete");
    if (isMeant) await settle("delete");
  }

  async function settle(how: Settlement): Promise<void> {
    const answer = await settleConflict(database, id, how);
    if (!answer.ok) {
      fill(outcome, problemNotice(answer.problem));
      return;
    }
    toast("Settled.");
    editor.show("{}");
    location.hash = conflictsPath(database);
  }
}

function versionTable({ Versions, Ancestor }: Conflict): HTMLElement {
  const texts = [...(Ancestor === null ? [] : [Ancestor.Payload]), ...Versions.map(({ Payload }) => Payload)];
  const columns = [{ title: "Field" }, ...(Ancestor === null ? [] : [{ title: "All had seen" }]),
    ...Versions.map(({ NodeId, TimestampUtc, IsShown, IsDeleted }) => ({
      title: `${NodeId}, ${ago(TimestampUtc, Date.now())}${IsShown ? ", shown now" : ""}${IsDeleted ? ", deleted" : ""}`,
    }))];
  const rows = compared(texts).map(({ name, values, isDifferent }) => [
    isDifferent ? make("strong", {}, name) : name,
    ...values.map((value) => (value === null ? make("span", { class: "soft" }, "–") : make("code", {}, value))),
  ]);
  return rows.length === 0 ? make("p", { class: "soft" }, "No version has a field.") : dataTable("Versions", columns, rows);
}
