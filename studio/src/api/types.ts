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
  Peers: PeerReplication[];
}

export interface PeerReplication {
  PeerNodeId: string;
  BaseUrl: string;
  IsActive: boolean;
  CatchUpStatus: string;
  CatchUpReason: string;
  EstimatedPendingPushOperations: number;
  EstimatedPendingPullOperations: number;
  LastSuccessUtc: string | null;
  IsWebSocketOpen: boolean;
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
