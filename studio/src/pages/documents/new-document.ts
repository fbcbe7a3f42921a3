// A new document. It never replaces one that is there.

import { writeDocument } from "../../api/client";
import { fill, make } from "../../parts/element";
import { jsonEditor } from "../../parts/json-editor";
import { problemNotice, toast } from "../../parts/notice";
import { documentPath } from "../../routes";
import type { Page } from "../page";
import { trail } from "./trail";

export function newDocumentPage(database: string, collection: string): Page {
  const text = { autocomplete: "off", autocapitalize: "off", spellcheck: "false", required: true };
  const where = make("input", { id: "new-collection", ...text });
  const id = make("input", { id: "new-id", ...text, "aria-describedby": "id-advice" });
  const outcome = make("div", {});
  const editor = jsonEditor("Document", () => { form.requestSubmit(); });
  const submit = make("button", { type: "submit", class: "main" }, "Create");
  let isSaved = false;
  where.value = collection;
  editor.show("{}");
  const form = make(
    "form",
    { class: "stack", onsubmit: (event) => {
      event.preventDefault();
      void create();
    } },
    make("label", { for: "new-collection" }, "Collection"), where,
    make("label", { for: "new-id" }, "Id"), id,
    make("p", { id: "id-advice", class: "soft small" }, "Any text up to 512 bytes. Capital and small letters differ."),
    editor.element,
    outcome,
    make("div", { class: "row" }, submit),
  );
  const element = make("section", {}, trail(database, collection === "" ? undefined : collection),
    make("h1", {}, "New document"), form);
  return { title: "New document", element, hasUnsaved: () => !isSaved && editor.hasChanged() };

  async function create(): Promise<void> {
    const body = editor.text();
    if (body === null) {
      editor.focus();
      return;
    }
    const place = { database, collection: where.value, id: id.value };
    submit.disabled = true;
    const answer = await writeDocument(place, body, "absent");
    submit.disabled = false;
    if (!answer.ok) {
      fill(outcome, problemNotice(answer.problem));
      return;
    }
    isSaved = true;
    toast("Created.");
    location.hash = documentPath(place.database, place.collection, place.id);
  }
}
