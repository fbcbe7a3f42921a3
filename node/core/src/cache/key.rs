//! Names of cache entries.

use std::fmt;
use std::sync::Arc;

use crate::error::Refusal;
use crate::limits::{CACHE_KEY_BYTES_MAX, CACHE_KEY_CHARS_MAX};

/// The name of a cache entry: 1 to 256 characters, none of them a control character, no white space around. Case counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CacheKey(Arc<str>);

impl CacheKey {
    /// Trims and checks a key as a client sends it.
    pub fn parse(raw: &str) -> Result<Self, Refusal> {
        let key = raw.trim();
        if key.is_empty() {
            return Err(Refusal::invalid("cache-key-required", "Cache key is required."));
        }
        if key.len() > CACHE_KEY_BYTES_MAX || key.chars().count() > CACHE_KEY_CHARS_MAX {
            return Err(Refusal::invalid("cache-key-too-long", "Cache key cannot exceed 256 characters."));
        }
        // In the white space around it too: what is trimmed must not hide what is refused.
        if raw.chars().any(char::is_control) {
            return Err(Refusal::invalid("invalid-cache-key", "Cache key cannot contain control characters."));
        }
        Ok(Self(key.into()))
    }

    /// The key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who has an entry. The same key names two entries, one in each scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum CacheScope {
    /// Every node.
    #[default]
    Shared,
    /// This node alone: it never leaves it.
    Local,
}
