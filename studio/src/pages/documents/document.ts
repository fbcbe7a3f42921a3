// One document: read, change, delete. A change carries the version that it was made from, so that nobody's work is
// overwritten unseen.

import { deleteDocument, readDocument, writeDocument, type Place } from "../../api/client";
import type { Problem } from "../../api/types";
import { indented } from "../../format/json";
import { confirmed } from "../../parts/dialog";
import { button, fill, link, make } from "../../parts/element";
import { jsonEditor } from "../../parts/json-editor";
import { loading, problemNotice, toast } from "../../parts/notice";
import { collectionPath, historyPath } from "../../routes";
import type { Page } from "../page";
import { trail } from "./trail";

export function documentPage(place: Place): Page {
  const { database, collection, id } = place;
  const editor = jsonEditor("Document", () => void save());
  const outcome = make("div", {});
  const version = make("p", { class: "soft small" });
  const saving = button("Save", () => void save(), { class: "main" });
  const form = make(
    "div",
    { class: "stack", hidden: true },
    editor.element,
    make("div", { class: "row" }, saving, button("Reload", () => void reload()),
      link("History", historyPath(database, collection, id)),
      make("span", { class: "grow" }), button("Delete", () => void remove(), { class: "danger" })),
    version,
  );
  const element = make("section", {}, trail(database, collection), make("h1", {}, id), outcome, form);
  let etag = "";
  let isGone = false;
  void load("the document");
  return { title: id, element, hasUnsaved: () => !isGone && editor.hasChanged() };

  async function load(what: string): Promise<void> {
    fill(outcome, loading(what));
    const answer = await readDocument(place);
    if (!answer.ok) {
      fill(outcome, problemNotice(answer.problem));
      return;
    }
    etag = answer.value.etag;
    editor.show(answer.value.text);
    fill(version, `Version ${etag.replaceAll('"', "")}`);
    fill(outcome);
    form.hidden = false;
  }

  async function reload(): Promise<void> {
    const isFree = !editor.hasChanged() ||
      await confirmed("Reload?", "What you changed here and did not save is lost.", "Reload");
    if (isFree) await load("the document");
  }

  async function save(): Promise<void> {
    const text = editor.text();
    if (text === null) {
      editor.focus();
      return;
    }
    saving.disabled = true;
    const answer = await writeDocument(place, text, { etag });
    saving.disabled = false;
    if (answer.ok) {
      toast("Saved.");
      await load("what was saved");
    } else if (answer.problem.status === 412) await showOther(answer.problem);
    else fill(outcome, problemNotice(answer.problem));
  }

  async function remove(): Promise<void> {
    const isSure = await confirmed(`Delete ${id}?`, `It goes from ${collection} here and on every peer.`, "Delete");
    if (!isSure) return;
    const answer = await deleteDocument(place, etag);
    if (answer.ok) {
      isGone = true;
      toast("Deleted.");
      location.hash = collectionPath(database, collection);
    } else if (answer.problem.status === 412) await showOther(answer.problem);
    else fill(outcome, problemNotice(answer.problem));
  }

  /** Somebody else was faster: shows what is there now, and leaves the choice. */
  async function showOther(problem: Problem): Promise<void> {
    const answer = await readDocument(place);
    const isDeleted = !answer.ok && answer.problem.status === 404;
    if (!answer.ok && !isDeleted) {
      fill(outcome, problemNotice(answer.problem));
      return;
    }
    const theirs = answer.ok ? answer.value : null;
    fill(outcome, make(
      "div",
      { class: "notice busy", role: "alert" },
      make("p", {}, make("strong", {}, isDeleted
        ? "Somebody else deleted this document since you opened it."
        : "Somebody else changed this document since you opened it.")),
      make("p", { class: "small" }, problem.detail),
      theirs && make("details", {}, make("summary", {}, "What is there now"),
        make("pre", { class: "code" }, indented(theirs.text))),
      make("div", { class: "row" },
        theirs && button("Take theirs", () => {
          etag = theirs.etag;
          editor.show(theirs.text);
          fill(version, `Version ${etag.replaceAll('"', "")}`);
          fill(outcome);
          editor.focus();
        }),
        button("Overwrite with mine", () => void overwrite(theirs?.etag))),
    ));
  }

  /** Saves over the version that was shown, and over no later one. */
  async function overwrite(shown: string | undefined): Promise<void> {
    const text = editor.text();
    if (text === null) return;
    const answer = await writeDocument(place, text, shown === undefined ? "absent" : { etag: shown });
    if (answer.ok) {
      toast("Saved over the other version, which stays in the history.");
      await load("what was saved");
    } else if (answer.problem.status === 412) await showOther(answer.problem);
    else fill(outcome, problemNotice(answer.problem));
  }
}
