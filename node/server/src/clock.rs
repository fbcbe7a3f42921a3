//! The only file that reads the operating system's clock.
//!
//! The layers below are told what time it is, so that a simulation can tell them something else.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Returns the wall clock's milliseconds since 1970.
///
/// It may jump in either direction when somebody sets the clock; use [`monotonic`] to measure. A
/// clock before 1970 reads as 0.
#[allow(clippy::disallowed_methods)]
pub fn now_millis() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

/// Returns a reading that never goes back, for measuring how long something takes.
pub fn monotonic() -> Instant {
    Instant::now()
}

/// Returns the nanoseconds since one of these was first asked: [`monotonic`] as a number.
pub fn monotonic_nanos() -> u64 {
    u64::try_from(since_first().as_nanos()).unwrap_or(u64::MAX)
}

/// Returns the milliseconds since one of these was first asked: [`monotonic`] as a number.
pub fn monotonic_millis() -> u64 {
    u64::try_from(since_first().as_millis()).unwrap_or(u64::MAX)
}

fn since_first() -> Duration {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    monotonic().saturating_duration_since(*FIRST.get_or_init(monotonic))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_clock_reads_a_plausible_time() {
        let year_2020 = 1_577_836_800_000;
        let year_2200 = 7_258_118_400_000;
        assert!((year_2020..year_2200).contains(&super::now_millis()));
        assert!(super::monotonic() <= super::monotonic());
    }
}
