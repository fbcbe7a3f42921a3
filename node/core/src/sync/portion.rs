//! How much of a peer's states is asked for at once.
//!
//! ```text
//!   a page came soon ─► the next is twice as large        a page took long ─► the next is half as large
//! ```
//!
//! Must stay true: what a cut costs is about what the line carries in a moment, for a page is what is kept whole or not at
//! all; and while a page is on the line, nothing behind it waits long, a leader's heartbeats least of all.

use crate::limits::{EXCHANGE_BYTES_TARGET, STATES_BYTES_FIRST, STATES_BYTES_MIN};
use crate::time::Millis;

/// A page that comes within this leaves room for a larger one.
const SOON: Millis = Millis(250);
/// A page that takes this was too large for its line.
const LATE: Millis = Millis(1_000);

/// Bytes of states that are asked for at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Portion {
    bytes: usize,
}

impl Default for Portion {
    fn default() -> Self {
        Self { bytes: STATES_BYTES_FIRST }
    }
}

impl Portion {
    /// How many they are now.
    pub fn bytes(self) -> usize {
        self.bytes
    }

    /// A page of this size has come, and took so long from the question on.
    pub fn came(&mut self, took: Millis) {
        if took <= SOON {
            self.bytes = (self.bytes * 2).min(EXCHANGE_BYTES_TARGET);
        } else if took >= LATE {
            self.bytes = (self.bytes / 2).max(STATES_BYTES_MIN);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks for so many pages over a line that carries so many bytes a second, and gives the size of the last.
    fn over(bytes_per_second: u64, pages: usize) -> usize {
        let mut portion = Portion::default();
        for _ in 0..pages {
            portion.came(Millis(portion.bytes() as u64 * 1_000 / bytes_per_second));
        }
        portion.bytes()
    }

    #[test]
    fn a_page_is_as_large_as_its_line_carries_in_a_moment() {
        assert_eq!(over(1_000_000_000, 10), EXCHANGE_BYTES_TARGET);
        assert_eq!(over(1_500_000, 10), 512 * 1024);
        assert_eq!(over(200_000, 10), 128 * 1024);
        assert_eq!(over(10_000, 10), STATES_BYTES_MIN);
    }

    #[test]
    fn a_line_that_grows_slow_is_asked_for_less_again() {
        let mut portion = Portion { bytes: EXCHANGE_BYTES_TARGET };
        for _ in 0..3 {
            portion.came(LATE);
        }
        assert_eq!(portion.bytes(), EXCHANGE_BYTES_TARGET / 8);
        portion.came(Millis(600));
        assert_eq!(portion.bytes(), EXCHANGE_BYTES_TARGET / 8, "neither soon nor late");
    }
}
