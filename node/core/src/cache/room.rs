//! How much room a cache takes, and when it counts as full.
//!
//! ```text
//!   room ──► a write found none, or peers brought more than fits ──► full
//!    ▲                                                                │
//!    └────────── what was refused would fit, with some to spare ◄─────┘
//! ```
//!
//! Must stay true: what leaves the cache as large as it is, or smaller, is never refused; a cache at its limit does not
//! turn with every write.

use crate::cache::CacheRefusal;

/// Of the limit, the part that must be free before a full cache counts as having room again.
const TO_SPARE: u64 = 32;

/// Whether the cache of a database is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheRoom {
    /// The least that was refused since there was room: zero when peers brought more than fits, `None` while there is
    /// room.
    wanted: Option<u64>,
}

impl CacheRoom {
    /// Whether a cache of so many bytes may grow by so many more.
    pub fn find(&mut self, bytes: u64, growth: u64, limit: u64) -> Result<(), CacheRefusal> {
        if growth == 0 || bytes.saturating_add(growth) <= limit {
            return Ok(());
        }
        // What would not fit into an empty one says nothing about how full it is.
        if growth <= limit {
            self.wanted = Some(self.wanted.map_or(growth, |wanted| wanted.min(growth)));
        }
        Err(CacheRefusal::Full { bytes, limit })
    }

    /// Whether a cache of so many bytes is full now.
    pub fn is_full(&mut self, bytes: u64, limit: u64) -> bool {
        match self.wanted {
            None if bytes > limit => self.wanted = Some(0),
            Some(wanted) if bytes <= (limit - limit / TO_SPARE).saturating_sub(wanted) => self.wanted = None,
            _ => {}
        }
        self.wanted.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_grow_finds_room_however_full_it_is() {
        let mut room = CacheRoom::default();
        assert_eq!(room.find(5_000, 0, 3_200), Ok(()));
        assert_eq!(room.find(3_000, 200, 3_200), Ok(()));
        assert_eq!(room.find(3_000, 201, 3_200), Err(CacheRefusal::Full { bytes: 3_000, limit: 3_200 }));
    }

    #[test]
    fn it_is_full_until_what_was_refused_would_fit_with_some_to_spare() {
        let mut room = CacheRoom::default();
        assert!(!room.is_full(3_200, 3_200), "nothing was refused yet");
        assert!(room.find(3_000, 1_000, 3_200).is_err() && room.is_full(3_000, 3_200));
        assert!(room.find(3_000, 500, 3_200).is_err());
        assert!(room.is_full(2_700, 3_200), "there is room, and nothing to spare");
        assert!(!room.is_full(2_600, 3_200));
        // More than fits at all turns nothing.
        assert!(room.find(0, 3_201, 3_200).is_err() && !room.is_full(0, 3_200));
    }

    #[test]
    fn what_peers_bring_fills_it_and_it_does_not_turn_at_the_limit() {
        let mut room = CacheRoom::default();
        assert!(room.is_full(3_201, 3_200));
        assert!(room.is_full(3_199, 3_200) && room.is_full(3_101, 3_200));
        assert!(!room.is_full(3_100, 3_200) && !room.is_full(3_200, 3_200));
    }
}
