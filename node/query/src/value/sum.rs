//! Exact sums, in any order of their parts.
//!
//! Most numbers are added as whole billionths in 128 bits. Others are added digit by digit: a `Wide` has a place for
//! every power of ten that a number can have.
//!
//! **What stays true.** Nothing is rounded before the end, so a sum does not depend on the order in which its parts came.

use super::decimal::{Decimal, OutOfRange};

/// A sum on its way.
#[derive(Debug, Clone, Default)]
pub struct Sum {
    billionths: i128,
    others: Option<Box<Wide>>,
}

/// Up to here a number is added as billionths; ten billion of them fit.
const BILLIONTHS_MAX: u128 = 10_u128.pow(28);

impl Sum {
    /// Adds a number as it stands in JSON; answers whether it was one.
    pub fn add_text(&mut self, text: &str) -> bool {
        // A number of more digits than arithmetic has is added whole.
        if text.len() > 38 {
            return self.others.get_or_insert_default().add_text(text);
        }
        match Decimal::parse(text) {
            Some(number) => {
                self.add(number);
                true
            }
            None => false,
        }
    }

    /// Adds a number.
    pub fn add(&mut self, number: Decimal) {
        let (coefficient, exponent) = number.parts();
        let billionths = u32::try_from(exponent + 9)
            .ok()
            .and_then(|places| coefficient.checked_mul(10_i128.checked_pow(places)?))
            .filter(|billionths| billionths.unsigned_abs() <= BILLIONTHS_MAX)
            .and_then(|billionths| self.billionths.checked_add(billionths));
        match billionths {
            Some(sum) => self.billionths = sum,
            None => self.others.get_or_insert_default().add(coefficient, exponent),
        }
    }

    /// The sum divided by how many parts it has; `None` for none.
    pub fn average(&self, count: u64) -> Result<Option<Decimal>, OutOfRange> {
        match i64::try_from(count) {
            Ok(0) => Ok(None),
            Ok(count) => self.total()?.divided_by(Decimal::whole(count)).map(Some),
            Err(_) => Err(OutOfRange),
        }
    }

    /// Adds another sum.
    pub fn add_sum(&mut self, other: &Self) {
        let others = other.others.as_deref();
        match self.billionths.checked_add(other.billionths) {
            Some(sum) => self.billionths = sum,
            None => self.others.get_or_insert_default().add(other.billionths, -9),
        }
        if let Some(others) = others {
            self.others.get_or_insert_default().add_wide(others);
        }
    }

    /// The sum, rounded where it has more digits than a number.
    pub fn total(&self) -> Result<Decimal, OutOfRange> {
        match &self.others {
            None => {
                let digits = self.billionths.unsigned_abs().to_string();
                Decimal::of_digits(self.billionths < 0, digits.as_bytes(), -9)
            }
            Some(others) => {
                let mut all = others.clone();
                all.add(self.billionths, -9);
                all.total()
            }
        }
    }
}

/// Digits to one limb.
const LIMB_DIGITS: usize = 9;
const LIMB: i64 = 1_000_000_000;
/// The power of ten at which the first limb begins. What is less is nothing.
const LOWEST: i64 = -468;
/// Limbs: up to 10^468, far beyond what any number and any count of them reach.
const LIMBS: usize = 104;
/// Additions after which carries are worked off: every one adds less than 2·[`LIMB`] to a limb.
const ADDITIONS_MAX: u32 = 1 << 30;

/// A number with all its digits, in limbs from the lowest.
#[derive(Debug, Clone)]
struct Wide {
    limbs: [i64; LIMBS],
    additions: u32,
}

impl Default for Wide {
    fn default() -> Self {
        Self { limbs: [0; LIMBS], additions: 0 }
    }
}

impl Wide {
    fn add(&mut self, coefficient: i128, exponent: i32) {
        let digits = coefficient.unsigned_abs().to_string();
        self.add_digits(coefficient < 0, digits.bytes(), i64::from(exponent));
    }

    fn add_text(&mut self, text: &str) -> bool {
        let (is_negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = digits.split_once(['e', 'E']).unwrap_or((digits, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let is_number = !whole.is_empty() && whole.bytes().chain(fraction.bytes()).all(|digit| digit.is_ascii_digit());
        let Some(exponent) = exponent.parse::<i64>().ok().filter(|_| is_number) else {
            return false;
        };
        let exponent = exponent.clamp(-10_000, 10_000) - i64::try_from(fraction.len()).unwrap_or(i64::MAX);
        self.add_digits(is_negative, whole.bytes().chain(fraction.bytes()), exponent);
        true
    }

    /// Adds digits, the last of which stands for ten to the power of `exponent`.
    fn add_digits(&mut self, is_negative: bool, digits: impl DoubleEndedIterator<Item = u8>, exponent: i64) {
        if self.additions >= ADDITIONS_MAX {
            self.carry();
        }
        self.additions += 1;
        for (place, digit) in (exponent - LOWEST..).zip(digits.rev()) {
            let Ok(place) = usize::try_from(place) else { continue };
            let value = i64::from(digit - b'0') * 10_i64.pow(u32::try_from(place % LIMB_DIGITS).unwrap_or(0));
            if let Some(limb) = self.limbs.get_mut(place / LIMB_DIGITS) {
                *limb += if is_negative { -value } else { value };
            }
        }
    }

    fn add_wide(&mut self, other: &Self) {
        let mut other = other.clone();
        other.carry();
        self.carry();
        self.additions += 2;
        self.limbs.iter_mut().zip(&other.limbs).for_each(|(limb, more)| *limb += more);
    }

    /// Brings every limb between zero and [`LIMB`], but for the last, which has the sign.
    fn carry(&mut self) {
        let mut carry = 0;
        let last = self.limbs.len() - 1;
        for (place, limb) in self.limbs.iter_mut().enumerate() {
            *limb += carry;
            if place < last {
                carry = limb.div_euclid(LIMB);
                *limb = limb.rem_euclid(LIMB);
            }
        }
        self.additions = 0;
    }

    fn total(mut self) -> Result<Decimal, OutOfRange> {
        self.carry();
        let is_negative = self.limbs.last().is_some_and(|limb| *limb < 0);
        if is_negative {
            self.limbs.iter_mut().for_each(|limb| *limb = -*limb);
            self.carry();
        }
        let text: String = self.limbs.iter().rev().map(|limb| format!("{limb:09}")).collect();
        Decimal::of_digits(is_negative, text.trim_start_matches('0').as_bytes(), LOWEST)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::{any, proptest};

    use super::*;

    fn sum(numbers: &[&str]) -> String {
        let mut sum = Sum::default();
        for number in numbers {
            assert!(sum.add_text(number), "{number}");
        }
        sum.total().unwrap().to_text()
    }

    #[test]
    fn sums_are_exact_in_any_order() {
        assert_eq!(sum(&[]), "0");
        assert_eq!(sum(&["0.1", "0.2", "-0.3"]), "0");
        assert_eq!(sum(&["1e300", "1", "-1e300"]), "1");
        assert_eq!(sum(&["1", "1e300", "-1e300", "1e-300"]), sum(&["1e-300", "-1e300", "1e300", "1"]));
        assert_eq!(sum(&["1e-300", "-1e300", "1e300"]), "1e-300");
        let long = "1234567890123456789012345678901234567890.5";
        assert_eq!(sum(&[long, "-1234567890123456789012345678901234567890"]), "0.5");
        assert!(!Sum::default().add_text("x") && !Sum::default().add_text(&"x".repeat(50)));
    }

    #[test]
    fn more_than_fits_is_refused_and_not_wrapped() {
        let mut sum = Sum::default();
        assert!((0..10).all(|_| sum.add_text("9e307")));
        assert_eq!(sum.total().unwrap_err(), OutOfRange);
        assert!((0..10).all(|_| sum.add_text("-9e307")));
        assert_eq!(sum.total().unwrap().to_text(), "0");
    }

    proptest! {
        #[test]
        fn parts_may_be_summed_apart(numbers in proptest::collection::vec((any::<i64>(), -30..30_i32), 0..40), at in 0..40_usize) {
            let texts: Vec<String> = numbers.iter().map(|(number, places)| format!("{number}e{places}")).collect();
            let (first, second) = texts.split_at(at.min(texts.len()));
            let add = |texts: &[String]| {
                let mut sum = Sum::default();
                assert!(texts.iter().all(|text| sum.add_text(text)));
                sum
            };
            let mut both = add(second);
            both.add_sum(&add(first));
            assert_eq!(both.total().unwrap().to_text(), add(&texts).total().unwrap().to_text());
        }
    }
}
