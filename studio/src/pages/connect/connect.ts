// The door: a key, whether to remember it, and which database to look at.

import { listDatabases } from "../../api/client";
import type { DatabaseSummary } from "../../api/types";
import { counted } from "../../format/count";
import { fill, link, make } from "../../parts/element";
import { loading, problemNotice } from "../../parts/notice";
import { statusDot } from "../../parts/status-dot";
import { documentsPath, overviewPath, routeOf } from "../../routes";
import { session, signIn } from "../../state/session";
import type { Page } from "../page";

export function connectPage(): Page {
  const element = make("section", { class: "narrow" });
  const { key } = session.get();
  if (key === "") askForKey(element);
  else void askForDatabase(element);
  return { title: "Connect", element };
}

function askForKey(element: HTMLElement): void {
  const field = make("input", {
    id: "key", type: "password", required: true, autocomplete: "off", spellcheck: "false", autocapitalize: "off",
    "aria-describedby": "key-advice",
  });
  const remember = make("input", { id: "remember", type: "checkbox" });
  const outcome = make("div", {});
  const submit = make("button", { type: "submit", class: "main" }, "Connect");
  const form = make(
    "form",
    { class: "stack card", onsubmit: (event) => {
      event.preventDefault();
      void connect();
    } },
    make("label", { for: "key" }, "API key"),
    field,
    make("p", { id: "key-advice", class: "soft small" },
      "A key from Auth:ApiKeys or Auth:RootApiKey of the node's settings. The root key also shows the peers."),
    make("label", { class: "row", for: "remember" }, remember, "Remember the key on this machine"),
    make("p", { class: "soft small" }, "Otherwise it is forgotten with this tab."),
    outcome,
    make("div", { class: "row end" }, submit),
  );
  fill(element, make("h1", {}, "Connect to this node"), form);

  async function connect(): Promise<void> {
    const key = field.value.trim();
    submit.disabled = true;
    fill(outcome, loading("databases"));
    const answer = await listDatabases({ key });
    submit.disabled = false;
    if (!answer.ok) {
      fill(outcome, problemNotice(answer.problem));
      field.focus();
      return;
    }
    const [only] = answer.value;
    const isChosen = answer.value.length === 1 && only !== undefined;
    const wanted = routeOf(location.hash)?.page;
    const isElsewhere = wanted !== undefined && wanted !== "connect";
    signIn(key, remember.checked, isChosen ? only.Name : "");
    // Somebody who came for a page gets that page; the session's change has shown it.
    if (!isElsewhere && isChosen) location.hash = overviewPath();
  }
}

async function askForDatabase(element: HTMLElement): Promise<void> {
  const outcome = make("div", {}, loading("databases"));
  fill(element, make("h1", {}, "Choose a database"), outcome);
  const answer = await listDatabases();
  if (!answer.ok) {
    fill(outcome, problemNotice(answer.problem));
    return;
  }
  fill(outcome, choices(answer.value), newDatabase());
}

function choices(databases: DatabaseSummary[]): HTMLElement {
  if (databases.length === 0) return make("p", {}, "There is no database yet that this key reaches.");
  return make("ul", { class: "list card" }, ...databases.map((database) =>
    make("li", {}, make(
      "a",
      { href: documentsPath(database.Name), class: "row between" },
      make("strong", {}, database.Name),
      database.Contents === null ? statusDot(database.Status) : counted(database.Contents.Documents, "document"),
    ))));
}

function newDatabase(): HTMLElement {
  const field = make("input", {
    id: "database", required: true, pattern: "[a-z0-9][a-z0-9_\\-]{0,62}", autocomplete: "off", autocapitalize: "off",
    title: "Lower-case letters, digits, - and _",
  });
  return make(
    "form",
    { class: "row", onsubmit: (event) => {
      event.preventDefault();
      location.hash = documentsPath(field.value);
    } },
    make("label", { for: "database" }, "Another name"),
    field,
    make("button", { type: "submit" }, "Open"),
    link("Overview", overviewPath()),
  );
}

