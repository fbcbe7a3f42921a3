// The conflicts of a database, and a rule for many of them.

import { listConflicts, settleConflicts } from "../../api/client";
import type { BulkResolution, Conflict } from "../../api/types";
import { counted } from "../../format/count";
import { ago } from "../../format/moment";
import { dataTable } from "../../parts/data-table";
import { confirmed } from "../../parts/dialog";
import { button, fill, link, make } from "../../parts/element";
import { loading, problemNotice, toast } from "../../parts/notice";
import { conflictPath } from "../../routes";
import type { Page } from "../page";
import { reasonWords } from "./reason";

const RULES: [string, string][] = [
  ["LastWriterWins", "The last writer wins"],
  ["FirstWriterWins", "The first writer wins"],
  ["MergeFields", "Fields are merged"],
  ["PreferNode", "A node is right"],
];

export function conflictsPage(database: string): Page {
  const list = make("div", {}, loading("conflicts"));
  const told = make("p", { class: "soft" });
  const element = make("section", {}, make("h1", {}, "Conflicts"), told, list,
    make("h2", {}, "Settle many by a rule"), ruleForm(database, () => void load(null)));
  void load(null);
  return { title: "Conflicts", element };

  async function load(after: string | null): Promise<void> {
    const answer = await listConflicts(database, after);
    if (!answer.ok) {
      fill(list, problemNotice(answer.problem));
      return;
    }
    const { Conflicts, Next, Open, Closed } = answer.value;
    fill(told, `${counted(Open, "open conflict")}, ${counted(Closed, "settled one")} still on record.`);
    fill(list,
      Conflicts.length === 0
        ? make("p", { class: "soft" }, "No writes are in each other's way.") : conflictTable(database, Conflicts),
      make("div", { class: "row" },
        after !== null && button("From the first", () => void load(null)),
        Next !== null && button("Next conflicts", () => void load(Next))));
  }
}

function conflictTable(database: string, conflicts: Conflict[]): HTMLElement {
  const columns = [{ title: "Document" }, { title: "What happened" }, { title: "Written by" }, { title: "Met" }];
  return dataTable("Conflicts", columns, conflicts.map((conflict) => [
    link(`${conflict.Collection}/${conflict.EntityId}`, conflictPath(database, conflict.Id)),
    reasonWords(conflict.Reason),
    conflict.Versions.map(({ NodeId }) => NodeId).join(", "),
    ago(conflict.CreatedUtc, Date.now()),
  ]));
}

function ruleForm(database: string, onSettled: () => void): HTMLElement {
  const rule = make("select", { id: "rule" }, ...RULES.map(([value, words]) => make("option", { value }, words)));
  const text = { autocomplete: "off", autocapitalize: "off", spellcheck: "false" };
  const node = make("input", { id: "rule-node", ...text });
  const collection = make("input", { id: "rule-collection", ...text });
  const outcome = make("div", {});
  return make("form", { class: "stack", onsubmit: (event) => {
    event.preventDefault();
    void tryOut();
  } },
  make("label", { for: "rule" }, "Rule"), rule,
  make("label", { for: "rule-node" }, "Node, where a node is right"), node,
  make("label", { for: "rule-collection" }, "Collection; all when empty"), collection,
  outcome,
  make("div", { class: "row" }, make("button", { type: "submit", class: "main" }, "See what it would do")));

  async function tryOut(): Promise<void> {
    const wanted = { name: rule.value, node: node.value.trim(), collection: collection.value.trim() };
    const tried = await settleConflicts(database, wanted, false, null);
    if (!tried.ok) {
      fill(outcome, problemNotice(tried.problem));
      return;
    }
    fill(outcome, outcomeOf(tried.value));
    const { Resolved, Matched } = tried.value;
    if (Resolved === 0 || !(await confirmed(`Settle ${counted(Resolved, "conflict")}?`,
      `The rule settles ${Resolved} of the ${Matched} that were looked at, on every node. The other versions stay in the history.`,
      "Settle them"))) return;
    const done = await settleConflicts(database, wanted, true, null);
    fill(outcome, done.ok ? outcomeOf(done.value) : problemNotice(done.problem));
    if (done.ok) toast(`${counted(done.value.Resolved, "conflict")} settled.`);
    onSettled();
  }
}

function outcomeOf(result: BulkResolution): HTMLElement {
  return make("div", {},
    make("p", {}, `${counted(result.Matched, "conflict")} looked at: ${result.Resolved} can be settled by this rule, ${result.Unresolved} cannot.`),
    result.NotResolved.length > 0 && make("ul", {}, ...result.NotResolved.slice(0, 20).map(({ Collection, EntityId, Reason }) =>
      make("li", { class: "small" }, `${Collection}/${EntityId}: ${Reason}`))),
    result.Next !== null && make("p", { class: "soft small" }, "There are more than one request settles: try again afterwards."));
}
