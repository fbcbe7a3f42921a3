//! Dates: text as ISO 8601 writes it, and arithmetic by the calendar.
//!
//! ```text
//!   2026-07-30      2026-07-30T10:00      2026-07-30 10:00:00.123456+02:00      2026-07-30T10:00:00Z
//! ```
//!
//! A date without an offset is one in UTC. What is computed of a date is computed in UTC: the year of
//! `2026-01-01T00:30:00+02:00` is 2025. Fractions of a second count to the millisecond.
//!
//! **What stays true.** A day stays a day: the month after `2026-01-31` is `2026-02-28`, without a time of day.
//!
//! **What it does not do.** No time zones but offsets, no leap seconds, no years before 0 or after 9999.

/// Milliseconds of a day.
const DAY: i64 = 86_400_000;

/// A moment, or a whole day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    /// Milliseconds from the beginning of 1970, in UTC.
    pub(super) millis: i64,
    /// Whether it has no time of day.
    pub(super) is_day: bool,
}

/// By the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Civil {
    pub(super) year: i64,
    pub(super) month: i64,
    pub(super) day: i64,
    pub(super) hour: i64,
    pub(super) minute: i64,
    pub(super) second: i64,
    pub(super) millisecond: i64,
}

/// A unit of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Unit {
    Millisecond,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

impl Unit {
    /// Reads a unit: a word in any case, or the letter that a pattern has for it (`M` is the month, `m` the minute).
    pub(super) fn parse(text: &str) -> Option<Self> {
        let unit = match text {
            "M" => Self::Month,
            "m" => Self::Minute,
            _ => match text.to_ascii_lowercase().trim_end_matches('s') {
                "y" | "yy" | "yyyy" | "year" => Self::Year,
                "q" | "qq" | "quarter" => Self::Quarter,
                "mm" | "month" => Self::Month,
                "w" | "wk" | "ww" | "week" => Self::Week,
                "d" | "dd" | "day" => Self::Day,
                "h" | "hh" | "hour" => Self::Hour,
                "mi" | "n" | "minute" => Self::Minute,
                "" if text.eq_ignore_ascii_case("s") || text.eq_ignore_ascii_case("ss") => Self::Second,
                "second" => Self::Second,
                "m" if text.eq_ignore_ascii_case("ms") => Self::Millisecond,
                "fff" | "millisecond" => Self::Millisecond,
                _ => return None,
            },
        };
        Some(unit)
    }

    /// Its length, where it always has the same.
    fn millis(self) -> Option<i64> {
        match self {
            Self::Millisecond => Some(1),
            Self::Second => Some(1_000),
            Self::Minute => Some(60_000),
            Self::Hour => Some(3_600_000),
            Self::Day => Some(DAY),
            Self::Week => Some(7 * DAY),
            Self::Month | Self::Quarter | Self::Year => None,
        }
    }

    fn months(self) -> i64 {
        match self {
            Self::Year => 12,
            Self::Quarter => 3,
            _ => 1,
        }
    }
}

impl Moment {
    /// Reads a date; `None` where the text is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (date, time) = match text.split_at_checked(10)? {
            (date, "") => (date, None),
            (date, time) => (date, Some(time.strip_prefix(['T', 't', ' '])?)),
        };
        let (year, rest) = date.split_at_checked(4)?;
        let (month, day) = (rest.get(1..3)?, rest.get(4..6)?);
        if rest.as_bytes().first() != Some(&b'-') || rest.as_bytes().get(3) != Some(&b'-') {
            return None;
        }
        let (year, month, day) = (number(year)?, number(month)?, number(day)?);
        if !(1..=12).contains(&month) || !(1..=days_in(year, month)).contains(&day) {
            return None;
        }
        let midnight = days_from_civil(year, month, day) * DAY;
        match time {
            None => Some(Self { millis: midnight, is_day: true }),
            Some(time) => Self { millis: midnight + time_of_day(time)?, is_day: false }.in_range(),
        }
    }

    /// The moment, if it lies in a year from 0 to 9999.
    fn in_range(self) -> Option<Self> {
        let year = self.civil().year;
        (0..=9_999).contains(&year).then_some(self)
    }

    /// By the calendar.
    pub(super) fn civil(self) -> Civil {
        let (days, in_day) = (self.millis.div_euclid(DAY), self.millis.rem_euclid(DAY));
        let (year, month, day) = civil_from_days(days);
        Civil {
            year,
            month,
            day,
            hour: in_day / 3_600_000,
            minute: in_day / 60_000 % 60,
            second: in_day / 1_000 % 60,
            millisecond: in_day % 1_000,
        }
    }

    /// The day of the week, from 1 for Monday.
    pub(super) fn weekday(self) -> i64 {
        // 1970 began on a Thursday.
        (self.millis.div_euclid(DAY) + 3).rem_euclid(7) + 1
    }

    /// The day alone.
    pub(super) fn day(self) -> Self {
        Self { millis: self.millis - self.millis.rem_euclid(DAY), is_day: true }
    }

    /// As text: a day as a day, a moment in UTC, with milliseconds where it has some.
    pub(super) fn to_text(self) -> String {
        let Civil { year, month, day, hour, minute, second, millisecond } = self.civil();
        if self.is_day {
            return format!("{year:04}-{month:02}-{day:02}");
        }
        let fraction = if millisecond > 0 { format!(".{millisecond:03}") } else { String::new() };
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
    }

    /// The beginning of the unit that it lies in. Weeks begin on Monday.
    pub(super) fn truncated(self, unit: Unit) -> Self {
        let Civil { year, month, .. } = self.civil();
        let midnight = self.millis.div_euclid(DAY);
        let millis = match unit {
            Unit::Year => days_from_civil(year, 1, 1) * DAY,
            Unit::Quarter => days_from_civil(year, (month - 1) / 3 * 3 + 1, 1) * DAY,
            Unit::Month => days_from_civil(year, month, 1) * DAY,
            Unit::Week => (midnight - (self.weekday() - 1)) * DAY,
            _ => {
                let length = unit.millis().unwrap_or(1);
                self.millis - self.millis.rem_euclid(length)
            }
        };
        Self { millis, ..self }
    }

    /// A later moment, or an earlier one; the last day of a month where the month has no such day. `None` where no
    /// year is left.
    pub(super) fn plus(self, count: i64, unit: Unit) -> Option<Self> {
        if let Some(length) = unit.millis() {
            let millis = self.millis.checked_add(count.checked_mul(length)?)?;
            return Self { millis, is_day: self.is_day && unit >= Unit::Day }.in_range();
        }
        let Civil { year, month, day, .. } = self.civil();
        let months = (year * 12 + month - 1).checked_add(count.checked_mul(unit.months())?)?;
        let (year, month) = (months.div_euclid(12), months.rem_euclid(12) + 1);
        if !(0..=9_999).contains(&year) {
            return None;
        }
        let day = day.min(days_in(year, month));
        Some(Self { millis: days_from_civil(year, month, day) * DAY + self.millis.rem_euclid(DAY), ..self })
    }

    /// Whole units from this moment to another; negative where that is earlier.
    pub(super) fn until(self, other: Self, unit: Unit) -> i64 {
        if let Some(length) = unit.millis() {
            return (other.millis - self.millis) / length;
        }
        let (from, to) = (self.civil(), other.civil());
        let months = (to.year * 12 + to.month) - (from.year * 12 + from.month);
        let within = |moment: Self, civil: Civil| (civil.day, moment.millis.rem_euclid(DAY));
        let (from_within, to_within) = (within(self, from), within(other, to));
        let whole = match months {
            months if months > 0 && to_within < from_within => months - 1,
            months if months < 0 && to_within > from_within => months + 1,
            months => months,
        };
        whole / unit.months()
    }

    /// As a pattern says: `yyyy yy MMMM MMM MM M dddd ddd dd d HH H hh h mm m ss s fff tt`; text in quotes, and
    /// every other character, stands for itself.
    pub(super) fn format(self, pattern: &str) -> String {
        let civil = self.civil();
        let mut text = String::new();
        let mut rest = pattern;
        while let Some(first) = rest.chars().next() {
            if matches!(first, '\'' | '"') {
                let inner = rest.get(1..).unwrap_or_default();
                let (literal, after) = inner.split_once(first).unwrap_or((inner, ""));
                text.push_str(literal);
                rest = after;
                continue;
            }
            let end = rest.find(|character| character != first).unwrap_or(rest.len());
            let (run, after) = rest.split_at(end);
            text.push_str(&self.formatted(run, &civil).unwrap_or_else(|| run.to_owned()));
            rest = after;
        }
        text
    }

    fn formatted(self, run: &str, civil: &Civil) -> Option<String> {
        const MONTHS: [&str; 12] = [
            "January",
            "February",
            "March",
            "April",
            "May",
            "June",
            "July",
            "August",
            "September",
            "October",
            "November",
            "December",
        ];
        const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
        let name = |names: &[&str], number: i64, length: usize| {
            let name = names.get(usize::try_from(number - 1).ok()?)?;
            Some(name.get(..length.min(name.len())).unwrap_or_default().to_owned())
        };
        let half_day = if civil.hour % 12 == 0 { 12 } else { civil.hour % 12 };
        let text = match run {
            "yyyy" => format!("{:04}", civil.year),
            "yy" => format!("{:02}", civil.year % 100),
            "MMMM" => name(&MONTHS, civil.month, usize::MAX)?,
            "MMM" => name(&MONTHS, civil.month, 3)?,
            "MM" => format!("{:02}", civil.month),
            "M" => civil.month.to_string(),
            "dddd" => name(&DAYS, self.weekday(), usize::MAX)?,
            "ddd" => name(&DAYS, self.weekday(), 3)?,
            "dd" => format!("{:02}", civil.day),
            "d" => civil.day.to_string(),
            "HH" => format!("{:02}", civil.hour),
            "H" => civil.hour.to_string(),
            "hh" => format!("{half_day:02}"),
            "h" => half_day.to_string(),
            "mm" => format!("{:02}", civil.minute),
            "m" => civil.minute.to_string(),
            "ss" => format!("{:02}", civil.second),
            "s" => civil.second.to_string(),
            "fff" => format!("{:03}", civil.millisecond),
            "tt" => (if civil.hour < 12 { "AM" } else { "PM" }).to_owned(),
            _ => return None,
        };
        Some(text)
    }
}

fn number(digits: &str) -> Option<i64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}

/// `10:00`, `10:00:00`, `10:00:00.123`, and an offset, as milliseconds from midnight in UTC.
fn time_of_day(text: &str) -> Option<i64> {
    let at = text.find(['Z', 'z', '+', '-']).unwrap_or(text.len());
    let (clock, offset) = text.split_at_checked(at)?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let fraction_digits = fraction.bytes().all(|digit| digit.is_ascii_digit());
    if fraction.is_empty() || !fraction_digits || fraction.len() > 20 {
        return None;
    }
    let millis = fraction.bytes().chain(*b"00").take(3).fold(0, |millis, digit| millis * 10 + i64::from(digit - b'0'));
    let (hour, minute, second) = match clock.len() {
        5 => (clock.get(..2)?, clock.strip_prefix(clock.get(..2)?)?.strip_prefix(':')?, "0"),
        8 => {
            let (hour, rest) = clock.split_once(':')?;
            let (minute, second) = rest.split_once(':')?;
            (hour, minute, second)
        }
        _ => return None,
    };
    let (hour, minute, second) = (number(hour)?, number(minute)?, number(second)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some(hour * 3_600_000 + minute * 60_000 + second * 1_000 + millis - offset_millis(offset)?)
}

fn offset_millis(offset: &str) -> Option<i64> {
    let (sign, clock) = match offset.split_at_checked(1) {
        None | Some(("Z" | "z", "")) => return Some(0),
        Some(("+", clock)) => (1, clock),
        Some(("-", clock)) => (-1, clock),
        Some(_) => return None,
    };
    let digits = clock.replacen(':', "", 1);
    let (hours, minutes) = match digits.len() {
        2 => (number(&digits)?, 0),
        4 => (number(digits.get(..2)?)?, number(digits.get(2..)?)?),
        _ => return None,
    };
    (hours <= 18 && minutes <= 59).then_some(sign * (hours * 60 + minutes) * 60_000)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from the beginning of 1970. After Howard Hinnant, *chrono-Compatible Low-Level Date Algorithms*.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The reverse, from the same source.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::proptest;

    use super::*;

    fn moment(text: &str) -> Moment {
        Moment::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn dates_are_read_as_iso_8601_writes_them() {
        for (text, written) in [
            ("2026-07-30", "2026-07-30"),
            ("2026-07-30T10:00", "2026-07-30T10:00:00Z"),
            ("2026-07-30 10:00:05", "2026-07-30T10:00:05Z"),
            ("2026-07-30T10:00:05.1234567Z", "2026-07-30T10:00:05.123Z"),
            ("2026-01-01T00:30:00+02:00", "2025-12-31T22:30:00Z"),
            ("2026-01-01T00:30-0130", "2026-01-01T02:00:00Z"),
            ("0000-01-01", "0000-01-01"),
            ("2024-02-29", "2024-02-29"),
        ] {
            assert_eq!(moment(text).to_text(), written);
        }
        for text in [
            "",
            "2026",
            "2026-7-30",
            "2026-13-01",
            "2025-02-29",
            "2026-07-30T",
            "2026-07-30T25:00",
            "2026-07-30x",
            "2026-07-30T10:00:00.Z",
            "2026-07-30T10:00:00+",
            "2026-07-30T1:00",
            "0000-01-01T00:00+01:00",
            "äääää",
            "2026-07-30T10:00:00+19:00",
            "2026/07/30",
        ] {
            assert!(Moment::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn the_calendar_is_kept() {
        let plus = |text: &str, count, unit| moment(text).plus(count, Unit::parse(unit).unwrap()).map(Moment::to_text);
        assert_eq!(plus("2026-01-31", 1, "month").as_deref(), Some("2026-02-28"));
        assert_eq!(plus("2024-02-29", -1, "year").as_deref(), Some("2023-02-28"));
        assert_eq!(plus("2026-01-31", 1, "hour").as_deref(), Some("2026-01-31T01:00:00Z"));
        assert_eq!(plus("2026-12-31T23:59:59Z", 1, "s").as_deref(), Some("2027-01-01T00:00:00Z"));
        assert_eq!(plus("2026-12-31", i64::MAX, "ms"), None);
        assert_eq!(plus("2026-12-31", i64::MAX, "year"), None);
        assert_eq!(plus("9999-12-31", 1, "day"), None);
        let until = |from: &str, to: &str, unit| moment(from).until(moment(to), Unit::parse(unit).unwrap());
        assert_eq!(until("2026-01-31", "2026-02-28", "month"), 0);
        assert_eq!(until("2026-01-31", "2026-03-31", "month"), 2);
        assert_eq!(until("2026-03-31", "2026-01-31", "M"), -2);
        assert_eq!(until("2025-07-30", "2026-07-29", "year"), 0);
        assert_eq!(until("2026-07-30", "2026-07-31T12:00", "day"), 1);
        assert_eq!(until("2026-07-30", "2026-07-30T12:30", "m"), 750);
        let begin = |text: &str, unit| moment(text).truncated(Unit::parse(unit).unwrap()).to_text();
        assert_eq!(begin("2026-08-30", "quarter"), "2026-07-01");
        assert_eq!(begin("2026-11-22", "week"), "2026-11-16");
        assert_eq!(begin("2026-11-22T10:59:59.9Z", "hour"), "2026-11-22T10:00:00Z");
    }

    #[test]
    fn patterns_are_filled_in() {
        let moment = moment("2026-03-05T15:04:09.007Z");
        assert_eq!(moment.format("yyyy-MM-dd HH:mm:ss.fff"), "2026-03-05 15:04:09.007");
        assert_eq!(moment.format("dddd, d MMMM yy 'at' h:mm tt"), "Thursday, 5 March 26 at 3:04 PM");
        assert_eq!(moment.format("ä'open"), "äopen");
    }

    proptest! {
        #[test]
        fn every_day_has_one_name(days in -719_528_i64..2_932_896) {
            let moment = Moment { millis: days * DAY, is_day: true };
            assert_eq!(Moment::parse(&moment.to_text()), Some(moment));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}", pattern in ".{0,20}") {
            if let Some(moment) = Moment::parse(&text) {
                moment.format(&pattern);
            }
            Moment::parse("2026-03-05").unwrap().format(&pattern);
        }
    }
}
