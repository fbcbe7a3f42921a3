// What Studio tells about itself: problems where they happen, and short words at the edge.

import type { Problem } from "../api/types";
import { session, signOut } from "../state/session";
import { button, make } from "./element";

/** A problem with its advice. */
export function problemNotice(problem: Problem): HTMLElement {
  // The key may have been changed in the node's settings meanwhile.
  const isKeyGone = problem.status === 401 && session.get().key !== "";
  return make(
    "div",
    { class: "notice bad", role: "alert" },
    make("p", {}, problem.detail),
    isKeyGone && make("p", {}, button("Enter another key", signOut)),
    make("p", { class: "soft small" }, problem.code, problem.instance !== null && ` · request ${problem.instance}`),
  );
}

export function loading(what: string): HTMLElement {
  return make("p", { class: "soft", role: "status" }, `Loading ${what}…`);
}

const TOAST_MILLIS = 4_000;
let shelf: HTMLElement | undefined;

/** Says something for a few seconds. */
export function toast(text: string): void {
  shelf ??= document.body.appendChild(make("div", { class: "toasts", role: "status", "aria-live": "polite" }));
  const line = make("p", { class: "toast" }, text);
  shelf.append(line);
  window.setTimeout(() => {
    line.remove();
  }, TOAST_MILLIS);
}
