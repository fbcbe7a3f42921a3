// The node at a glance: who it is, its databases, its peers. Looked at again every few seconds while somebody can see
// it.

import { listDatabases, readNode, readReplicationStatus, type Result } from "../../api/client";
import type { DatabaseSummary, NodeSummary, ReplicationStatus } from "../../api/types";
import { bytes, count } from "../../format/count";
import { ago, clock } from "../../format/moment";
import { dataTable } from "../../parts/data-table";
import { fill, link, make } from "../../parts/element";
import { loading, problemNotice } from "../../parts/notice";
import { statusDot } from "../../parts/status-dot";
import { documentsPath, syncPath } from "../../routes";
import type { Page } from "../page";

const REFRESH_MILLIS = 5_000;

export function overviewPage(): Page {
  const node = make("div", {}, loading("the node"));
  const databases = make("div", {});
  const peers = make("div", {});
  const element = make("section", {}, make("h1", {}, "Overview"), node,
    make("h2", {}, "Databases"), databases, make("h2", {}, "Peers"), peers);
  const closing = new AbortController();
  let timer = 0;
  let isRunning = false;

  async function refresh(): Promise<void> {
    window.clearTimeout(timer);
    if (isRunning || document.hidden || closing.signal.aborted) return;
    isRunning = true;
    const signal = closing.signal;
    const [who, held, status] = await Promise.all([
      readNode(signal), listDatabases({ signal }), readReplicationStatus(signal),
    ]);
    isRunning = false;
    if (signal.aborted) return;
    fill(node, shown(who, nodeFacts));
    fill(databases, shown(held, databaseTable));
    fill(peers, shown(status, peerTable));
    timer = window.setTimeout(() => void refresh(), REFRESH_MILLIS);
  }

  const onVisibility = (): void => void refresh();
  document.addEventListener("visibilitychange", onVisibility);
  void refresh();
  return {
    title: "Overview",
    element,
    close: () => {
      closing.abort();
      window.clearTimeout(timer);
      document.removeEventListener("visibilitychange", onVisibility);
    },
  };
}

function shown<T>(answer: Result<T>, show: (value: T) => HTMLElement): HTMLElement {
  return answer.ok ? show(answer.value) : problemNotice(answer.problem);
}

function nodeFacts(node: NodeSummary): HTMLElement {
  const fact = (name: string, value: string): HTMLElement => make("div", {}, make("dt", {}, name), make("dd", {}, value));
  return make("dl", { class: "facts card" },
    fact("Node", node.NodeId), fact("Version", node.Version), fact("Its clock", clock(node.TimestampUtc)));
}

function databaseTable(databases: DatabaseSummary[]): HTMLElement {
  if (databases.length === 0) {
    return make("p", { class: "soft" }, "There is none yet. The first write to a database creates it.");
  }
  const columns = [
    { title: "Name" }, { title: "State" }, { title: "Documents", isNumber: true }, { title: "Collections", isNumber: true },
    { title: "Conflicts", isNumber: true }, { title: "Log", isNumber: true }, { title: "On disk", isNumber: true },
  ];
  return dataTable("Databases", columns, databases.map(({ Name, Status, Error, Contents }) => {
    const number = (value: number | undefined): string => (value === undefined ? "–" : count(value));
    return [
      link(Name, documentsPath(Name), { "data-focus": `database ${Name}` }),
      make("span", {}, statusDot(Status), Error !== null && make("span", { class: "small soft block" }, Error)),
      number(Contents?.Documents),
      number(Contents?.Collections),
      number(Contents?.Conflicted),
      number(Contents?.NewestLogSequence),
      Contents === null ? "–" : bytes(Contents.DataBytes + Contents.LogBytes),
    ];
  }));
}

function peerTable(status: ReplicationStatus): HTMLElement {
  const rows = status.Databases.flatMap(({ DatabaseName, Peers }) => Peers.map((peer) => ({ DatabaseName, peer })));
  const failed = status.Databases.filter((database) => database.Error !== null);
  const told = failed.map(({ DatabaseName, Error }) =>
    make("p", { class: "notice bad" }, make("strong", {}, DatabaseName), `: ${Error ?? ""}`));
  if (rows.length === 0) {
    return make("div", {}, ...told, make("p", { class: "soft" }, "This node has no peers with a database in common."));
  }
  const columns = [
    { title: "Peer" }, { title: "Database" }, { title: "State" }, { title: "To send", isNumber: true },
    { title: "To take", isNumber: true }, { title: "Last exchange" }, { title: "Hints" },
  ];
  return make("div", {}, ...told, dataTable("Peers", columns, rows.map(({ DatabaseName, peer }) => [
    make("span", {}, link(peer.PeerNodeId, syncPath(DatabaseName)), make("span", { class: "small soft block" }, peer.BaseUrl)),
    DatabaseName,
    make("span", {}, statusDot(peer.State), make("span", { class: "small soft block" }, peer.StateReason)),
    count(peer.EstimatedPendingPushOperations),
    count(peer.EstimatedPendingPullOperations),
    peer.LastSuccessUtc === null ? "never" : ago(peer.LastSuccessUtc, Date.now()),
    peer.IsWebSocketOpen ? "connected" : "not connected",
  ])));
}
