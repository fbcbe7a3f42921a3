// How a database is doing with each peer, and whom it counts with. Looked at again every few seconds.

import { readMembers, readReplicationStatus } from "../../api/client";
import type { DatabaseReplication, Lag, Member, Members, PeerReplication } from "../../api/types";
import { bytes, count, counted } from "../../format/count";
import { ago } from "../../format/moment";
import { dataTable } from "../../parts/data-table";
import { fill, link, make } from "../../parts/element";
import { loading, problemNotice } from "../../parts/notice";
import { statusDot } from "../../parts/status-dot";
import { deadLettersPath } from "../../routes";
import type { Page } from "../page";

const REFRESH_MILLIS = 3_000;

export function syncPage(database: string): Page {
  const peers = make("div", {}, loading("the peers"));
  const members = make("div", {}, loading("the members"));
  const element = make("section", {}, make("h1", {}, `Sync of ${database}`),
    make("h2", {}, "Peers"), peers, make("h2", {}, "Members"), members);
  const closing = new AbortController();
  let timer = 0;
  const onVisibility = (): void => void refresh();
  document.addEventListener("visibilitychange", onVisibility);
  void refresh();
  return {
    title: "Sync",
    element,
    close: () => {
      closing.abort();
      window.clearTimeout(timer);
      document.removeEventListener("visibilitychange", onVisibility);
    },
  };

  async function refresh(): Promise<void> {
    window.clearTimeout(timer);
    const { signal } = closing;
    if (document.hidden || signal.aborted) return;
    const [status, counted] = await Promise.all([readReplicationStatus(signal), readMembers(database, signal)]);
    if (signal.aborted) return;
    fill(peers, status.ok
      ? ofDatabase(status.value.Databases.find(({ DatabaseName }) => DatabaseName === database))
      : problemNotice(status.problem));
    fill(members, counted.ok ? memberTable(counted.value) : problemNotice(counted.problem));
    window.clearTimeout(timer);
    timer = window.setTimeout(() => void refresh(), REFRESH_MILLIS);
  }
}

function ofDatabase(status: DatabaseReplication | undefined): HTMLElement {
  if (status === undefined) return make("p", { class: "soft" }, "This node does not have the database.");
  const { DatabaseName, DeadLetters, Error: wrong, Peers, WaitingFor, TombstonesKept: kept } = status;
  return make("div", {},
    wrong !== null && make("p", { class: "notice bad" }, wrong),
    DeadLetters > 0 && make("p", { class: "notice busy" },
      link(counted(DeadLetters, "operation"), deadLettersPath(DatabaseName)), " could not be taken in."),
    kept.ForMembers > 0 && make("p", { class: "soft small" },
      `${counted(kept.ForMembers, "marker")} of deleted documents wait until ${WaitingFor.join(", ") || "all members"} know of the deletes.`),
    kept.ForConflicts > 0 && make("p", { class: "soft small" },
      `${counted(kept.ForConflicts, "marker")} of deleted documents wait until their conflicts are settled.`),
    Peers.length === 0 ? make("p", { class: "soft" }, "No peer has this database in common with this node.") : peerTable(Peers));
}

function peerTable(peers: PeerReplication[]): HTMLElement {
  const columns = [
    { title: "Peer" }, { title: "State" }, { title: "To send", isNumber: true }, { title: "To take", isNumber: true },
    { title: "Last contact" }, { title: "Proven equal" }, { title: "Clock", isNumber: true }, { title: "There and back", isNumber: true },
  ];
  const moment = (utc: string | null): string => (utc === null ? "never" : ago(utc, Date.now()));
  return dataTable("Peers", columns, peers.map((peer) => [
    make("span", {}, peer.PeerNodeId, make("span", { class: "small soft block" }, peer.BaseUrl)),
    make("span", {}, statusDot(peer.State), make("span", { class: "small soft block" }, peer.StateReason)),
    lag(peer.ToSend),
    lag(peer.ToReceive),
    moment(peer.LastContactUtc),
    moment(peer.LastEqualUtc),
    `${peer.ClockSkewMilliseconds > 0 ? "+" : ""}${count(peer.ClockSkewMilliseconds)} ms`,
    `${count(peer.RoundTripMilliseconds)} ms`,
  ]));
}

function lag({ Operations, Bytes, Seconds }: Lag): HTMLElement {
  return make("span", {}, count(Operations),
    Operations > 0 && make("span", { class: "small soft block" }, `${bytes(Bytes)}, ${counted(Seconds, "second")}`));
}

function memberTable({ Members: all, Origin }: Members): HTMLElement {
  if (all.length === 0) return make("p", { class: "soft" }, "This database counts with no node but this one.");
  const columns = [{ title: "Member" }, { title: "Standing" }, { title: "Lacks", isNumber: true }, { title: "Heard" }, { title: "Lease" }];
  return dataTable("Members", columns, all.map((member) => [
    make("span", {}, member.NodeId, member.Origin === Origin && " (this node)",
      make("span", { class: "small soft block" }, member.Origin)),
    make("span", {}, statusDot(member.Standing), member.IsWaitedFor && make("span", { class: "small soft block" }, "waited for")),
    count(member.UnacknowledgedOperations),
    member.Origin === Origin ? "–" : heard(member),
    member.LeaseSilenceSeconds === 0 ? "–" : `${duration(member.LeaseSilenceSeconds)} of silence count`,
  ]));
}

function heard({ SilentSeconds }: Member): string {
  return SilentSeconds === null ? "not since the start" : `${duration(SilentSeconds)} ago`;
}

function duration(seconds: number): string {
  if (seconds < 120) return counted(seconds, "second");
  if (seconds < 7_200) return counted(Math.floor(seconds / 60), "minute");
  return seconds < 172_800 ? counted(Math.floor(seconds / 3_600), "hour") : counted(Math.floor(seconds / 86_400), "day");
}
