//! Time as a number that the caller passes in.

use std::fmt;
use std::ops::{Add, Sub};

/// Milliseconds: since the Unix epoch when it is a moment, plain when it is a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Millis(pub u64);

impl Millis {
    /// The distance to an earlier moment; zero when that moment is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }
}

impl Add for Millis {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Millis {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self.since(other)
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

impl Millis {
    /// The moment as people and JSON write it: `2026-07-30T10:00:00.123Z`.
    pub fn to_utc_text(self) -> String {
        let (days, in_day) = (self.0 / 86_400_000, self.0 % 86_400_000);
        let (year, month, day) = civil_from_days(days);
        let (hour, minute, second, millis) =
            (in_day / 3_600_000, in_day / 60_000 % 60, in_day / 1_000 % 60, in_day % 1_000);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
    }
}

/// Year, month and day of a day counted from the Unix epoch. After Howard Hinnant, *chrono-Compatible
/// Low-Level Date Algorithms*: years begin in March, so that the leap day comes last.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::Millis;

    #[test]
    fn moments_are_written_as_the_calendar_has_them() {
        assert_eq!(Millis(0).to_utc_text(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Millis(951_782_400_000).to_utc_text(), "2000-02-29T00:00:00.000Z");
        assert_eq!(Millis(1_700_000_000_123).to_utc_text(), "2023-11-14T22:13:20.123Z");
        assert_eq!(Millis(4_107_542_399_999).to_utc_text(), "2100-02-28T23:59:59.999Z");
    }
}
