//! Functions of numbers.

use super::super::datum::Datum;
use super::super::decimal::Decimal;
use super::super::evaluate::{Evaluated, division_by_zero, out_of_range};
use super::Call;
use crate::language::function::Function;

/// Most places after the point that a pattern asks for.
const PLACES_MAX: usize = 38;

impl<'a> Call<'_, 'a> {
    pub(super) fn of_number(&self) -> Evaluated<Option<Datum<'a>>> {
        let answer = match self.function {
            Function::Abs => {
                let number = self.number(0)?;
                Datum::Number(if number.signum() < 0 { number.negated() } else { number })
            }
            Function::Sign => Datum::whole(self.number(0)?.signum()),
            Function::Round => self.computed(self.number(0)?.rounded(self.places()?))?,
            Function::Truncate => Datum::Number(self.number(0)?.truncated(self.places()?)),
            Function::Floor => self.computed(self.number(0)?.floor())?,
            Function::Ceil => self.computed(self.number(0)?.ceil())?,
            Function::Modulo => {
                let (number, divisor) = (self.number(0)?, self.number(1)?);
                match self.arguments.get(1) {
                    Some(argument) if divisor.is_zero() => return Err(division_by_zero(argument, self.position)),
                    _ => Datum::Number(number.remainder(divisor)),
                }
            }
            Function::Power => self.power()?,
            Function::SquareRoot => {
                let number = self.number(0)?;
                if number.signum() < 0 {
                    return Err(out_of_range(self.position).suggesting("A negative number has no square root."));
                }
                self.computed(number.square_root())?
            }
            _ => return Ok(None),
        };
        Ok(Some(answer))
    }

    /// Places after the point; none where they are not given.
    fn places(&self) -> Evaluated<i32> {
        let places = if self.has(2) { self.whole(1)? } else { 0 };
        Ok(i32::try_from(places.clamp(-1_000, 1_000)).unwrap_or(0))
    }

    fn power(&self) -> Evaluated<Datum<'a>> {
        let (number, exponent) = (self.number(0)?, self.number(1)?);
        if let Some(exponent) = exponent.to_i64() {
            return self.computed(number.to_power(exponent));
        }
        self.computed(Decimal::of_f64(number.to_f64().powf(exponent.to_f64())))
    }
}

/// A number as a pattern says: `0.00` and `F2` with so many places, `#,##0.00` and `N2` with thousands apart,
/// `0.##` with at most so many. `None` where the pattern is none of these.
pub(super) fn formatted(number: Decimal, pattern: &str) -> Option<String> {
    let (groups, places, at_least) = match pattern.strip_prefix(['N', 'n', 'F', 'f']) {
        Some(places) => {
            let places = if places.is_empty() { 2 } else { places.parse().ok()? };
            (pattern.starts_with(['N', 'n']), places, places)
        }
        None => {
            let (whole, fraction) = pattern.split_once('.').unwrap_or((pattern, ""));
            let is_known = whole.ends_with('0') && whole.chars().all(|sign| matches!(sign, '0' | '#' | ','));
            let needed = fraction.trim_end_matches('#');
            if !is_known || !needed.chars().all(|sign| sign == '0') {
                return None;
            }
            (whole.contains(','), fraction.len(), needed.len())
        }
    };
    if places > PLACES_MAX {
        return None;
    }
    let text = plain(number.rounded(i32::try_from(places).ok()?).ok()?.to_text())?;
    let (sign, digits) = text.strip_prefix('-').map_or(("", text.as_str()), |digits| ("-", digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let mut shown = String::from(sign);
    for (place, digit) in whole.char_indices() {
        if groups && place > 0 && (whole.len() - place) % 3 == 0 {
            shown.push(',');
        }
        shown.push(digit);
    }
    if at_least > 0 || !fraction.is_empty() {
        shown.push('.');
        shown.push_str(fraction);
        shown.extend(std::iter::repeat_n('0', at_least.saturating_sub(fraction.len())));
    }
    Some(shown)
}

/// A number's text without an exponent. What was rounded to some places has none below the point.
fn plain(text: String) -> Option<String> {
    let Some((mantissa, exponent)) = text.split_once('e') else {
        return Some(text);
    };
    let exponent: i32 = exponent.parse().ok()?;
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if exponent >= 0 {
        let zeros = usize::try_from(exponent).ok()?.saturating_sub(fraction.len());
        return Some(format!("{sign}{whole}{fraction}{}", "0".repeat(zeros)));
    }
    let zeros = usize::try_from(-exponent - 1).ok()?;
    Some(format!("{sign}0.{}{whole}{fraction}", "0".repeat(zeros)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn numbers_are_shown_by_patterns() {
        for (number, pattern, shown) in [
            ("1234567.891", "#,##0.00", "1,234,567.89"),
            ("-1234.5", "N2", "-1,234.50"),
            ("1234.5", "F0", "1235"),
            ("0.5", "0.00", "0.50"),
            ("2", "0.##", "2"),
            ("2.345", "0.0#", "2.35"),
            ("1e45", "N0", "1,000,000,000,000,000,000,000,000,000,000,000,000,000,000,000"),
            ("1e-9", "0.0000000000", "0.0000000010"),
            ("100", "#,##0", "100"),
        ] {
            assert_eq!(formatted(Decimal::parse(number).unwrap(), pattern).unwrap(), shown, "{pattern}");
        }
        for pattern in ["", "yyyy", "x0", "0.0x", "F99", "N-1", "#"] {
            assert!(formatted(Decimal::whole(1), pattern).is_none(), "{pattern}");
        }
    }
}
