//! The one order of all JSON values, and bytes that sort in it.
//!
//! ```text
//!   missing < null < false < true < numbers < strings < arrays < objects
//! ```
//!
//! * Numbers by value, exactly: `12`, `12.0` and `1.2e1` are one number, and `123456789012345678901234567890` is not the
//!   one after it. No double is ever made of them.
//! * Strings by code point. Arrays item by item, the shorter one first. Objects as the list of their fields sorted by
//!   name, so that the order in which fields were written does not count.
//!
//! [`encode`] writes a value so that encodings compare byte by byte as [`compare`] compares the values:
//!
//! ```text
//!   null, booleans   tag
//!   number           tag (sign and size) · [exponent] · digits in pairs; the last pair is marked, so it ends itself
//!   string           tag · UTF-8 with 00 and 01 written as 01 01 and 01 02 · 00
//!   array            tag · items · 00
//!   object           tag · (01 · name as in a string · 00 · value) sorted by name · 00
//! ```
//!
//! **What stays true.** No encoding is the beginning of another one, so encodings can stand one after the other and
//! still sort by the first, then by the second. Values that are equal have one encoding. Encodings are on disk: a tag
//! keeps its meaning for ever.
//!
//! **What it does not do.** No decoding: `1.50` comes back as itself from its document alone. No collation by language.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::{Map, Value};

/// The kinds of value, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// No value at all: the path leads nowhere.
    Missing,
    /// `null`.
    Null,
    /// `false` and `true`.
    Bool,
    /// A number.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

/// Whether case counts in strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Case {
    /// It does.
    #[default]
    Exact,
    /// Strings are compared as [`fold`] makes them; names of fields are left as they are.
    Folded,
}

const END: u8 = 0x00;
/// Before a byte that would be an end or an escape, and before the name of a field.
const ESCAPE: u8 = 0x01;
const MISSING: u8 = 0x08;
const NULL: u8 = 0x09;
const FALSE: u8 = 0x0a;
const TRUE: u8 = 0x0b;
const NEGATIVE_LARGE: u8 = 0x10;
const NEGATIVE_SMALL: u8 = 0x2a;
const ZERO: u8 = 0x2b;
const POSITIVE_SMALL: u8 = 0x2c;
const POSITIVE_LARGE: u8 = 0x46;
const STRING: u8 = 0x50;
const ARRAY: u8 = 0x60;
const OBJECT: u8 = 0x70;
const AFTER_ALL: u8 = 0x80;

/// Exponents, to base 100, that have a tag of their own.
const EXPONENT_MIN: i128 = -8;
const EXPONENT_MAX: i128 = 16;
/// Exponents, to base 10, beyond this are taken for it. No number of a document has one, and no arithmetic makes one.
const EXPONENT_LIMIT: i128 = 10_i128.pow(36);

/// Compares two values.
pub fn compare(left: &Value, right: &Value) -> Ordering {
    match (left, right) {
        (Value::Null, Value::Null) => Ordering::Equal,
        (Value::Bool(left), Value::Bool(right)) => left.cmp(right),
        (Value::Number(left), Value::Number(right)) => compare_numbers(left.as_str(), right.as_str()),
        (Value::String(left), Value::String(right)) => left.cmp(right),
        (Value::Array(left), Value::Array(right)) => {
            let each = left.iter().zip(right).map(|(left, right)| compare(left, right));
            first_difference(each).unwrap_or_else(|| left.len().cmp(&right.len()))
        }
        (Value::Object(left), Value::Object(right)) => {
            let each = sorted(left).into_iter().zip(sorted(right)).map(|((left_name, left), (right_name, right))| {
                left_name.cmp(right_name).then_with(|| compare(left, right))
            });
            first_difference(each).unwrap_or_else(|| left.len().cmp(&right.len()))
        }
        _ => Kind::of(left).cmp(&Kind::of(right)),
    }
}

/// Compares two numbers as JSON writes them, by value.
pub fn compare_numbers(left: &str, right: &str) -> Ordering {
    if let (Some(left), Some(right)) = (small_integer(left), small_integer(right)) {
        return left.cmp(&right);
    }
    let (left, right) = (Decimal::read(left), Decimal::read(right));
    let (left_sign, right_sign) = (left.sign(), right.sign());
    if left_sign != right_sign || left_sign == 0 {
        return left_sign.cmp(&right_sign);
    }
    let size = left.exponent.cmp(&right.exponent).then_with(|| left.digits().cmp(right.digits()));
    if left.is_negative { size.reverse() } else { size }
}

/// A string as it counts where case does not: every character in lower case, each for itself, so that what a string
/// begins with stays what it begins with.
pub fn fold(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Cow::Owned(text.to_ascii_lowercase());
        }
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().flat_map(char::to_lowercase).collect())
}

/// Writes a value so that encodings sort as the values do.
pub fn encode(value: &Value, case: Case, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(NULL),
        Value::Bool(false) => out.push(FALSE),
        Value::Bool(true) => out.push(TRUE),
        Value::Number(number) => encode_number(number.as_str(), out),
        Value::String(text) => encode_string(text, case, out),
        Value::Array(items) => {
            out.push(ARRAY);
            for item in items {
                encode(item, case, out);
            }
            out.push(END);
        }
        Value::Object(object) => {
            out.push(OBJECT);
            for (name, value) in sorted(object) {
                out.push(ESCAPE);
                put_escaped(name.as_bytes(), out);
                out.push(END);
                encode(value, case, out);
            }
            out.push(END);
        }
    }
}

/// Writes that there is no value.
pub fn encode_missing(out: &mut Vec<u8>) {
    out.push(MISSING);
}

/// Writes a number as JSON writes it.
pub fn encode_number(text: &str, out: &mut Vec<u8>) {
    Decimal::read(text).encode(out);
}

/// Writes a string.
pub fn encode_string(text: &str, case: Case, out: &mut Vec<u8>) {
    encode_string_prefix(text, case, out);
    out.push(END);
}

/// Writes the beginning of all strings that begin with `text`; see [`end_of_prefix`] for where they end.
pub fn encode_string_prefix(text: &str, case: Case, out: &mut Vec<u8>) {
    out.push(STRING);
    match case {
        Case::Exact => put_escaped(text.as_bytes(), out),
        Case::Folded => put_escaped(fold(text).as_bytes(), out),
    }
}

/// Writes a value that stands somewhere as compact JSON text. What is no JSON writes nothing and answers `false`.
pub fn encode_text(text: &[u8], case: Case, out: &mut Vec<u8>) -> bool {
    match text {
        b"null" => out.push(NULL),
        b"false" => out.push(FALSE),
        b"true" => out.push(TRUE),
        [b'"', inner @ .., b'"'] if !inner.contains(&b'\\') && !inner.contains(&b'"') => {
            let Ok(inner) = std::str::from_utf8(inner) else { return false };
            encode_string(inner, case, out);
        }
        [b'-' | b'0'..=b'9', rest @ ..]
            if rest.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-')) =>
        {
            let Ok(number) = std::str::from_utf8(text) else { return false };
            encode_number(number, out);
        }
        _ => {
            let Ok(value) = serde_json::from_slice::<Value>(text) else { return false };
            encode(&value, case, out);
        }
    }
    true
}

/// The first bytes after everything that begins with `prefix`; `None` when nothing comes after it.
pub fn end_of_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let place = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix.get(..=place)?.to_vec();
    *end.last_mut()? += 1;
    Some(end)
}

/// How long the first encoded value in `bytes` is; `None` when there is no whole one.
pub fn encoded_len(bytes: &[u8]) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = 0;
    loop {
        let tag = *bytes.get(at)?;
        at += 1;
        match tag {
            END if depth > 0 => depth -= 1,
            ESCAPE if depth > 0 => {
                at = after_string(bytes, at)?;
                continue;
            }
            MISSING..=TRUE | ZERO => {}
            STRING => at = after_string(bytes, at)?,
            ARRAY | OBJECT => depth += 1,
            NEGATIVE_LARGE..=POSITIVE_LARGE => at = after_number(bytes, at, tag)?,
            _ => return None,
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

impl Kind {
    /// The kind of a value.
    pub fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(_) => Self::Bool,
            Value::Number(_) => Self::Number,
            Value::String(_) => Self::String,
            Value::Array(_) => Self::Array,
            Value::Object(_) => Self::Object,
        }
    }

    /// The kind of an encoded value; `None` for what is none.
    pub fn of_encoded(bytes: &[u8]) -> Option<Self> {
        match *bytes.first()? {
            MISSING => Some(Self::Missing),
            NULL => Some(Self::Null),
            FALSE | TRUE => Some(Self::Bool),
            NEGATIVE_LARGE..=POSITIVE_LARGE => Some(Self::Number),
            STRING => Some(Self::String),
            ARRAY => Some(Self::Array),
            OBJECT => Some(Self::Object),
            _ => None,
        }
    }

    /// The bytes between which all encodings of this kind lie: the first one, and the first one after them.
    pub fn bounds(self) -> ([u8; 1], [u8; 1]) {
        let (first, end) = match self {
            Self::Missing => (MISSING, NULL),
            Self::Null => (NULL, FALSE),
            Self::Bool => (FALSE, NEGATIVE_LARGE),
            Self::Number => (NEGATIVE_LARGE, STRING),
            Self::String => (STRING, ARRAY),
            Self::Array => (ARRAY, OBJECT),
            Self::Object => (OBJECT, AFTER_ALL),
        };
        ([first], [end])
    }
}

/// A number taken apart without rounding: `0.d1d2d3... * 10^exponent`, where the first and the last digit are not 0.
struct Decimal<'a> {
    is_negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    exponent: i128,
}

impl<'a> Decimal<'a> {
    fn read(text: &'a str) -> Self {
        let (is_negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
        let (mantissa, power) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let (whole, fraction) = (whole.trim_start_matches('0').as_bytes(), fraction.as_bytes());
        let mut exponent = read_power(power).saturating_add(whole.len() as i128);
        let fraction = trim_end(fraction);
        if !whole.is_empty() {
            let whole = if fraction.is_empty() { trim_end(whole) } else { whole };
            return Self { is_negative, whole, fraction, exponent };
        }
        let zeros = fraction.iter().take_while(|digit| **digit == b'0').count();
        exponent -= zeros as i128;
        Self { is_negative, whole, fraction: fraction.get(zeros..).unwrap_or_default(), exponent }
    }

    fn sign(&self) -> i8 {
        match (self.whole.is_empty() && self.fraction.is_empty(), self.is_negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }

    fn digits(&self) -> impl Iterator<Item = u8> {
        self.whole.iter().chain(self.fraction).map(|digit| digit.wrapping_sub(b'0'))
    }

    fn encode(&self, out: &mut Vec<u8>) {
        if self.sign() == 0 {
            out.push(ZERO);
            return;
        }
        let exponent = (self.exponent + 1).div_euclid(2);
        let begins_with_half = self.exponent.rem_euclid(2) == 1;
        let flip = if self.is_negative { u8::MAX } else { 0 };
        if exponent > EXPONENT_MAX {
            out.push(if self.is_negative { NEGATIVE_LARGE } else { POSITIVE_LARGE });
            put_size((exponent - EXPONENT_MAX).unsigned_abs(), flip, out);
        } else if exponent < EXPONENT_MIN {
            out.push(if self.is_negative { NEGATIVE_SMALL } else { POSITIVE_SMALL });
            put_size((EXPONENT_MIN - exponent).unsigned_abs(), !flip, out);
        } else {
            let step = u8::try_from(exponent - EXPONENT_MIN).unwrap_or_default();
            out.push(if self.is_negative { NEGATIVE_SMALL - 1 - step } else { POSITIVE_SMALL + 1 + step });
        }
        let mut digits = self.digits();
        let mut pair = if begins_with_half { digits.next() } else { pair_of(&mut digits) };
        while let Some(now) = pair {
            pair = pair_of(&mut digits);
            out.push((now * 2 + u8::from(pair.is_some())) ^ flip);
        }
    }
}

/// Two digits as one number below 100; a missing second one is 0.
fn pair_of(digits: &mut impl Iterator<Item = u8>) -> Option<u8> {
    let high = digits.next()?;
    Some(high * 10 + digits.next().unwrap_or(0))
}

fn put_size(size: u128, flip: u8, out: &mut Vec<u8>) {
    let bytes = size.to_be_bytes();
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    out.push(u8::try_from(bytes.len() - zeros).unwrap_or_default() ^ flip);
    out.extend(bytes.iter().skip(zeros).map(|byte| byte ^ flip));
}

fn read_power(text: &str) -> i128 {
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let power = digits
        .bytes()
        .fold(0_i128, |power, digit| (power * 10 + i128::from(digit.wrapping_sub(b'0').min(9))).min(EXPONENT_LIMIT));
    if is_negative { -power } else { power }
}

/// An integer that fits 64 bits with room to spare; most numbers are.
fn small_integer(text: &str) -> Option<i64> {
    if text.len() <= 18 { text.parse().ok() } else { None }
}

fn trim_end(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().rev().take_while(|digit| **digit == b'0').count();
    digits.get(..digits.len() - zeros).unwrap_or_default()
}

fn put_escaped(bytes: &[u8], out: &mut Vec<u8>) {
    if bytes.iter().all(|byte| *byte > ESCAPE) {
        out.extend_from_slice(bytes);
        return;
    }
    for byte in bytes {
        if *byte <= ESCAPE {
            out.push(ESCAPE);
            out.push(byte + 1);
        } else {
            out.push(*byte);
        }
    }
}

fn after_string(bytes: &[u8], at: usize) -> Option<usize> {
    let length = bytes.get(at..)?.iter().position(|byte| *byte == END)?;
    Some(at + length + 1)
}

fn after_number(bytes: &[u8], mut at: usize, tag: u8) -> Option<usize> {
    let is_negative = tag < ZERO;
    if matches!(tag, NEGATIVE_LARGE | NEGATIVE_SMALL | POSITIVE_SMALL | POSITIVE_LARGE) {
        let is_flipped = matches!(tag, NEGATIVE_LARGE | POSITIVE_SMALL);
        let size = *bytes.get(at)?;
        at += 1 + usize::from(if is_flipped { !size } else { size });
    }
    let is_last = |byte: &u8| (byte & 1 == 0) != is_negative;
    let digits = bytes.get(at..)?.iter().position(is_last)?;
    Some(at + digits + 1)
}

fn sorted(object: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut fields: Vec<(&String, &Value)> = object.iter().collect();
    fields.sort_unstable_by_key(|(name, _)| *name);
    fields
}

fn first_difference(mut each: impl Iterator<Item = Ordering>) -> Option<Ordering> {
    each.find(|order| order.is_ne())
}

#[cfg(test)]
mod tests;
