// Who is using Studio: the key and the database that was last chosen.
//
// What stays true: the key is in this tab's storage alone, and goes with the tab, unless its owner asked to have it
// remembered on this machine.

import { store } from "./store";

export interface Session {
  key: string;
  isRemembered: boolean;
  /** The database that was last chosen; empty before that. */
  database: string;
}

const NAME = "holdfast-studio";

export const session = store<Session>(load());

export function signIn(key: string, isRemembered: boolean, database: string): void {
  session.set({ key, isRemembered, database });
  save();
}

export function signOut(): void {
  session.set({ key: "", isRemembered: false, database: "" });
  save();
}

export function chooseDatabase(database: string): void {
  if (session.get().database === database) return;
  session.set({ ...session.get(), database });
  save();
}

function load(): Session {
  const nothing: Session = { key: "", isRemembered: false, database: "" };
  try {
    const text = sessionStorage.getItem(NAME) ?? localStorage.getItem(NAME);
    const saved = JSON.parse(text ?? "{}") as Partial<Session>;
    return {
      key: typeof saved.key === "string" ? saved.key : "",
      isRemembered: saved.isRemembered === true,
      database: typeof saved.database === "string" ? saved.database : "",
    };
  } catch {
    // Storage may be blocked; Studio then forgets at each reload.
    return nothing;
  }
}

function save(): void {
  const { key, isRemembered } = session.get();
  try {
    sessionStorage.removeItem(NAME);
    localStorage.removeItem(NAME);
    if (key !== "") (isRemembered ? localStorage : sessionStorage).setItem(NAME, JSON.stringify(session.get()));
  } catch {
    // As in `load`.
  }
}
