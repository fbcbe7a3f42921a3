// A state as a dot and a word: colour alone would not reach everybody.

import { make } from "./element";

export type Tone = "good" | "busy" | "bad" | "off";

const TONES: Record<string, Tone> = {
  Open: "good",
  Ready: "good",
  InSync: "good",
  Member: "good",
  Closed: "off",
  Replaced: "off",
  Reopening: "busy",
  CatchingUp: "busy",
  Quarantined: "bad",
  Failing: "bad",
  Diverged: "bad",
  Lapsed: "bad",
  Forced: "bad",
  Retired: "off",
  Error: "bad",
  Inactive: "off",
  Paused: "off",
  Resting: "off",
  Silent: "bad",
};

const WORDS: Record<string, string> = { CatchingUp: "Catching up", InSync: "In sync" };

export function statusDot(state: string, reason?: string): HTMLElement {
  const tone = TONES[state] ?? "busy";
  return make(
    "span",
    { class: "status", title: reason },
    make("span", { class: `dot ${tone}`, "aria-hidden": "true" }),
    WORDS[state] ?? state,
  );
}
