//! The secret that nodes of one cluster show each other.

use crate::access::api_key::{KeyDigest, MAX_KEY_BYTES, StoredKey, UnusableKey};

/// The replication keys that this node accepts from others.
///
/// More than one can be accepted at a time, so that a cluster can change its key node by node without a
/// moment in which two nodes refuse each other. What this node *sends* is not kept here.
#[derive(Debug, Clone)]
pub struct ReplicationKey {
    accepted: Vec<StoredKey>,
}

impl ReplicationKey {
    /// Reads the accepted key, plain or as `sha256:<64 hex>`.
    pub fn parse(text: &str) -> Result<ReplicationKey, UnusableKey> {
        Ok(ReplicationKey { accepted: vec![StoredKey::parse(text)?] })
    }

    /// Accepts another key beside those accepted already.
    pub fn accepting_also(mut self, text: &str) -> Result<ReplicationKey, UnusableKey> {
        self.accepted.push(StoredKey::parse(text)?);
        Ok(self)
    }

    /// Says whether a presented key is accepted. Compares with every accepted key, in constant time.
    pub fn accepts(&self, presented: &str) -> bool {
        if presented.len() > MAX_KEY_BYTES {
            return false;
        }
        let digest = KeyDigest::of(presented);
        self.accepted
            .iter()
            .fold(subtle::Choice::from(0), |found, known| found | known.digest().same_as(&digest))
            .into()
    }

    /// Says whether trying could find an accepted key.
    pub fn is_guessable(&self) -> bool {
        self.accepted.iter().any(StoredKey::is_guessable)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn the_configured_key_is_accepted_and_nothing_else() {
        let key = ReplicationKey::parse("I_AM_ONE_OF_YOU").unwrap();
        assert!(key.accepts("I_AM_ONE_OF_YOU") && key.accepts(" I_AM_ONE_OF_YOU "));
        for presented in ["", "i_am_one_of_you", "I_AM_ONE_OF_YO", "I_AM_ONE_OF_YOU!"] {
            assert!(!key.accepts(presented), "{presented:?}");
        }
    }

    #[test]
    fn while_a_key_is_changed_the_old_and_the_new_one_are_both_accepted() {
        let hash = KeyDigest::of("new-key").to_text();
        let key = ReplicationKey::parse("old-key").unwrap().accepting_also(&hash).unwrap();
        assert!(key.accepts("old-key") && key.accepts("new-key") && !key.accepts(&hash));
    }

    #[test]
    fn a_blank_replication_key_is_refused_and_debug_hides_a_good_one() {
        assert_eq!(ReplicationKey::parse(" ").unwrap_err(), UnusableKey::Empty);
        assert!(!format!("{:?}", ReplicationKey::parse("secret").unwrap()).contains("secret"));
    }
}
