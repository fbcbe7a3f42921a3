// A text field for JSON that says at once where a mistake is. It changes white space when asked, and nothing else.

import { JsonError, compact, indented, tokens } from "../format/json";
import { button, fill, make } from "./element";

export interface JsonEditor {
  element: HTMLElement;
  /** What is written; null while it is no JSON object. */
  text(): string | null;
  /** Puts a text in, over lines. */
  show(text: string): void;
  hasChanged(): boolean;
  focus(): void;
}

const CHECK_DELAY_MILLIS = 150;

export function jsonEditor(label: string, onSave: () => void): JsonEditor {
  let shown = "";
  let timer = 0;
  const report = make("p", { id: "editor-report", class: "small soft", role: "status" });
  const field = make("textarea", {
    id: "editor-field",
    class: "code",
    rows: "22",
    spellcheck: "false",
    autocapitalize: "off",
    autocomplete: "off",
    "aria-describedby": "editor-report",
    oninput: () => {
      window.clearTimeout(timer);
      timer = window.setTimeout(check, CHECK_DELAY_MILLIS);
    },
    onkeydown: (event) => {
      const { key, ctrlKey, metaKey } = event as KeyboardEvent;
      if (key.toLowerCase() !== "s" || !(ctrlKey || metaKey)) return;
      event.preventDefault();
      onSave();
    },
  });

  function mistake(): { text: string; offset: number } | null {
    try {
      const [first] = tokens(field.value);
      return first?.kind === "{" ? null : { text: "A document is an object: { … }.", offset: first?.start ?? 0 };
    } catch (error) {
      return error instanceof JsonError ? { text: error.message, offset: error.offset } : { text: String(error), offset: 0 };
    }
  }

  function check(): boolean {
    const found = mistake();
    field.setAttribute("aria-invalid", String(found !== null));
    report.classList.toggle("bad", found !== null);
    if (found === null) {
      fill(report, "Valid JSON. Ctrl+S saves.");
      return true;
    }
    fill(report, `${found.text} `, button("Show", () => {
      field.focus();
      field.setSelectionRange(found.offset, Math.min(found.offset + 1, field.value.length));
    }, { class: "plain" }));
    return false;
  }

  function show(text: string): void {
    field.value = indented(text);
    shown = field.value;
    check();
  }

  return {
    element: make(
      "div",
      { class: "editor" },
      make(
        "div",
        { class: "row between" },
        make("label", { for: "editor-field" }, label),
        button("Format", () => {
          if (check()) field.value = indented(field.value);
        }),
      ),
      field,
      report,
    ),
    text: () => (check() ? compact(field.value) : null),
    show,
    hasChanged: () => field.value !== shown,
    focus: () => { field.focus(); },
  };
}
