// A state as a dot and a word: colour alone would not reach everybody.

import { make } from "./element";

export type Tone = "good" | "busy" | "bad" | "off";

const TONES: Record<string, Tone> = {
  Open: "good",
  Ready: "good",
  Reopening: "busy",
  CatchingUp: "busy",
  Quarantined: "bad",
  Failing: "bad",
  Error: "bad",
  Inactive: "off",
};

const WORDS: Record<string, string> = { CatchingUp: "Catching up" };

export function statusDot(state: string, reason?: string): HTMLElement {
  const tone = TONES[state] ?? "busy";
  return make(
    "span",
    { class: "status", title: reason },
    make("span", { class: `dot ${tone}`, "aria-hidden": "true" }),
    WORDS[state] ?? state,
  );
}
