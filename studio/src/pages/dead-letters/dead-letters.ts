// Operations from peers that could not be taken in: why, and what may be done about them.

import { listDeadLetters, retryDeadLetters, settleDeadLetter, type Result } from "../../api/client";
import type { DeadLetter, DeadLetterResult } from "../../api/types";
import { counted } from "../../format/count";
import { indented } from "../../format/json";
import { ago } from "../../format/moment";
import { confirmed } from "../../parts/dialog";
import { button, fill, make } from "../../parts/element";
import { loading, problemNotice, toast } from "../../parts/notice";
import type { Page } from "../page";

export function deadLettersPage(database: string): Page {
  const list = make("div", {}, loading("dead letters"));
  const outcome = make("div", {});
  const element = make("section", {},
    make("div", { class: "row between" }, make("h1", {}, "Dead letters"),
      button("Try all again", () => void act(retryDeadLetters(database, null)))),
    make("p", { class: "soft" }, "Each stops nothing but its transaction and what follows on its document, and goes on to other nodes as it came."),
    outcome, list);
  void load(null);
  return { title: "Dead letters", element };

  async function load(after: number | null): Promise<void> {
    const answer = await listDeadLetters(database, after);
    if (!answer.ok) {
      fill(list, problemNotice(answer.problem));
      return;
    }
    const { DeadLetters, Next, Total } = answer.value;
    fill(list, make("p", {}, Total === 0 ? "There are none." : `${counted(Total, "operation")} wait.`),
      DeadLetters.length > 0 && make("ol", { class: "list card" }, ...DeadLetters.map((letter) => make("li", {}, entry(letter)))),
      Next !== null && button("Next letters", () => void load(Next)));
  }

  function entry(letter: DeadLetter): HTMLElement {
    const { Dot, Cause, Reason, ParkedUtc, SourceNodeId, Collection, EntityId, Raw } = letter;
    return make("details", {},
      make("summary", {}, make("strong", {}, `${Collection ?? "no collection"}/${EntityId ?? ""}`), ` from ${SourceNodeId}, ${ago(ParkedUtc, Date.now())}: ${Cause}`),
      make("p", {}, Reason), make("p", { class: "soft small" }, Dot), make("pre", { class: "code" }, readable(Raw)),
      make("div", { class: "row" },
        button("Try again", () => void act(retryDeadLetters(database, Dot))),
        button("Keep what is shown here", () => void settle(letter), { class: "danger" })));
  }

  async function settle({ Dot, IsSettledHereOnly }: DeadLetter): Promise<void> {
    const isMeant = await confirmed("Keep what this node shows?", IsSettledHereOnly
      ? "It names no document that could be written again: it is given up on this node alone. Settle it on every node that holds it."
      : "The document is written again as this node shows it, on every node. What the letter wanted is given up.", "Keep it");
    if (isMeant) await act(settleDeadLetter(database, Dot));
  }

  async function act(doing: Promise<Result<DeadLetterResult>>): Promise<void> {
    const answer = await doing;
    if (answer.ok) {
      toast(`${counted(answer.value.Done, "letter")} less.`);
      fill(outcome, ...answer.value.Failed.map(({ Dot, Reason }) => make("p", { class: "notice busy" }, `${Dot}: ${Reason}`)));
    } else fill(outcome, problemNotice(answer.problem));
    await load(null);
  }
}

/** The operation over lines; as it is where it was cut. */
function readable(raw: string): string {
  try {
    return indented(raw);
  } catch {
    return raw;
  }
}
