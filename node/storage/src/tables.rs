//! Every redb table of both files.
//!
//! | file | table | key | value |
//! |---|---|---|---|
//! | `{db}.db` | `documents` | collection, 0x00, id | document record |
//! | `{db}.db` | `changes` | position of a document's last change | the document's key |
//! | `{db}.db` | `unsettled` | position of a document's last change | key of a document with a tombstone or increments |
//! | `{db}.db` | `collections` | collection | count and digest of what is shown |
//! | `{db}.db` | `conflicts` | conflict id | conflict record |
//! | `{db}.db` | `conflicts-open` | position of the document's last change | conflict id |
//! | `{db}.db` | `conflicts-closed` | when, conflict id | the record's size |
//! | `{db}.db` | `indexes` | index number; 0 for all of them | index record; the position that the indexes reflect |
//! | `{db}.db` | `index-entries` | index number, key, document id | length of the key, and marks |
//! | `{db}.db` | `violations-open` | conflict id | index number and key that several documents have |
//! | `{db}.db` | `state` | `"state"` | position, vector and clock that the data reflects; size of the closed conflicts |
//! | `{db}.db` | `cache` | scope, key | what is known of a cache entry, and the position of its last change |
//! | `{db}.db` | `cache-changes` | position of an entry's last change | the entry's row in `cache` |
//! | `{db}.db` | `cache-ends` | when something of an entry ends, its row in `cache` | nothing |
//! | `{db}.db` | `cache-digests` | minute | digest of what ends in it |
//! | `{db}.db` | `cache-peers` | peer's node name | how far its changes are here |
//! | `{db}.db.metadata` | `blocks` | first position | the operations of one group commit, or a part of them |
//! | `{db}.db.metadata` | `cache-blocks` | first position | changes of the cache that the data file may not have synced |
//! | `{db}.db.metadata` | `origins` | number | origin |
//! | `{db}.db.metadata` | `checkpoints` | peer's node name | how far either side has confirmed |
//! | `{db}.db.metadata` | `meta` | word | what the file is: log id and name; the floor of the log; where branches parted, and what else has come to light of them |

use redb::TableDefinition;

/// Documents by collection and id.
pub(crate) const DOCUMENTS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("documents");
/// Document keys by the position of their last change.
pub(crate) const CHANGES: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("changes");
/// Keys of documents that have something to give up once it is stable, by the position of their last change.
pub(crate) const UNSETTLED: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("unsettled");
/// What is shown, per collection.
pub(crate) const COLLECTIONS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("collections");
/// What the data reflects.
pub(crate) const STATE: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("state");

/// Conflicts by their ids.
pub(crate) const CONFLICTS: TableDefinition<'static, u128, &[u8]> = TableDefinition::new("conflicts");
/// Conflicts that nobody has settled, by the position of their document's last change.
pub(crate) const CONFLICTS_OPEN: TableDefinition<'static, u64, u128> = TableDefinition::new("conflicts-open");
/// Settled conflicts by when that was, with their records' sizes.
pub(crate) const CONFLICTS_CLOSED: TableDefinition<'static, (u64, u128), u64> =
    TableDefinition::new("conflicts-closed");

/// Indexes by number.
pub(crate) const INDEXES: TableDefinition<'static, u32, &[u8]> = TableDefinition::new("indexes");
/// Entries of all indexes.
pub(crate) const INDEX_ENTRIES: TableDefinition<'static, &[u8], u16> = TableDefinition::new("index-entries");
/// Keys of unique indexes that several documents have, by the conflict that says so.
pub(crate) const VIOLATIONS_OPEN: TableDefinition<'static, u128, &[u8]> = TableDefinition::new("violations-open");

/// What is known of cache entries, by scope and key.
pub(crate) const CACHE: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("cache");
/// Rows of [`CACHE`] that peers may have, by the position of their last change.
pub(crate) const CACHE_CHANGES: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("cache-changes");
/// Rows of [`CACHE`] by when something of them ends.
pub(crate) const CACHE_ENDS: TableDefinition<'static, (u64, &[u8]), ()> = TableDefinition::new("cache-ends");
/// Digests of what ends in a minute since the Unix epoch.
pub(crate) const CACHE_DIGESTS: TableDefinition<'static, u64, u128> = TableDefinition::new("cache-digests");
/// How far the changes of peers are here.
pub(crate) const CACHE_PEERS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("cache-peers");

/// The log.
pub(crate) const BLOCKS: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("blocks");
/// The cache's part of the log.
pub(crate) const CACHE_BLOCKS: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("cache-blocks");
/// Origins by number.
pub(crate) const ORIGINS: TableDefinition<'static, u32, &[u8]> = TableDefinition::new("origins");
/// Progress of peers.
pub(crate) const CHECKPOINTS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("checkpoints");
/// What the file is.
pub(crate) const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");

/// Key of [`STATE`]: how many bytes the settled conflicts take.
pub(crate) const CONFLICT_BYTES_KEY: &str = "conflict-bytes";
/// Key of [`STATE`]: what the data reflects.
pub(crate) const STATE_KEY: &str = "state";
/// Key of [`STATE`]: what the cache has come to.
pub(crate) const CACHE_STATE_KEY: &str = "cache";
/// Where [`META`] says what the file is.
pub(crate) const DESCRIPTION_KEY: &str = "log";
/// Where [`META`] has the incarnation of this database, if it differs from its node's.
pub(crate) const LIFE_KEY: &str = "life";
/// Where [`META`] has the floor of the log.
pub(crate) const FLOOR_KEY: &str = "floor";
/// Where [`META`] has which operations are meant where branches parted.
pub(crate) const WAYMARKS_KEY: &str = "waymarks";
/// Where [`META`] has what has come to light of branches.
pub(crate) const SUSPICIONS_KEY: &str = "suspicions";
/// Where [`META`] has which branches were passed, as of the last quiet moment or the last cut of the log.
pub(crate) const TRAIL_KEY: &str = "trail";
/// Where [`META`] has what the cache had come to when its part of the log was last cut.
pub(crate) const CACHE_FLOOR_KEY: &str = "cache-floor";
