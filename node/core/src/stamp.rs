//! Hybrid logical clocks: wall time as far as it can be trusted, a counter where it stands still.
//!
//! After Kulkarni et al., *Logical Physical Clocks* (2014), with a guard: a reading too far ahead of our own
//! wall clock is remembered by whoever wrote it but never drags our clock along. A later write on this
//! node then has a smaller stamp than the one it saw, and still wins, because causality decides first and
//! stamps only order what is concurrent.

use std::fmt;

use crate::time::Millis;

/// A reading: 48 bits of milliseconds since the Unix epoch, then a 16 bit counter. Ordered as a number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Stamp(pub u64);

const COUNTER_BITS: u32 = 16;
const MILLIS_MAX: u64 = (1 << 48) - 1;

impl Stamp {
    /// A reading from its parts; milliseconds beyond 48 bits are cut to the greatest.
    pub fn new(millis: Millis, counter: u16) -> Self {
        Self((millis.0.min(MILLIS_MAX) << COUNTER_BITS) | u64::from(counter))
    }

    /// The wall-clock part.
    pub fn millis(self) -> Millis {
        Millis(self.0 >> COUNTER_BITS)
    }

    /// The counter part.
    pub fn counter(self) -> u16 {
        (self.0 & 0xffff) as u16
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:04x}", self.millis().0, self.counter())
    }
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Issues stamps that never go back, whatever the wall clock does.
#[derive(Debug, Clone)]
pub struct HybridClock {
    latest: Stamp,
    skew_max: Millis,
}

impl HybridClock {
    /// A clock that continues after `latest` and follows others at most `skew_max` ahead of the wall clock.
    pub fn new(latest: Stamp, skew_max: Millis) -> Self {
        Self { latest, skew_max }
    }

    /// The next stamp of this node.
    pub fn tick(&mut self, now: Millis) -> Stamp {
        let wall = Stamp::new(now, 0);
        // A full counter carries into the milliseconds: the number simply grows by one.
        self.latest = if wall > self.latest { wall } else { Stamp(self.latest.0.saturating_add(1)) };
        self.latest
    }

    /// Learns of a stamp from elsewhere. Returns whether it was too far ahead to be followed.
    pub fn observe(&mut self, now: Millis, seen: Stamp) -> bool {
        let suspect = seen.millis() > now + self.skew_max;
        if !suspect {
            self.latest = self.latest.max(seen);
        }
        suspect
    }

    /// The latest stamp issued or followed.
    pub fn latest(&self) -> Stamp {
        self.latest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_grow_while_the_wall_clock_stands_still_or_goes_back() {
        let mut clock = HybridClock::new(Stamp::default(), Millis(1_000));
        let first = clock.tick(Millis(50));
        let second = clock.tick(Millis(50));
        let third = clock.tick(Millis(10));
        assert!(first < second && second < third);
    }

    #[test]
    fn a_stamp_from_the_far_future_does_not_drag_the_clock_along() {
        let mut clock = HybridClock::new(Stamp::default(), Millis(1_000));
        assert!(!clock.observe(Millis(100), Stamp::new(Millis(900), 0)));
        assert!(clock.tick(Millis(100)) > Stamp::new(Millis(900), 0));
        assert!(clock.observe(Millis(100), Stamp::new(Millis(9_000), 0)));
        assert!(clock.tick(Millis(200)).millis() < Millis(1_000));
    }

    #[test]
    fn a_full_counter_carries_into_the_milliseconds() {
        let mut clock = HybridClock::new(Stamp::new(Millis(5), u16::MAX), Millis(1_000));
        assert_eq!(clock.tick(Millis(5)), Stamp::new(Millis(6), 0));
    }
}
