//! Counters: amounts that add up exactly, in any order, on any number of nodes.
//!
//! An amount is a whole number of billionths in 128 bits. Amounts are bounded so that a hundred billion of
//! them cannot overflow; their sum therefore never depends on the order in which they arrived. The sum
//! meets the document's own number once, when the document is shown.

use std::collections::BTreeMap;
use std::ops::{Add, Neg};

use serde_json::{Map, Number, Value};

use crate::error::Refusal;
use crate::json::{ID_FIELD, is_kept_name};
use crate::limits::{DOCUMENT_DEPTH_MAX, INCREMENT_FIELDS_MAX};

const DECIMALS: u32 = 9;
const UNITS_PER_ONE: i128 = 1_000_000_000;
/// Greatest whole number that one increment may carry, either way.
const WHOLE_MAX: i128 = 1_000_000_000_000_000_000;
/// Greatest whole number of a field that is counted exactly: more than any 64 bit integer.
const COUNTED_WHOLE_MAX: i128 = WHOLE_MAX * 1_000_000_000;

/// An exact decimal with nine places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Amount(i128);

impl Amount {
    /// An amount of so many billionths, as a record keeps it.
    pub fn from_billionths(units: i128) -> Self {
        Self(units)
    }

    /// So many billionths.
    pub fn billionths(self) -> i128 {
        self.0
    }

    /// Reads a JSON number if it has at most nine decimals and is within ±10^18.
    pub fn parse(text: &str) -> Option<Self> {
        Self::parse_within(text, WHOLE_MAX)
    }

    /// A number that can be counted exactly: at most nine decimals, and no larger than any 64 bit integer needs.
    pub fn of_number(number: &Number) -> Option<Self> {
        Self::parse_within(number.as_str(), COUNTED_WHOLE_MAX)
    }

    /// Whether it is within what [`Self::of_number`] takes.
    pub fn is_countable(self) -> bool {
        self.0.unsigned_abs() <= (COUNTED_WHOLE_MAX * UNITS_PER_ONE).unsigned_abs()
    }

    fn parse_within(text: &str, whole_max: i128) -> Option<Self> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (negative, digits) = match mantissa.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, mantissa),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let mut units: i128 = 0;
        for digit in whole.chars().chain(fraction.chars()) {
            units = units.checked_mul(10)?.checked_add(i128::from(digit.to_digit(10)?))?;
        }
        let shift = i64::from(exponent) + i64::from(DECIMALS) - i64::try_from(fraction.len()).ok()?;
        for _ in 0..shift.unsigned_abs().min(64) {
            if shift > 0 {
                units = units.checked_mul(10)?;
            } else if units % 10 == 0 {
                units /= 10;
            } else {
                return None;
            }
        }
        (units <= whole_max * UNITS_PER_ONE).then_some(Self(if negative { -units } else { units }))
    }

    /// The amount as a JSON number without needless zeros.
    pub fn to_text(self) -> String {
        let sign = if self.0 < 0 { "-" } else { "" };
        let units = self.0.unsigned_abs();
        let (whole, fraction) = (units / UNITS_PER_ONE.unsigned_abs(), units % UNITS_PER_ONE.unsigned_abs());
        if fraction == 0 {
            return format!("{sign}{whole}");
        }
        let fraction = format!("{fraction:09}");
        format!("{sign}{whole}.{}", fraction.trim_end_matches('0'))
    }

    /// What a field shows when this has been added to it.
    ///
    /// An exact base gives an exact sum; a base with more digits than an amount holds is added as a double.
    /// A missing or null field counts as zero; any other field is no number and stays as it is.
    pub fn added_to(self, base: &Value) -> Option<Value> {
        let text = match base {
            Value::Null => self.to_text(),
            Value::Number(number) => match Self::parse_within(number.as_str(), COUNTED_WHOLE_MAX) {
                Some(amount) => (amount + self).to_text(),
                #[allow(clippy::cast_precision_loss)]
                None => {
                    let sum = number.as_f64()? + self.0 as f64 / UNITS_PER_ONE as f64;
                    Number::from_f64(sum)?.to_string()
                }
            },
            _ => return None,
        };
        text.parse::<Number>().ok().map(Value::Number)
    }
}

impl Add for Amount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Neg for Amount {
    type Output = Self;

    fn neg(self) -> Self {
        Self(-self.0)
    }
}

/// Amounts to add, each at a path of keys from the top of the document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Increment(pub Vec<(Vec<String>, Amount)>);

impl Increment {
    /// Reads the object after `$inc`: numbers at fields, nested as the document is.
    pub fn parse(object: &Map<String, Value>) -> Result<Self, Refusal> {
        let mut fields = Vec::new();
        collect(object, &mut Vec::new(), &mut fields)?;
        if fields.is_empty() {
            return Err(Refusal::invalid(
                "invalid-increment",
                "$inc must name at least one field, as in {\"$inc\": {\"stock\": -1}}.",
            ));
        }
        Ok(Self(fields))
    }

    /// All of them added up, by path, in the order of paths.
    pub fn sum<'a>(increments: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut sums: BTreeMap<&[String], Amount> = BTreeMap::new();
        for (path, amount) in increments.into_iter().flat_map(|increment| &increment.0) {
            let sum = sums.entry(path).or_default();
            *sum = *sum + *amount;
        }
        Self(sums.into_iter().map(|(path, amount)| (path.to_vec(), amount)).collect())
    }

    /// Adds every amount to the document; fields that hold no number are left alone.
    pub fn add_to(&self, document: &mut Map<String, Value>) {
        for (path, amount) in &self.0 {
            add_at(document, path, *amount);
        }
    }

    /// The first field that holds something else than a number that can be counted exactly, if any: a local
    /// increment of it is refused.
    pub fn misfit(&self, document: &Map<String, Value>) -> Option<String> {
        let fits = |path: &[String]| {
            let mut object = document;
            for (depth, key) in path.iter().enumerate() {
                match object.get(key) {
                    None | Some(Value::Null) => return true,
                    Some(Value::Number(number)) => {
                        let is_exact = Amount::parse_within(number.as_str(), COUNTED_WHOLE_MAX).is_some();
                        return is_exact && depth + 1 == path.len();
                    }
                    Some(Value::Object(inner)) if depth + 1 < path.len() => object = inner,
                    Some(_) => return false,
                }
            }
            false
        };
        self.0.iter().find(|(path, _)| !fits(path)).map(|(path, _)| path.join("."))
    }

    /// The same fields, each at zero: the document that an increment of nothing starts from.
    pub fn zeros(&self) -> Map<String, Value> {
        let mut document = Map::new();
        for (path, _) in &self.0 {
            add_at(&mut document, path, Amount::default());
        }
        document
    }
}

fn collect(
    object: &Map<String, Value>,
    path: &mut Vec<String>,
    fields: &mut Vec<(Vec<String>, Amount)>,
) -> Result<(), Refusal> {
    let refuse = |reason: String| Err(Refusal::invalid("invalid-increment", reason));
    for (key, value) in object {
        if path.is_empty() && (key.eq_ignore_ascii_case(ID_FIELD) || is_kept_name(key)) {
            return refuse(format!("$inc cannot change '{key:.100}': the node keeps that field itself."));
        }
        path.push(key.clone());
        match value {
            Value::Number(number) => {
                let Some(amount) = Amount::parse(number.as_str()) else {
                    return refuse(format!(
                        "$inc of '{}' must be within ±10^18 and have at most nine decimals.",
                        path.join(".")
                    ));
                };
                fields.push((path.clone(), amount));
            }
            Value::Object(inner) if path.len() < DOCUMENT_DEPTH_MAX => collect(inner, path, fields)?,
            _ => return refuse(format!("$inc of '{}' must be a number.", path.join("."))),
        }
        path.pop();
    }
    if fields.len() > INCREMENT_FIELDS_MAX {
        return refuse(format!("$inc names more than {INCREMENT_FIELDS_MAX} fields."));
    }
    Ok(())
}

fn add_at(object: &mut Map<String, Value>, path: &[String], amount: Amount) {
    let Some((key, rest)) = path.split_first() else { return };
    let slot = object.entry(key.clone()).or_insert(Value::Null);
    if rest.is_empty() {
        if let Some(sum) = amount.added_to(slot) {
            *slot = sum;
        }
        return;
    }
    if slot.is_null() {
        *slot = Value::Object(Map::new());
    }
    if let Value::Object(inner) = slot {
        add_at(inner, rest, amount);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::{prop_assert_eq, proptest};
    use serde_json::json;

    fn increment(value: Value) -> Increment {
        match value {
            Value::Object(object) => Increment::parse(&object).unwrap(),
            _ => panic!("not an object"),
        }
    }

    #[test]
    fn amounts_are_exact_where_doubles_are_not() {
        let sum = Amount::parse("0.1").unwrap() + Amount::parse("0.2").unwrap();
        assert_eq!(sum.to_text(), "0.3");
        assert_eq!(Amount::parse("-1.50e2").unwrap().to_text(), "-150");
        assert_eq!(Amount::parse("5e-9").unwrap().to_text(), "0.000000005");
        assert!(Amount::parse("1e-10").is_none());
        assert!(Amount::parse("1000000000000000001").is_none());
        assert!(Amount::parse("1e999999999").is_none());
    }

    #[test]
    fn increments_reach_nested_fields_and_leave_what_is_no_number() {
        let mut document = json!({"stock": {"main": 3}, "name": "x"}).as_object().unwrap().clone();
        let step = increment(json!({"stock": {"main": -1, "side": 2}, "sold": 0.5}));
        assert_eq!(step.misfit(&document), None);
        step.add_to(&mut document);
        assert_eq!(Value::Object(document.clone()), json!({"stock": {"main": 2, "side": 2}, "name": "x", "sold": 0.5}));
        assert_eq!(increment(json!({"name": 1})).misfit(&document).as_deref(), Some("name"));
        assert_eq!(increment(json!({"stock": 1})).misfit(&document).as_deref(), Some("stock"));
        // A 64 bit integer counts exactly; what cannot is left alone rather than rounded.
        let mut wide: Map<String, Value> =
            serde_json::from_str(r#"{"n":9223372036854775807,"d":0.1234567890123456789}"#).unwrap();
        assert_eq!(increment(json!({"d": 1})).misfit(&wide).as_deref(), Some("d"));
        increment(json!({"n": 1})).add_to(&mut wide);
        assert_eq!(wide.get("n").unwrap().to_string(), "9223372036854775808");
    }

    #[test]
    fn fields_that_the_node_keeps_cannot_be_incremented() {
        for key in ["Id", "ID", "_id", "_ID", "_sys_version", "_SYS_x"] {
            for value in [json!({key: 1}), json!({key: {"a": 1}})] {
                let refused = Increment::parse(value.as_object().unwrap()).unwrap_err();
                assert_eq!(refused.code(), "invalid-increment", "{value}");
            }
        }
        assert_eq!(increment(json!({"a": {"_id": 1}})).0.len(), 1);
    }

    proptest! {
        #[test]
        fn text_and_amount_agree(units in -1_000_000_000_000_000_000_000i128..1_000_000_000_000_000_000_000i128) {
            let amount = Amount::from_billionths(units);
            prop_assert_eq!(Amount::parse(&amount.to_text()), Some(amount));
        }
    }
}
