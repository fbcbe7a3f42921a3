//! Peers whose clock is further from ours than `Node:MaxClockSkewSeconds` allows: said when it begins and when it ends.
//!
//! Must stay true: what is written stays right whatever the clocks say; they only rank writes that did not know of each
//! other. A clock at the bound does not make the log fill: it has to come well within it before all is called well.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use holdfast_core::id::NodeName;

/// The clocks of all peers against ours.
#[derive(Debug)]
pub struct Skews {
    max_millis: u64,
    /// Those that are too far off, and by how much they last were.
    far_off: Mutex<BTreeMap<NodeName, i64>>,
}

/// A change that is worth a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    Apart,
    Together,
}

impl Skews {
    /// Nothing is known of anybody.
    pub fn new(max: Duration) -> Self {
        let max_millis = u64::try_from(max.as_millis()).unwrap_or(u64::MAX);
        Self { max_millis, far_off: Mutex::default() }
    }

    /// Notes a peer's clock less ours, in milliseconds, and logs what has changed.
    pub fn note(&self, peer: &NodeName, skew_millis: i64) {
        match self.judge(peer, skew_millis) {
            Some(News::Apart) => tracing::warn!(%peer, "{}", self.sentence(peer, skew_millis)),
            Some(News::Together) => tracing::info!(%peer, "the clocks of this node and {peer} agree again"),
            None => {}
        }
    }

    /// What to do about a peer's clock, if it is too far from ours.
    pub fn reason(&self, peer: &NodeName) -> Option<String> {
        let skew = self.far_off.lock().unwrap_or_else(PoisonError::into_inner).get(peer).copied()?;
        Some(self.sentence(peer, skew))
    }

    fn judge(&self, peer: &NodeName, skew_millis: i64) -> Option<News> {
        let mut far_off = self.far_off.lock().unwrap_or_else(PoisonError::into_inner);
        let was_far = far_off.contains_key(peer);
        let bound = if was_far { self.max_millis / 10 * 9 } else { self.max_millis };
        if skew_millis.unsigned_abs() > bound {
            far_off.insert(peer.clone(), skew_millis);
            return (!was_far).then_some(News::Apart);
        }
        far_off.remove(peer).map(|_| News::Together)
    }

    fn sentence(&self, peer: &NodeName, skew_millis: i64) -> String {
        let way = if skew_millis < 0 { "behind" } else { "ahead of" };
        format!(
            "the clock of {peer} is {} s {way} this node's, and Node:MaxClockSkewSeconds is {}: set the one that is \
             wrong. Until then the later of two concurrent writes can be the wrong one",
            skew_millis.unsigned_abs() / 1_000,
            self.max_millis / 1_000
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_clock_that_is_far_off_is_said_once_and_again_when_it_is_well_within_the_bound() {
        let (skews, peer) = (Skews::new(Duration::from_secs(60)), NodeName::parse("b").unwrap());
        assert_eq!(skews.judge(&peer, 60_000), None);
        assert_eq!(skews.reason(&peer), None);
        assert_eq!(skews.judge(&peer, -60_001), Some(News::Apart));
        assert_eq!(skews.judge(&peer, -59_000), None, "at the bound nothing is said again");
        assert!(skews.reason(&peer).unwrap().contains("is 59 s behind this node's"));
        assert_eq!(skews.judge(&peer, 1_000), Some(News::Together));
        assert_eq!((skews.judge(&peer, 0), skews.reason(&peer)), (None, None));
    }
}
