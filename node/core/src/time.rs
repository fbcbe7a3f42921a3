//! Time as a number that the caller passes in.

use std::fmt;
use std::ops::{Add, Sub};

/// Milliseconds: since the Unix epoch when it is a moment, plain when it is a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Millis(pub u64);

impl Millis {
    /// The time so long before this one; the epoch at the earliest.
    #[must_use]
    pub fn before(self, span: Self) -> Self {
        Self(self.0.saturating_sub(span.0))
    }

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

/// A moment by the calendar, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CivilTime {
    /// Year.
    pub year: u64,
    /// Month, from 1.
    pub month: u64,
    /// Day of the month, from 1.
    pub day: u64,
    /// Day of the week, from 0 for Thursday, on which the epoch began.
    pub weekday: u64,
    /// Hour.
    pub hour: u64,
    /// Minute.
    pub minute: u64,
    /// Second.
    pub second: u64,
    /// Millisecond.
    pub millis: u64,
}

impl Millis {
    /// The moment by the calendar.
    pub fn to_civil(self) -> CivilTime {
        let (days, in_day) = (self.0 / 86_400_000, self.0 % 86_400_000);
        let (year, month, day) = civil_from_days(days);
        CivilTime {
            year,
            month,
            day,
            weekday: days % 7,
            hour: in_day / 3_600_000,
            minute: in_day / 60_000 % 60,
            second: in_day / 1_000 % 60,
            millis: in_day % 1_000,
        }
    }

    /// The moment as people and JSON write it: `2026-07-30T10:00:00.123Z`.
    pub fn to_utc_text(self) -> String {
        let mut text = String::with_capacity(24);
        self.push_utc_text(&mut text);
        text
    }

    /// Appends the same.
    pub fn push_utc_text(self, text: &mut String) {
        let civil = self.to_civil();
        push_digits(text, civil.year, 4);
        for (separator, number, digits) in [
            ('-', civil.month, 2),
            ('-', civil.day, 2),
            ('T', civil.hour, 2),
            (':', civil.minute, 2),
            (':', civil.second, 2),
            ('.', civil.millis, 3),
        ] {
            text.push(separator);
            push_digits(text, number, digits);
        }
        text.push('Z');
    }
}

/// Appends a number with leading zeros. Every answer carries a date or two: the formatting machinery would
/// cost more than the read that is answered.
#[allow(clippy::cast_possible_truncation)] // One digit.
pub fn push_digits(text: &mut String, number: u64, digits: u32) {
    if number >= 10u64.saturating_pow(digits) {
        text.push_str(&number.to_string());
        return;
    }
    for place in (0..digits).rev() {
        let digit = number / 10u64.pow(place) % 10;
        text.push(char::from(b'0' + digit as u8));
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
