//! Names: of databases, collections, documents, nodes, operations. Each is checked once, where it enters.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::error::Refusal;
use crate::index::INDEXES_COLLECTION;
use crate::limits::{COLLECTION_NAME_BYTES_MAX, DATABASE_NAME_BYTES_MAX, DOCUMENT_ID_BYTES_MAX, NODE_NAME_BYTES_MAX};

/// The collection that holds the replicated cache; reached by `/api/cache` alone.
pub const CACHE_COLLECTION: &str = "cache";

/// The name under which operations about members stand in the log; no document lives there.
pub const MEMBERS_COLLECTION: &str = "_sys_members";

/// Collections that can be read where queries are, and written by nobody.
pub const SYSTEM_COLLECTIONS: [&str; 4] = ["_conflicts", "_operations", "_collections", "_indexes"];

/// Name of a logical database: lower case, `[a-z0-9][a-z0-9_-]{0,62}`; also a file name on every platform.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct DatabaseName(Arc<str>);

impl DatabaseName {
    /// Trims, lower-cases and checks a name as a client sends it.
    pub fn parse(raw: &str) -> Result<Self, Refusal> {
        let trimmed = raw.trim();
        let name: Cow<'_, str> = if trimmed.bytes().any(|b| b.is_ascii_uppercase()) {
            Cow::Owned(trimmed.to_ascii_lowercase())
        } else {
            Cow::Borrowed(trimmed)
        };
        if name.is_empty() {
            return Err(Refusal::invalid("database-required", "Database header is required."));
        }
        let first_fits = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let rest_fits = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-');
        if !first_fits || !rest_fits || name.len() > DATABASE_NAME_BYTES_MAX {
            return Err(Refusal::invalid(
                "invalid-database-name",
                "Database name contains invalid characters. Use lowercase letters, numbers, '-' or '_' only, \
                 starting with a letter or number, at most 63 of them.",
            ));
        }
        if is_device_name(&name) {
            return Err(Refusal::invalid(
                "invalid-database-name",
                format!("Database name '{name}' is a device name on Windows. Choose another."),
            ));
        }
        Ok(Self(Arc::from(&*name)))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DatabaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names that Windows keeps for devices, whatever their extension: `con.db` cannot be created there.
fn is_device_name(name: &str) -> bool {
    let numbered = |stem: &str| {
        name.strip_prefix(stem).is_some_and(|rest| rest.len() == 1 && rest.bytes().all(|b| b.is_ascii_digit()))
    };
    matches!(name, "con" | "prn" | "aux" | "nul") || numbered("com") || numbered("lpt")
}

/// Name of a collection of documents. Case counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CollectionName(Arc<str>);

impl CollectionName {
    /// Checks a name that a client may write to: reserved names are refused in any case.
    pub fn parse(raw: &str) -> Result<Self, Refusal> {
        let name = Self::parse_any(raw)?;
        if is_reserved(raw) {
            return Err(Refusal::Reserved { name: raw.to_owned() });
        }
        Ok(name)
    }

    /// Checks the name of a collection that peers exchange and compare as documents: those that clients write to, and
    /// the definitions of indexes.
    pub fn parse_replicated(raw: &str) -> Result<Self, Refusal> {
        if raw == INDEXES_COLLECTION { Self::parse_any(raw) } else { Self::parse(raw) }
    }

    /// Checks the form alone; for names that come from peers and from disk, where `cache` is one of them.
    pub fn parse_any(raw: &str) -> Result<Self, Refusal> {
        let refuse = |reason: &str| Err(Refusal::invalid("invalid-collection-name", reason));
        if raw.is_empty() {
            return refuse("Collection name is required.");
        }
        if raw.len() > COLLECTION_NAME_BYTES_MAX {
            return refuse("Collection name has more than 128 bytes.");
        }
        if raw.starts_with('$') {
            return Err(Refusal::Reserved { name: raw.to_owned() });
        }
        let fits = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
        if !raw.chars().all(fits) || raw.starts_with(['-', '.']) {
            return refuse(
                "Collection name contains invalid characters. Use letters, numbers, '_', '-' or '.', \
                 starting with a letter, number or '_'.",
            );
        }
        Ok(Self(raw.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the node keeps this collection for itself: it is reached by routes of its own.
    pub fn is_kept(&self) -> bool {
        is_reserved(&self.0)
    }

    /// Whether this is the cache's collection.
    pub fn is_cache(&self) -> bool {
        &*self.0 == CACHE_COLLECTION
    }
}

impl fmt::Display for CollectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a collection name belongs to the node itself, in any case.
fn is_reserved(name: &str) -> bool {
    name.eq_ignore_ascii_case(CACHE_COLLECTION)
        || name.get(..5).is_some_and(|head| head.eq_ignore_ascii_case("_sys_"))
        || name.starts_with('$')
        || SYSTEM_COLLECTIONS.iter().any(|system| name.eq_ignore_ascii_case(system))
}

/// Id of a document within its collection: any non-empty text up to 512 bytes. Case counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DocumentId(Arc<str>);

impl DocumentId {
    /// Checks an id.
    pub fn parse(raw: &str) -> Result<Self, Refusal> {
        if raw.is_empty() {
            return Err(Refusal::invalid("invalid-id", "Document id is required and cannot be empty."));
        }
        if raw.len() > DOCUMENT_ID_BYTES_MAX {
            return Err(Refusal::invalid(
                "invalid-id",
                format!("Document id has {} bytes, more than the limit of {DOCUMENT_ID_BYTES_MAX}.", raw.len()),
            ));
        }
        Ok(Self(raw.into()))
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Name that an operator gave a node: letters, digits, `.`, `_` and `-`, at most 64.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct NodeName(Arc<str>);

impl NodeName {
    /// Checks a name.
    pub fn parse(raw: &str) -> Result<Self, Refusal> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if raw.is_empty() || raw.len() > NODE_NAME_BYTES_MAX || !raw.bytes().all(fits) {
            return Err(Refusal::invalid(
                "invalid-node-id",
                "Node id must be 1 to 64 letters, digits, '.', '_' or '-'.",
            ));
        }
        Ok(Self(raw.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Id of an operation: a ULID, unique without coordination. As a document's version it is the ETag.
///
/// Written as 26 characters of Crockford's base 32.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(pub u128);

impl OperationId {
    /// An id from a wall-clock reading in milliseconds and random bits.
    pub fn new(millis: u64, random: u128) -> Self {
        Self(Ulid::from_parts(millis, random).0)
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Ulid(self.0), f)
    }
}

impl fmt::Debug for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for OperationId {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        Ulid::from_string(text)
            .map(|ulid| Self(ulid.0))
            .map_err(|_| Refusal::invalid("invalid-operation-id", "An operation id is a ULID of 26 characters."))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn database_names_are_normalised_and_safe_as_file_names() {
        assert_eq!(DatabaseName::parse("  TestApp ").unwrap().as_str(), "testapp");
        for bad in ["", " ", "-a", "_a", "a/b", "a.b", "ä", "con", "com1", &"a".repeat(64)] {
            assert!(DatabaseName::parse(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn reserved_collections_are_refused_in_any_case() {
        for bad in ["cache", "CACHE", "Cache", "_sys_x", "_SYS_operations", "$dump", "_Conflicts"] {
            assert!(matches!(CollectionName::parse(bad), Err(Refusal::Reserved { .. })), "{bad:?} was accepted");
            assert!(CollectionName::parse_replicated(bad).is_err(), "{bad:?} was taken from a peer");
        }
        // Definitions of indexes travel, and are written by no client.
        assert!(CollectionName::parse("_indexes").is_err() && CollectionName::parse_replicated("_indexes").is_ok());
        for good in ["orders", "Order-Lines", "2024", "_private", "Größe", "a.b"] {
            assert!(CollectionName::parse(good).is_ok(), "{good:?} was refused");
        }
    }

    #[test]
    fn an_operation_id_survives_its_text() {
        let id = OperationId::new(1_700_000_000_000, 42);
        assert_eq!(id.to_string().parse::<OperationId>().unwrap(), id);
    }
}
