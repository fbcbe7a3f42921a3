//! How long an entry lives, as people write it: `500ms`, `30s`, `5m`, `2h`, `1d`, or a plain number of seconds.

use thiserror::Error;

use crate::limits::CACHE_TTL_MILLIS_MAX;
use crate::time::Millis;

/// Units by their suffix, the longer suffix of two that end alike first.
const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
/// Digits before and after the point that a ttl may have: beyond, it is too long anyway, or finer than a millisecond.
const DIGITS_MAX: usize = 18;

/// Why a text is no time to live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TtlError {
    /// It is not written as one.
    #[error("Invalid ttl format. Use values like '30s', '5m', '2h', or '1d'.")]
    Malformed,
    /// An entry would end at once.
    #[error("ttl must be greater than zero.")]
    Zero,
    /// An entry would live for too long.
    #[error("ttl cannot exceed {CACHE_TTL_MILLIS_MAX}ms.")]
    TooLong,
}

impl TtlError {
    /// The stable word for programs.
    pub fn code(self) -> &'static str {
        match self {
            Self::Malformed => "invalid-ttl",
            Self::Zero => "ttl-not-positive",
            Self::TooLong => "ttl-too-long",
        }
    }
}

/// Reads a time to live. A fraction is rounded up to the next millisecond.
pub fn parse_ttl(text: &str) -> Result<Millis, TtlError> {
    let text = text.trim();
    let (number, unit) = UNITS
        .iter()
        .find_map(|(suffix, unit)| {
            let at = text.len().checked_sub(suffix.len())?;
            let (number, end) = text.split_at_checked(at)?;
            end.eq_ignore_ascii_case(suffix).then_some((number.trim_end(), *unit))
        })
        .unwrap_or((text, 1_000));
    let (is_negative, digits) = match number.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !is_number(whole) || !is_number(fraction) {
        return Err(TtlError::Malformed);
    }
    let whole = whole.trim_start_matches('0');
    if whole.len() > DIGITS_MAX {
        return Err(if is_negative { TtlError::Zero } else { TtlError::TooLong });
    }
    let millis = u128::from(whole.parse::<u64>().unwrap_or(0)) * u128::from(unit) + part_of(fraction, unit);
    if is_negative || millis == 0 {
        return Err(TtlError::Zero);
    }
    if millis > u128::from(CACHE_TTL_MILLIS_MAX) {
        return Err(TtlError::TooLong);
    }
    u64::try_from(millis).map(Millis).map_err(|_| TtlError::TooLong)
}

/// The milliseconds of the digits after the point, rounded up.
fn part_of(fraction: &str, unit: u64) -> u128 {
    let digits = fraction.trim_end_matches('0');
    let kept = digits.get(..DIGITS_MAX.min(digits.len())).unwrap_or_default();
    let scale = 10u128.pow(u32::try_from(kept.len()).unwrap_or(0));
    (kept.parse::<u128>().unwrap_or(0) * u128::from(unit)).div_ceil(scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_number_is_seconds_and_every_unit_is_what_it_says() {
        for (text, millis) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("30", 30_000),
            ("60", 60_000),
            ("5m", 300_000),
            ("2h", 7_200_000),
            ("1d", 86_400_000),
            ("30d", 2_592_000_000),
            ("1.5", 1_500),
            (".5s", 500),
            ("0.0001s", 1),
            (" 2 H ", 7_200_000),
            ("+1s", 1_000),
            ("0001m", 60_000),
        ] {
            assert_eq!(parse_ttl(text), Ok(Millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_to_live_says_why() {
        for text in
            ["", " ", "s", "ms", "NaNs", "1 000", "1e3", "5 minutes", "-", ".", "1.2.3", "∞", "5m3s", "0x10", "éms"]
        {
            assert_eq!(parse_ttl(text), Err(TtlError::Malformed), "{text}");
        }
        for text in ["0", "0ms", "-1s", "-99999999999999999999d", "0.0"] {
            assert_eq!(parse_ttl(text), Err(TtlError::Zero), "{text}");
        }
        for text in ["31d", "2592000001ms", "99999999999999999999999", "30.00001d"] {
            assert_eq!(parse_ttl(text), Err(TtlError::TooLong), "{text}");
        }
    }
}
