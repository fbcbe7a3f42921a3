//! Tokens: names of writes, as clients carry them from the node that took one to the node that they read next.
//!
//! ```text
//!   node-1@0123456789abcdef:17          the 17th operation of a node
//!   cache:node-1@0123456789abcdef:17    its 17th write to the cache, which is counted apart
//! ```
//!
//! What stays true: a token is given for what is on disk. A write that may still be lost has none, for after the loss
//! its number is given to another.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use holdfast_core::error::Refusal;
use holdfast_core::id::NodeName;
use holdfast_core::vector::{Dot, Position, Vector};
use holdfast_storage::error::StorageError;
use tokio::sync::watch;

use crate::databases::OpenDatabase;
use crate::sync::Sync;

/// What a token of a write to the cache begins with. No node's name can.
const OF_CACHE: &str = "cache:";

/// The write that a token names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// An operation of the log.
    Operation(Dot),
    /// A write to the cache.
    Cache(Dot),
}

impl Token {
    /// Who made the write, and as which of theirs.
    pub fn dot(&self) -> &Dot {
        match self {
            Self::Operation(dot) | Self::Cache(dot) => dot,
        }
    }

    /// What this node shows, counted as the token counts: the very look that readers get.
    pub fn known_here(&self, database: &OpenDatabase) -> Result<Vector, StorageError> {
        let view = database.view()?;
        match self {
            Self::Operation(_) => Ok(view.state()?.vector),
            Self::Cache(_) => Ok(view.cache_state()?.vector),
        }
    }

    /// What each peer is known to have, counted alike.
    pub fn known_to_peers(&self, sync: &Sync, database: &OpenDatabase) -> BTreeMap<NodeName, Vector> {
        match self {
            Self::Operation(_) => sync.peer_vectors(database.name()),
            Self::Cache(_) => sync.cache_vectors(database.name()),
        }
    }

    /// Changes whenever what [`Self::known_here`] tells may have changed.
    pub fn news(&self, database: &OpenDatabase) -> watch::Receiver<Position> {
        match self {
            Self::Operation(_) => database.newest(),
            Self::Cache(_) => database.shown_in_cache(),
        }
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operation(dot) => write!(f, "{dot}"),
            Self::Cache(dot) => write!(f, "{OF_CACHE}{dot}"),
        }
    }
}

impl FromStr for Token {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        match text.strip_prefix(OF_CACHE) {
            Some(dot) => dot.parse().map(Self::Cache),
            None => text.parse().map(Self::Operation),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_token_comes_back_as_it_was_given_and_nothing_else_is_one() {
        for text in ["n@00000000000000ff:17", "cache:n@00000000000000ff:17", "cache:cache@00000000000000ff:1"] {
            assert_eq!(text.parse::<Token>().unwrap().to_string(), text);
        }
        let (of_log, of_cache): (Token, Token) =
            ("n@00000000000000ff:17".parse().unwrap(), "cache:n@00000000000000ff:17".parse().unwrap());
        assert_ne!(of_log, of_cache, "what is counted apart is taken for the same");
        for text in [
            "cache:",
            "cache:n:17",
            "cache:cache:n@00000000000000ff:17",
            "Cache:n@00000000000000ff:17",
            "cache:n@00000000000000ff:0",
        ] {
            text.parse::<Token>().unwrap_err();
        }
    }
}
