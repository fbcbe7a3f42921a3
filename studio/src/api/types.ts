// What the node answers, written by hand after `/openapi.json`. Documents are not here: they stay text (format/json.ts).

/** `GET /node`. */
export interface NodeSummary {
  NodeId: string;
  TimestampUtc: string;
  LogicalDatabaseCount: number | null;
  Version: string;
}

/** One of `GET /api/databases`. */
export interface DatabaseSummary {
  Name: string;
  Status: "Open" | "Reopening" | "Quarantined";
  Error: string | null;
  /** Null where the key may not read it, or where it is not open. */
  Contents: DatabaseContents | null;
}

export interface DatabaseContents {
  Collections: number;
  Documents: number;
  Tombstones: number;
  Conflicted: number;
  NewestLogSequence: number;
  Digest: string;
  DataBytes: number;
  LogBytes: number;
}

/** One of `GET /api/collections`. */
export interface CollectionSummary {
  Name: string;
  Count: number;
}

/** `GET /api/replication/status`. */
export interface ReplicationStatus {
  NodeId: string;
  Databases: DatabaseReplication[];
}

export interface DatabaseReplication {
  DatabaseName: string;
  Status: string;
  Error: string | null;
  Tombstones: number;
  TombstonesKept: TombstonesKept;
  WaitingFor: string[];
  FencedMembers: string[];
  RetiredIncarnations: number;
  DeadLetters: number;
  Peers: PeerReplication[];
}

/** What markers of deleted documents wait for. */
export interface TombstonesKept {
  ForConflicts: number;
  ForDeadLetters: number;
  ForMembers: number;
  ForRetention: number;
}

export interface PeerReplication {
  PeerNodeId: string;
  BaseUrl: string;
  IsActive: boolean;
  State: string;
  StateReason: string;
  ToSend: Lag;
  ToReceive: Lag;
  LastContactUtc: string | null;
  LastEqualUtc: string | null;
  LastError: string | null;
  NextTryUtc: string | null;
  ClockSkewMilliseconds: number;
  IsClockSuspect: boolean;
  RoundTripMilliseconds: number;
  CatchUpStatus: string;
  CatchUpReason: string;
  EstimatedPendingPushOperations: number;
  EstimatedPendingPullOperations: number;
  LastSuccessUtc: string | null;
  IsWebSocketOpen: boolean;
}

/** What is on its way in one direction. */
export interface Lag {
  Operations: number;
  Bytes: number;
  Seconds: number;
}

/** `GET /api/replication/members`. */
export interface Members {
  Origin: string;
  Tombstones: number;
  Members: Member[];
}

export interface Member {
  NodeId: string;
  Origin: string;
  Standing: "Member" | "Lapsed" | "Retired" | "Forced";
  UnacknowledgedOperations: number;
  IsWaitedFor: boolean;
  SilentSeconds: number | null;
  LeaseSilenceSeconds: number;
}

/** `GET /api/conflicts`. */
export interface ConflictList {
  Conflicts: Conflict[];
  Next: string | null;
  Open: number;
  Closed: number;
}

export interface Conflict {
  Id: string;
  Collection: string;
  EntityId: string;
  State: "Open" | "Closed" | "Replaced";
  Reason: string;
  Policy: string;
  CreatedUtc: string;
  IsDecidedBySuspectStamp: boolean;
  Versions: ConflictVersion[];
  AncestorState: "Found" | "None" | "Gone";
  Ancestor: { VersionId: string; Payload: string | null } | null;
  ClosedUtc: string | null;
  ReplacedBy: string | null;
}

export interface ConflictVersion {
  VersionId: string;
  NodeId: string;
  TimestampUtc: string;
  IsLocal: boolean;
  IsShown: boolean;
  IsDeleted: boolean;
  /** JSON text; null when it was deleted. */
  Payload: string | null;
}

/** `POST /api/conflicts/resolve`. */
export interface BulkResolution {
  Matched: number;
  Resolved: number;
  Unresolved: number;
  NotResolved: { Id: string; Collection: string; EntityId: string; Reason: string }[];
  Next: string | null;
}

/** `GET /api/replication/dead-letters`. */
export interface DeadLetterList {
  DeadLetters: DeadLetter[];
  Next: number | null;
  Total: number;
}

export interface DeadLetter {
  Dot: string;
  Cause: string;
  Reason: string;
  ParkedUtc: string;
  SourceNodeId: string;
  Collection: string | null;
  IsSettledHereOnly: boolean;
  EntityId: string | null;
  Raw: string;
}

/** What became of dead letters. */
export interface DeadLetterResult {
  Named: number;
  Done: number;
  DoneHereOnly: number;
  Failed: { Dot: string; Reason: string }[];
}

/** `GET /api/documents/{collection}/{id}/history`. */
export interface History {
  Operations: OperationRecord[];
  Next: number | null;
}

export interface OperationRecord {
  Id: string;
  NodeId: string;
  TimestampUtc: string;
  /** JSON text: the document after it, `{}` for a delete, the patch for an increment. */
  Payload: string | null;
  LogSequence: number;
  IsTombstone: boolean;
  Kind: string;
}

/** Any error: RFC 9457. */
export interface Problem {
  /** 0 when the node did not answer. */
  status: number;
  code: string;
  /** Says what to do. */
  detail: string;
  /** The request's id, to look it up in the node's log. */
  instance: string | null;
}
