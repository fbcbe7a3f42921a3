//! Every bound of the system, in one place, with the relations between them checked at compile time.
//!
//! A setting may lower some of these (never raise them): the settings module says which.

/// Longest database name, in bytes.
pub const DATABASE_NAME_BYTES_MAX: usize = 63;
/// Longest collection name, in bytes.
pub const COLLECTION_NAME_BYTES_MAX: usize = 128;
/// Longest document id, in bytes.
pub const DOCUMENT_ID_BYTES_MAX: usize = 512;
/// Longest node name, in bytes.
pub const NODE_NAME_BYTES_MAX: usize = 64;

/// Deepest nesting of a document: an object in a list in an object is three.
pub const DOCUMENT_DEPTH_MAX: usize = 100;
/// Largest document, in bytes of JSON text without white space.
pub const DOCUMENT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Longest text of one number in a document, in bytes.
pub const NUMBER_BYTES_MAX: usize = 64;
/// Most fields that one increment may touch.
pub const INCREMENT_FIELDS_MAX: usize = 64;

/// Longest text of one query, in bytes. Documents beyond it come as parameters.
pub const QUERY_BYTES_MAX: usize = 1024 * 1024;
/// Most tokens of one query, white space included.
pub const QUERY_TOKENS_MAX: usize = 250_000;
/// Deepest nesting of one query: brackets in brackets, and operators in a row that cannot share a list, such as `+`.
pub const QUERY_DEPTH_MAX: usize = 128;
/// Most parts that a query may have once the aliases in it stand for what they name.
pub const QUERY_PARTS_MAX: usize = 500_000;
/// Digits of a computed number.
pub const QUERY_DIGITS_MAX: u32 = 38;
/// Digits of a quotient that does not end.
pub const QUERY_DIVISION_DIGITS: u32 = 20;
/// Longest pattern of a `LIKE`, in characters.
pub const QUERY_PATTERN_CHARS_MAX: usize = 1_000;
/// Bytes of all that one expression builds for one row.
pub const QUERY_VALUE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Steps that one expression takes for one row: characters and items that its functions look at.
pub const QUERY_ROW_WORK_MAX: usize = 256 * 1024 * 1024;
/// Most values that a row of a query shows.
pub const QUERY_COLUMNS_MAX: usize = 1_000;
/// Longest line of an answer that the command line reads: one row, or what is told after the last one.
pub const QUERY_LINE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Longest text with statements that the command line reads from a file or a terminal.
pub const QUERY_SCRIPT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Statements that the command line remembers.
pub const QUERY_HISTORY_ENTRIES_MAX: usize = 1_000;
/// Longest text that it remembers, in bytes.
pub const QUERY_HISTORY_ENTRY_BYTES_MAX: usize = 16 * 1024;
/// Seconds that a query waits for whoever reads its answer, all pauses together: while it waits, it holds a place.
pub const QUERY_READER_WAIT_SECONDS_MAX: u64 = 3_600;
/// Most keys that a query groups or orders by, and most fields that one statement assigns to by name.
pub const QUERY_KEYS_MAX: usize = 256;
/// Most collections that one query joins.
pub const QUERY_SOURCES_MAX: usize = 16;

/// Most operations in one transaction.
pub const TRANSACTION_OPERATIONS_MAX: usize = 10_000;
/// Most operations that one group commit writes.
pub const COMMIT_OPERATIONS_MAX: usize = 16_384;
/// Bytes of documents after which a group commit takes no further request.
pub const COMMIT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Most operations in one push or pull.
pub const EXCHANGE_OPERATIONS_MAX: usize = 10_000;
/// Operations in a push or pull between nodes that speak the compact form: enough to share an fsync, few enough that
/// the next stretch is made ready while one is being written.
pub const EXCHANGE_COMPACT_OPERATIONS: usize = 4_096;
/// Bytes after which a push or pull is cut, if it holds at least one operation or transaction.
pub const EXCHANGE_BYTES_TARGET: usize = 4 * 1024 * 1024;
/// Largest push or pull body that is read from a peer.
pub const EXCHANGE_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Bytes of states that a peer is first asked for at once; how many then, its line decides.
pub const STATES_BYTES_FIRST: usize = 256 * 1024;
/// Fewest bytes of states that are asked for at once.
pub const STATES_BYTES_MIN: usize = 64 * 1024;
/// Most collections that are named with a page of states.
pub const COLLECTIONS_IN_STATES_MAX: usize = 100_000;
/// Most sequences of an origin that are asked for at once when two branches of it are compared.
pub const BRANCH_SEQUENCES_MAX: usize = 512;
/// Most places where branches parted that a database remembers. An answer has them besides what was asked for.
pub const WAYMARKS_MAX: usize = 64;
const _: () = assert!(WAYMARKS_MAX < BRANCH_SEQUENCES_MAX);
/// Names of counted increments beside a document from which on those that every member knows are let go of. Below, the note
/// would cost more than it saves.
pub const COUNTED_NAMES_SETTLED_MIN: usize = 16;
/// Most names of increments that were written again and that every member knows, beside a document: whoever was counted out
/// and returns looks for them.
pub const STAND_IN_NAMES_MAX: usize = 1_024;
/// Most peers of whose branches a database remembers what came to light.
pub const SUSPECTED_PEERS_MAX: usize = 64;
/// Numbers of an origin at which a database remembers its branch, before it thins them out.
pub const TRAIL_POINTS_MAX: usize = 768;
/// Most origins of which it does.
pub const TRAIL_ORIGINS_MAX: usize = 512;
/// Most numbers of origins at which a peer states which branch it knows.
pub const WAYMARKS_STATED_MAX: usize = 32 * TRAIL_ORIGINS_MAX;
/// Most collections that a survey names; the digest of a database with more is compared as a whole.
pub const SURVEY_COLLECTIONS_MAX: usize = 10_000;
/// Most documents on their way that a survey leaves out; with more, nothing is compared.
pub const SURVEY_DOCUMENTS_MAX: usize = 10_000;
/// Most sequences in all the vectors that a survey acknowledges.
pub const SURVEY_ACKNOWLEDGED_MAX: usize = 65_536;
/// Largest survey that is read from a peer, in bytes.
pub const SURVEY_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Most stretches of documents whose digests are asked for at once.
pub const VERIFY_RANGES_MAX: usize = 64;
/// Most documents that one answer lists while two nodes look for differences, or looks at in one stretch.
pub const VERIFY_DOCUMENTS_MAX: usize = 4_096;
/// Most documents whose states are asked for at once.
pub const VERIFY_STATES_MAX: usize = 100;
/// Most differences that one search reports and settles; the next one goes on.
pub const VERIFY_DIFFERENCES_MAX: usize = 1_000;

/// Most operations that a database parks; with so many, somebody has to look.
pub const DEAD_LETTERS_MAX: usize = 2_000;
/// Most bytes of them that go along with a database's states; with more, somebody has to look before states are given.
pub const DEAD_LETTERS_BYTES_IN_STATES_MAX: usize = 32 * 1024 * 1024;
/// Bytes of a parked operation's record that a list shows, and that looking at one shows.
pub const DEAD_LETTER_LISTED_BYTES_MAX: usize = 1_024;
/// See [`DEAD_LETTER_LISTED_BYTES_MAX`].
pub const DEAD_LETTER_SHOWN_BYTES_MAX: usize = 1024 * 1024;

/// Most origins in one vector. A cluster is far smaller; the bound keeps a hostile peer's vector small.
pub const VECTOR_ORIGINS_MAX: usize = 4_096;
/// Most databases on one node.
pub const DATABASES_MAX: usize = 1_000;
/// Most peers of one node.
pub const PEERS_MAX: usize = 1_000;

/// Operations on a document that are looked through for what the sides of a conflict have in common.
pub const ANCESTOR_OPERATIONS_MAX: usize = 1_000;
/// Time that a node has for settling a conflict before the next one may.
pub const CONFLICT_TURN_MILLIS: u64 = 400;
/// Turns among which the nodes are spread that wrote none of a conflict's sides.
pub const CONFLICT_TURNS_OF_OTHERS: u64 = 4;
/// Settled conflicts that a database keeps on record, ...
pub const CONFLICTS_CLOSED_MAX: u64 = 10_000;
/// ... how many bytes of them, ...
pub const CONFLICTS_CLOSED_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// ... and for how long: 90 days, in milliseconds.
pub const CONFLICTS_CLOSED_MILLIS_MAX: u64 = 90 * 24 * 60 * 60 * 1_000;
/// Most conflicts that one request settles by a rule.
pub const CONFLICTS_RESOLVED_MAX: usize = 10_000;

/// Longest name of an index, in bytes.
pub const INDEX_NAME_BYTES_MAX: usize = 64;
/// Most paths of one index.
pub const INDEX_PATHS_MAX: usize = 8;
/// Most indexes of one collection, and of one database.
pub const INDEXES_PER_COLLECTION_MAX: usize = 64;
/// See [`INDEXES_PER_COLLECTION_MAX`].
pub const INDEXES_PER_DATABASE_MAX: usize = 256;
/// Longest key in an index, in bytes; what is longer is cut and found by a hash.
pub const INDEX_KEY_BYTES_MAX: usize = 1_024;
/// Most keys that one document has in one index; with more it is looked at by every question.
pub const INDEX_ENTRIES_PER_DOCUMENT_MAX: usize = 1_000;
/// Documents with the same values that are named when a unique index is refused or violated.
pub const DUPLICATES_LISTED_MAX: usize = 20;

/// Longest key of a cache entry, in characters, and in bytes.
pub const CACHE_KEY_CHARS_MAX: usize = 256;
/// See [`CACHE_KEY_CHARS_MAX`].
pub const CACHE_KEY_BYTES_MAX: usize = 1_024;
/// Largest value of a cache entry, in bytes.
pub const CACHE_VALUE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Longest content type of a raw value, in bytes.
pub const CACHE_MEDIA_BYTES_MAX: usize = 255;
/// Longest that an entry lives: 30 days, in milliseconds.
pub const CACHE_TTL_MILLIS_MAX: u64 = 30 * 24 * 60 * 60 * 1_000;
/// How long an entry lives when nothing is said, in milliseconds.
pub const CACHE_TTL_MILLIS_DEFAULT: u64 = 5 * 60 * 1_000;
/// Most concurrent writes, resets and counts of one key, each, that are read from disk or from a peer; and of what all of
/// its writes say of counts.
pub const CACHE_PARTS_MAX: usize = 4_096;
/// Most touches of one key, likewise.
pub const CACHE_TOUCHES_MAX: usize = 1_024;
/// Most keys that one message between nodes brings, and how many of them are sent at once.
pub const CACHE_KEYS_PER_MESSAGE_MAX: usize = 10_000;
/// See [`CACHE_KEYS_PER_MESSAGE_MAX`].
pub const CACHE_KEYS_PER_MESSAGE: usize = 2_000;
/// Most entries that one request reads, writes or lists.
pub const CACHE_ENTRIES_PER_REQUEST_MAX: usize = 1_000;
/// Bytes of values after which an answer with several cache entries holds no further one.
pub const CACHE_ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Most documents in one page of a list.
pub const PAGE_DOCUMENTS_MAX: usize = 10_000;
/// Documents in a page when nothing is asked.
pub const PAGE_DOCUMENTS_DEFAULT: usize = 100;
/// Bytes after which a page of documents is cut and continued by its cursor.
pub const PAGE_BYTES_TARGET: usize = 32 * 1024 * 1024;
/// Longest that a change feed or another long poll waits, in milliseconds.
pub const LONG_POLL_MILLIS_MAX: u64 = 60_000;
/// How long a read waits for the write that its token names when nothing else is asked, in milliseconds.
pub const TOKEN_WAIT_MILLIS_DEFAULT: u64 = 5_000;
/// Most pairs of peer and database that metrics show; sums go on over all of them.
pub const METRIC_SESSIONS_MAX: usize = 1_000;
/// Largest WebSocket text frame between peers, in bytes.
pub const HINT_BYTES_MAX: usize = 16 * 1024;

/// Largest frame between leader and follower, in bytes.
pub const REPLICA_FRAME_BYTES_MAX: usize = EXCHANGE_BYTES_MAX + 1024;
/// Largest frame before both sides know each other.
pub const REPLICA_GREETING_BYTES_MAX: usize = 4 * 1024;
/// Most followers of one leader.
pub const REPLICA_FOLLOWERS_MAX: usize = 256;
/// Longest secret that an operator may give a leader or a follower while it runs.
pub const REPLICA_SECRET_BYTES_MAX: usize = 256;
/// Most nodes that vote on who leads.
pub const REPLICA_VOTERS_MAX: usize = 32;

const _: () = assert!(
    EXCHANGE_BYTES_TARGET + DOCUMENT_BYTES_MAX * 2 <= EXCHANGE_BYTES_MAX,
    "a batch that is cut after its target still fits a body, escapes included"
);
const _: () = assert!(
    DOCUMENT_DEPTH_MAX + 8 <= 128,
    "a document inside an operation inside a message stays within what the JSON reader accepts"
);
const _: () = assert!(
    STATES_BYTES_MIN <= STATES_BYTES_FIRST && STATES_BYTES_FIRST <= EXCHANGE_BYTES_TARGET,
    "what is first asked for may grow and shrink"
);
const _: () = assert!(TRANSACTION_OPERATIONS_MAX <= COMMIT_OPERATIONS_MAX, "a transaction fits one group commit");
const _: () = assert!(TRANSACTION_OPERATIONS_MAX <= EXCHANGE_OPERATIONS_MAX, "a transaction travels in one batch");
const _: () = assert!(
    SURVEY_DOCUMENTS_MAX * 2 * (COLLECTION_NAME_BYTES_MAX + DOCUMENT_ID_BYTES_MAX + 64) * 2 <= SURVEY_BYTES_MAX,
    "a survey that names all it may fits its body, escapes included"
);
