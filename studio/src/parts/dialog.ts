// A question that must be answered. The browser's own dialog keeps the focus inside and closes on Escape.

import { button, make } from "./element";

/** Asks, and tells whether the answer was the one on the button. */
export function confirmed(question: string, advice: string, yes: string): Promise<boolean> {
  return new Promise((resolve) => {
    const dialog = make("dialog", { "aria-labelledby": "dialog-question" });
    dialog.append(
      make("h2", { id: "dialog-question" }, question),
      make("p", {}, advice),
      make(
        "div",
        { class: "row end" },
        button("Cancel", () => { dialog.close(); }, { autofocus: true }),
        button(yes, () => { dialog.close("yes"); }, { class: "danger" }),
      ),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
