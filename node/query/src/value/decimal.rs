//! Exact decimal arithmetic.
//!
//! A number is a whole number times a power of ten, of at most [`QUERY_DIGITS_MAX`] digits. `+`, `-` and `*` are exact
//! while their result has no more digits, and rounded to so many otherwise, halves away from zero. A quotient that does
//! not end has [`QUERY_DIVISION_DIGITS`] digits, more if that many stand before the point.
//!
//! **What stays true.** No double takes part. What is written is what is meant: `0.1 + 0.2` is `0.3`, and twenty digits
//! of an integer stay twenty digits. Numbers are written without needless zeros.
//!
//! **What it does not do.** Numbers beyond 1.79·10^308 are refused, as in documents; those nearer to zero than 10^-400 are
//! zero.

use std::cmp::Ordering;

use holdfast_core::limits::{QUERY_DIGITS_MAX, QUERY_DIVISION_DIGITS};

use serde_json::{Number, Value};

use super::sum::Sum;
use crate::language::error::QueryError;
use crate::language::expression::Position;

/// Greatest power of ten that a number may reach.
const MAGNITUDE_MAX: i64 = 308;
/// Least power of ten that is not zero.
const MAGNITUDE_MIN: i64 = -400;
/// One more than the greatest coefficient.
const COEFFICIENT_END: u128 = 10_u128.pow(QUERY_DIGITS_MAX);

/// A number: `coefficient` times ten to the power of `exponent`.
#[derive(Debug, Clone, Copy)]
pub struct Decimal {
    coefficient: i128,
    exponent: i32,
}

/// A number has no place among those that can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfRange;

impl From<OutOfRange> for QueryError {
    fn from(_: OutOfRange) -> Self {
        Self::meaning("number-out-of-range", "The result is greater than 10^308.", Position::default())
    }
}

impl Decimal {
    /// Zero.
    pub const ZERO: Self = Self { coefficient: 0, exponent: 0 };

    /// A whole number.
    pub fn whole(number: i64) -> Self {
        Self { coefficient: i128::from(number), exponent: 0 }
    }

    /// A number of JSON, rounded where it has too many digits. `None` where the text is no such number.
    pub fn parse(text: &str) -> Option<Self> {
        let (is_negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, read_exponent(exponent)?),
            None => (digits, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let exponent = exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?;
        if whole.is_empty() {
            return None;
        }
        let mut all = Digits::default();
        whole.bytes().chain(fraction.bytes()).try_for_each(|digit| all.push(digit))?;
        all.finish(is_negative, exponent).ok()
    }

    /// Digits in a row, the last of which stands for ten to the power of `exponent`.
    pub(super) fn of_digits(is_negative: bool, digits: &[u8], exponent: i64) -> Result<Self, OutOfRange> {
        let mut all = Digits::default();
        digits.iter().try_for_each(|digit| all.push(*digit)).ok_or(OutOfRange)?;
        all.finish(is_negative, exponent)
    }

    fn fitting(coefficient: i128, exponent: i64) -> Result<Self, OutOfRange> {
        let mut coefficient = coefficient;
        let mut exponent = exponent;
        // Rounding can carry into one digit more.
        while coefficient.unsigned_abs() >= COEFFICIENT_END {
            coefficient = rounded_tenth(coefficient);
            exponent += 1;
        }
        let magnitude = i64::from(digits_of(coefficient.unsigned_abs())) + exponent - 1;
        if coefficient == 0 || magnitude < MAGNITUDE_MIN {
            return Ok(Self::ZERO);
        }
        if magnitude > MAGNITUDE_MAX {
            return Err(OutOfRange);
        }
        // Between these magnitudes, and of so many digits, an exponent is far inside of its type.
        let number = Self { coefficient, exponent: i32::try_from(exponent).map_err(|_| OutOfRange)? };
        // The last power of ten is not used up: documents hold what a double can come near to.
        if magnitude == MAGNITUDE_MAX && !number.to_f64().is_finite() { Err(OutOfRange) } else { Ok(number) }
    }

    /// Whether it is zero.
    pub fn is_zero(self) -> bool {
        self.coefficient == 0
    }

    /// -1, 0 or 1.
    pub fn signum(self) -> i64 {
        match self.coefficient.cmp(&0) {
            Ordering::Less => -1,
            Ordering::Equal => 0,
            Ordering::Greater => 1,
        }
    }

    /// The sum.
    pub fn plus(self, other: Self) -> Result<Self, OutOfRange> {
        if self.is_zero() || other.is_zero() {
            return Ok(if self.is_zero() { other } else { self });
        }
        let aligned =
            self.aligned(other).and_then(|(left, right, exponent)| Some((left.checked_add(right)?, exponent)));
        match aligned {
            Some((sum, exponent)) => Self::fitting(sum, i64::from(exponent)),
            None => {
                let mut sum = Sum::default();
                sum.add(self);
                sum.add(other);
                sum.total()
            }
        }
    }

    /// The number without, or with, a sign.
    #[must_use]
    pub fn negated(self) -> Self {
        Self { coefficient: -self.coefficient, ..self }
    }

    /// The product.
    pub fn times(self, other: Self) -> Result<Self, OutOfRange> {
        let exponent = i64::from(self.exponent) + i64::from(other.exponent);
        if let Some(product) = self.coefficient.checked_mul(other.coefficient) {
            return Self::fitting(product, exponent);
        }
        let is_negative = (self.coefficient < 0) != (other.coefficient < 0);
        let digits = product_digits(self.coefficient.unsigned_abs(), other.coefficient.unsigned_abs());
        Self::of_digits(is_negative, &digits, exponent)
    }

    /// The quotient; the divisor must not be zero.
    pub fn divided_by(self, divisor: Self) -> Result<Self, OutOfRange> {
        let (above, below) = (self.coefficient.unsigned_abs(), divisor.coefficient.unsigned_abs());
        let (Some(mut quotient), Some(mut rest)) = (above.checked_div(below), above.checked_rem(below)) else {
            return Err(OutOfRange);
        };
        let mut exponent = i64::from(self.exponent) - i64::from(divisor.exponent);
        // What ends within the digits that there are is exact; the rest is cut back after.
        while rest > 0 && quotient < COEFFICIENT_END / 10 {
            let (digit, left) = next_digit(rest, below);
            quotient = quotient * 10 + digit;
            rest = left;
            exponent -= 1;
        }
        if exponent >= 0 && rest > 0 {
            // All digits stand before the point, so that nothing is cut back.
            quotient += u128::from(next_digit(rest, below).0 >= 5);
            rest = 0;
        }
        let is_negative = (self.coefficient < 0) != (divisor.coefficient < 0);
        let sign = if is_negative { -1 } else { 1 };
        let coefficient = i128::try_from(quotient).map_err(|_| OutOfRange)? * sign;
        if rest == 0 {
            return Self::fitting(coefficient, exponent);
        }
        Self::fitting(coefficient, exponent)?.cut_to(QUERY_DIVISION_DIGITS)
    }

    /// Rounded to so many digits, but not before the point.
    fn cut_to(self, digits: u32) -> Result<Self, OutOfRange> {
        let surplus = i64::from(digits_of(self.coefficient.unsigned_abs())) - i64::from(digits);
        let places = (-i64::from(self.exponent) - surplus).max(0);
        i32::try_from(places).map_or(Ok(self), |places| self.rounded(places))
    }

    /// What the division by another number leaves, with the sign of this one; the divisor must not be zero.
    #[must_use]
    pub fn remainder(self, divisor: Self) -> Self {
        if let Some((left, right, exponent)) = self.aligned(divisor) {
            return Self { coefficient: left.checked_rem(right).unwrap_or(0), exponent };
        }
        if divisor.exponent > self.exponent {
            // The divisor has more digits before the place at which this number ends than a number has.
            return self;
        }
        let below = divisor.coefficient.unsigned_abs();
        let mut rest = self.coefficient.unsigned_abs() % below;
        for _ in 0..self.exponent.abs_diff(divisor.exponent) {
            rest = next_digit(rest, below).1;
        }
        let rest = i128::try_from(rest).unwrap_or(0);
        let coefficient = if self.coefficient < 0 { -rest } else { rest };
        Self { coefficient, exponent: divisor.exponent }
    }

    /// Rounded to so many places after the point, or before it where they are negative; halves away from zero.
    pub fn rounded(self, places: i32) -> Result<Self, OutOfRange> {
        let surplus = -i64::from(self.exponent) - i64::from(places);
        if surplus <= 0 {
            return Ok(self);
        }
        let Some(unit) = u32::try_from(surplus).ok().and_then(|surplus| 10_i128.checked_pow(surplus)) else {
            return Ok(Self::ZERO);
        };
        let half = unit / 2;
        let raised = if self.coefficient < 0 { self.coefficient - half } else { self.coefficient + half };
        Self::fitting(raised / unit, i64::from(self.exponent) + surplus)
    }

    /// Without what stands behind so many places after the point.
    #[must_use]
    pub fn truncated(self, places: i32) -> Self {
        let surplus = -i64::from(self.exponent) - i64::from(places);
        let Ok(surplus) = u32::try_from(surplus) else {
            return self;
        };
        match 10_i128.checked_pow(surplus) {
            Some(unit) => Self::fitting(self.coefficient / unit, i64::from(self.exponent) + i64::from(surplus))
                .unwrap_or(Self::ZERO),
            None => Self::ZERO,
        }
    }

    /// The greatest whole number that is not greater.
    pub fn floor(self) -> Result<Self, OutOfRange> {
        let whole = self.truncated(0);
        if whole.compare(self) == Ordering::Greater { whole.plus(Self::whole(-1)) } else { Ok(whole) }
    }

    /// The least whole number that is not less.
    pub fn ceil(self) -> Result<Self, OutOfRange> {
        self.negated().floor().map(Self::negated)
    }

    /// To a whole power; zero to a negative one is out of range.
    pub fn to_power(self, exponent: i64) -> Result<Self, OutOfRange> {
        let (mut base, mut left) = (self, exponent.unsigned_abs());
        let mut power = Self::whole(1);
        while left > 0 {
            if left % 2 == 1 {
                power = power.times(base)?;
            }
            left /= 2;
            if left > 0 {
                base = base.times(base)?;
            }
        }
        if exponent >= 0 { Ok(power) } else { Self::whole(1).divided_by(power) }
    }

    /// The square root to 19 digits, exact where it has no more; the number must not be negative.
    pub fn square_root(self) -> Result<Self, OutOfRange> {
        let mut coefficient = self.coefficient.unsigned_abs();
        let mut exponent = self.exponent;
        while coefficient > 0 && coefficient < COEFFICIENT_END / 100 {
            coefficient *= 10;
            exponent -= 1;
        }
        // Half of an exponent has to be whole. What a number of all digits loses here does not reach the root.
        if exponent % 2 != 0 && coefficient < COEFFICIENT_END / 10 {
            coefficient *= 10;
            exponent -= 1;
        } else if exponent % 2 != 0 {
            coefficient /= 10;
            exponent += 1;
        }
        let root = coefficient.isqrt();
        // Nearer to the next whole number than to this one.
        let root = if coefficient - root * root > root { root + 1 } else { root };
        Self::fitting(i128::try_from(root).map_err(|_| OutOfRange)?, i64::from(exponent / 2))
    }

    /// Compares by value.
    pub fn compare(self, other: Self) -> Ordering {
        if let Some((left, right, _)) = self.aligned(other) {
            return left.cmp(&right);
        }
        match self.signum().cmp(&other.signum()) {
            // What cannot be written with the other's exponent is further from zero.
            Ordering::Equal if (self.exponent > other.exponent) == (self.coefficient > 0) => Ordering::Greater,
            Ordering::Equal => Ordering::Less,
            different => different,
        }
    }

    /// Both coefficients for the lesser of both exponents.
    fn aligned(self, other: Self) -> Option<(i128, i128, i32)> {
        let exponent = self.exponent.min(other.exponent);
        let raise = |number: Self| {
            if number.coefficient == 0 {
                return Some(0);
            }
            number.coefficient.checked_mul(10_i128.checked_pow(number.exponent.abs_diff(exponent))?)
        };
        Some((raise(self)?, raise(other)?, exponent))
    }

    /// The coefficient and exponent, for whoever adds numbers up.
    pub(super) fn parts(self) -> (i128, i32) {
        (self.coefficient, self.exponent)
    }

    /// The whole number that it is, where it is one of 64 bits.
    pub fn to_i64(self) -> Option<i64> {
        let whole = self.truncated(0);
        if whole.compare(self) != Ordering::Equal {
            return None;
        }
        let (coefficient, _, exponent) = whole.aligned(Self::whole(1))?;
        (exponent == 0).then_some(coefficient).and_then(|number| i64::try_from(number).ok())
    }

    /// The nearest double, for functions that have no exact value.
    pub fn to_f64(self) -> f64 {
        self.to_text().parse().unwrap_or(f64::NAN)
    }

    /// A double to 15 digits, of which a function without an exact value is sure.
    pub fn of_f64(number: f64) -> Result<Self, OutOfRange> {
        if !number.is_finite() {
            return Err(OutOfRange);
        }
        Self::parse(&format!("{number:.14e}")).ok_or(OutOfRange)
    }

    /// As a value of JSON.
    pub fn to_value(self) -> Value {
        self.to_text().parse::<Number>().map_or(Value::Null, Value::Number)
    }

    /// As JSON, without needless zeros.
    pub fn to_text(self) -> String {
        let (mut coefficient, mut exponent) = (self.coefficient.unsigned_abs(), i64::from(self.exponent));
        while coefficient > 0 && coefficient % 10 == 0 {
            coefficient /= 10;
            exponent += 1;
        }
        let sign = if self.coefficient < 0 { "-" } else { "" };
        let digits = coefficient.to_string();
        let count = i64::try_from(digits.len()).unwrap_or(i64::MAX);
        let before_point = count + exponent;
        let zeros = |count: i64| "0".repeat(usize::try_from(count).unwrap_or(0));
        if coefficient == 0 {
            "0".to_owned()
        } else if exponent >= 0 && before_point <= i64::from(QUERY_DIGITS_MAX) {
            format!("{sign}{digits}{}", zeros(exponent))
        } else if exponent < 0 && before_point > 0 {
            let (whole, fraction) = digits.split_at(usize::try_from(before_point).unwrap_or(0));
            format!("{sign}{whole}.{fraction}")
        } else if exponent < 0 && before_point > -6 {
            format!("{sign}0.{}{digits}", zeros(-before_point))
        } else {
            let (first, others) = digits.split_at(1);
            let point = if others.is_empty() { "" } else { "." };
            let plus = if before_point > 0 { "+" } else { "" };
            format!("{sign}{first}{point}{others}e{plus}{}", before_point - 1)
        }
    }
}

/// An exponent as it is written. One that is beyond all bounds is taken for one that is far beyond.
fn read_exponent(text: &str) -> Option<i64> {
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let exponent = digits.parse::<i64>().unwrap_or(i64::MAX).min(1_000_000);
    Some(if is_negative { -exponent } else { exponent })
}

/// Digits as they come, of which the first [`QUERY_DIGITS_MAX`] count and the next one rounds.
#[derive(Default)]
struct Digits {
    coefficient: u128,
    count: u32,
    /// The first digit that does not count.
    next: Option<u8>,
    /// How many do not.
    dropped: i64,
}

impl Digits {
    fn push(&mut self, digit: u8) -> Option<()> {
        if !digit.is_ascii_digit() {
            return None;
        }
        let value = digit - b'0';
        if self.count < QUERY_DIGITS_MAX {
            self.coefficient = self.coefficient * 10 + u128::from(value);
            self.count += u32::from(self.coefficient > 0);
        } else {
            self.next.get_or_insert(value);
            self.dropped += 1;
        }
        Some(())
    }

    fn finish(self, is_negative: bool, exponent: i64) -> Result<Decimal, OutOfRange> {
        let rounded = self.coefficient + u128::from(self.next.is_some_and(|next| next >= 5));
        let coefficient = i128::try_from(rounded).map_err(|_| OutOfRange)?;
        Decimal::fitting(if is_negative { -coefficient } else { coefficient }, exponent + self.dropped)
    }
}

fn rounded_tenth(coefficient: i128) -> i128 {
    let half = if coefficient < 0 { -5 } else { 5 };
    coefficient / 10 + (coefficient % 10 + half) / 10
}

fn digits_of(coefficient: u128) -> u32 {
    coefficient.checked_ilog10().map_or(1, |log| log + 1)
}

/// The next digit of a quotient: ten times the rest by the divisor, and what is left.
fn next_digit(rest: u128, divisor: u128) -> (u128, u128) {
    if let Some(tenfold) = rest.checked_mul(10) {
        return (tenfold / divisor, tenfold % divisor);
    }
    let (mut digit, mut left) = (0, 0);
    for _ in 0..10 {
        left += rest;
        if left >= divisor {
            left -= divisor;
            digit += 1;
        }
    }
    (digit, left)
}

/// All digits of a product of two coefficients.
fn product_digits(left: u128, right: u128) -> Vec<u8> {
    const LIMB: u128 = 10_u128.pow(19);
    let limbs = |number: u128| [number % LIMB, number / LIMB];
    let mut product = [0_u128; 4];
    for (place, left) in limbs(left).into_iter().enumerate() {
        for (more, right) in limbs(right).into_iter().enumerate() {
            // Each is below 10^38, and at most two of them meet in one place.
            if let Some(limb) = product.get_mut(place + more) {
                *limb += left * right;
            }
        }
    }
    let mut carry = 0;
    for limb in &mut product {
        *limb += carry;
        carry = *limb / LIMB;
        *limb %= LIMB;
    }
    let text: String = product.iter().rev().map(|limb| format!("{limb:019}")).collect();
    text.trim_start_matches('0').bytes().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::{Strategy, any, proptest};

    use super::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::parse(text).unwrap()
    }

    #[test]
    fn numbers_are_written_without_needless_zeros() {
        for (text, written) in [
            ("12.00", "12"),
            ("-0.0", "0"),
            ("1.2e1", "12"),
            ("100", "100"),
            ("0.000001", "0.000001"),
            ("1e-9", "1e-9"),
            ("1.5e300", "1.5e+300"),
            ("99999999999999999999999999999999999999", "99999999999999999999999999999999999999"),
            ("999999999999999999999999999999999999995", "1e+39"),
            ("1e-401", "0"),
            ("1e-99999999999999999999", "0"),
        ] {
            assert_eq!(decimal(text).to_text(), written);
        }
        for text in ["", "-", ".", "1e", "1e+", "a", "1a", "1.2.3", "1e999", "--1", "9e308888888888888888888"] {
            assert!(Decimal::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn arithmetic_is_that_of_paper() {
        let plus = |left: &str, right: &str| decimal(left).plus(decimal(right)).unwrap().to_text();
        assert_eq!(plus("0.1", "0.2"), "0.3");
        assert_eq!(plus("12345678901234567890", "0.12345678901234567"), "12345678901234567890.12345678901234567");
        assert_eq!(plus("1e300", "1"), "1e+300");
        assert_eq!(plus("1e40", "-1"), "1e+40");
        assert_eq!(plus("1e38", "-1"), "99999999999999999999999999999999999999");
        let times = |left: &str, right: &str| decimal(left).times(decimal(right)).unwrap().to_text();
        assert_eq!(times("19.99", "3"), "59.97");
        assert_eq!(
            times("12345678901234567890", "98765432109876543210"),
            "1.2193263113702179522374638011112635269e+39"
        );
        assert_eq!(times("99999999999999999999", "-99999999999999999999"), "-9.9999999999999999998e+39");
        assert_eq!(decimal("1e200").times(decimal("1e200")).unwrap_err(), OutOfRange);
        assert_eq!(times("1e-300", "1e-300"), "0");
        let over = |left: &str, right: &str| decimal(left).divided_by(decimal(right)).unwrap().to_text();
        assert_eq!(over("10", "4"), "2.5");
        assert_eq!(over("-1", "3"), "-0.33333333333333333333");
        assert_eq!(over("2", "3"), "0.66666666666666666667");
        assert_eq!(over("1e30", "3"), "333333333333333333333333333333");
        assert_eq!(over("1", "1024"), "0.0009765625");
        assert_eq!(over("99999999999999999999999999999999999999", "99999999999999999999999999999999999998"), "1");
        let rest = |left: &str, right: &str| decimal(left).remainder(decimal(right)).to_text();
        assert_eq!(rest("7.5", "2"), "1.5");
        assert_eq!(rest("-7", "3"), "-1");
        assert_eq!(rest("1e300", "7"), "1");
        assert_eq!(rest("7", "1e300"), "7");
    }

    #[test]
    fn rounding_goes_away_from_zero_at_halves() {
        for (text, places, rounded) in [
            ("2.5", 0, "3"),
            ("-2.5", 0, "-3"),
            ("2.449", 1, "2.4"),
            ("1250", -2, "1300"),
            ("0.5", -40, "0"),
            ("7", 3, "7"),
        ] {
            assert_eq!(decimal(text).rounded(places).unwrap().to_text(), rounded, "{text}");
        }
        assert_eq!(decimal("-2.5").floor().unwrap().to_text(), "-3");
        assert_eq!(decimal("-2.5").ceil().unwrap().to_text(), "-2");
        assert_eq!(decimal("2.59").truncated(1).to_text(), "2.5");
    }

    #[test]
    fn powers_and_roots_are_exact_where_they_end() {
        assert_eq!(decimal("1.05").to_power(3).unwrap().to_text(), "1.157625");
        assert_eq!(decimal("2").to_power(-2).unwrap().to_text(), "0.25");
        assert_eq!(decimal("10").to_power(400).unwrap_err(), OutOfRange);
        assert_eq!(decimal("0").to_power(-1).unwrap_err(), OutOfRange);
        assert_eq!(decimal("2.25").square_root().unwrap().to_text(), "1.5");
        assert_eq!(decimal("2").square_root().unwrap().to_text(), "1.414213562373095049");
        assert_eq!(decimal("1e-20").square_root().unwrap().to_text(), "1e-10");
        assert_eq!(decimal("0").square_root().unwrap().to_text(), "0");
        assert_eq!(
            decimal("9999999999999999999999999999999999999e1").square_root().unwrap().to_text(),
            "10000000000000000000"
        );
    }

    fn small() -> impl Strategy<Value = (i64, u32)> {
        (any::<i64>(), 0..12_u32)
    }

    fn of((coefficient, places): (i64, u32)) -> Decimal {
        Decimal::parse(&format!("{coefficient}e-{places}")).unwrap()
    }

    proptest! {
        #[test]
        fn whole_numbers_behave_as_in_the_machine(left in any::<i64>(), right in any::<i64>()) {
            let (a, b) = (Decimal::whole(left), Decimal::whole(right));
            let exact = |number: i128| number.to_string();
            let (left, right) = (i128::from(left), i128::from(right));
            assert_eq!(a.plus(b).unwrap().to_text(), exact(left + right));
            assert_eq!(a.compare(b), left.cmp(&right));
            assert_eq!(Decimal::parse(&exact(left * right)).unwrap().compare(a.times(b).unwrap()), Ordering::Equal);
            if right != 0 {
                assert_eq!(a.remainder(b).to_text(), exact(left % right));
                assert_eq!(a.divided_by(b).unwrap().truncated(0).to_text(), exact(left / right));
            }
        }

        #[test]
        fn what_is_written_is_read_as_the_same(number in small()) {
            let number = of(number);
            assert_eq!(decimal(&number.to_text()).compare(number), Ordering::Equal);
        }

        #[test]
        fn a_sum_less_one_part_is_the_other(left in small(), right in small()) {
            let (left, right) = (of(left), of(right));
            let sum = left.plus(right).unwrap();
            assert_eq!(sum.plus(right.negated()).unwrap().compare(left), Ordering::Equal);
            assert_eq!(left.compare(right), left.plus(right.negated()).unwrap().signum().cmp(&0));
        }
    }
}
