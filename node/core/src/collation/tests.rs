//! The order of values and of their encodings are one order.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop};
use proptest::{prop_assert, prop_assert_eq, prop_oneof, proptest};
use serde_json::{Value, json};

use crate::collation::{
    Case, Kind, compare, encode, encode_missing, encode_string_prefix, encode_text, encoded_len, end_of_prefix, fold,
};

fn encoded(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    encode(value, Case::Exact, &mut out);
    out
}

fn read(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Numbers written in every way JSON allows, many of them close to each other.
fn number() -> impl Strategy<Value = Value> {
    let digits = prop_oneof![Just("0".to_owned()), "[1-9][0-9]{0,3}", "[1-9][0-9]{0,40}", "1[0]{0,20}[12]?"];
    let fraction = prop_oneof![Just(String::new()), "\\.[0-9]{1,3}", "\\.0{0,12}[0-9]{1,20}"];
    let power = prop_oneof![
        4 => Just(String::new()),
        1 => "[eE][+-]?[0-9]{1,2}",
        1 => "e-?[1-9][0-9]{2,5}",
        1 => "e-?[1-9][0-9]{17,30}",
    ];
    ("-?", digits, fraction, power)
        .prop_map(|(sign, digits, fraction, power)| read(&format!("{sign}{digits}{fraction}{power}")))
}

fn value() -> impl Strategy<Value = Value> {
    let text = prop_oneof!["[ab\u{0}\u{1}\u{2}]{0,4}", "\\PC{0,6}", "[A-Za-z]{0,12}"];
    let leaf = prop_oneof![
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::Bool),
        4 => number(),
        4 => text.prop_map(Value::String),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec(("[ab\u{0}\u{1}]{0,2}", inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn encodings_sort_as_the_values_do(left in value(), right in value()) {
        prop_assert_eq!(encoded(&left).cmp(&encoded(&right)), compare(&left, &right), "{} and {}", left, right);
    }

    #[test]
    fn encodings_of_numbers_sort_as_the_numbers_do(left in number(), right in number()) {
        prop_assert_eq!(encoded(&left).cmp(&encoded(&right)), compare(&left, &right), "{} and {}", left, right);
    }

    #[test]
    fn small_numbers_are_ordered_as_doubles_order_them(left in -99_999_i64..99_999, right in -99_999_i64..99_999, scale in 0..6) {
        // A mantissa of five digits and a power of ten: a double tells all of these apart.
        let write = |number: i64| read(&format!("{number}e-{scale}"));
        let double = |number: i64| format!("{number}e-{scale}").parse::<f64>().unwrap();
        prop_assert_eq!(compare(&write(left), &write(right)), double(left).partial_cmp(&double(right)).unwrap());
    }

    #[test]
    fn several_values_sort_by_the_first_then_the_second(
        left in prop::collection::vec(value(), 2), right in prop::collection::vec(value(), 2),
    ) {
        let together = |values: &[Value]| values.iter().flat_map(encoded).collect::<Vec<u8>>();
        let expected = compare(&left[0], &right[0]).then_with(|| compare(&left[1], &right[1]));
        prop_assert_eq!(together(&left).cmp(&together(&right)), expected);
    }

    #[test]
    fn no_encoding_begins_another(left in value(), right in value()) {
        let (left, right) = (encoded(&left), encoded(&right));
        prop_assert!(left == right || !right.starts_with(&left));
    }

    #[test]
    fn an_encoding_says_how_long_it_is(first in value(), rest in prop::collection::vec(any::<u8>(), 0..4)) {
        let mut bytes = encoded(&first);
        let length = bytes.len();
        prop_assert_eq!(Kind::of_encoded(&bytes), Some(Kind::of(&first)));
        bytes.extend(rest);
        prop_assert_eq!(encoded_len(&bytes), Some(length));
        for cut in 0..length {
            prop_assert_eq!(encoded_len(&bytes[..cut]), None);
        }
    }

    #[test]
    fn any_bytes_may_be_asked_for_their_length(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        prop_assert!(encoded_len(&bytes).is_none_or(|length| length <= bytes.len()));
    }

    #[test]
    fn text_encodes_as_the_value_that_it_writes(value in value(), is_folded in any::<bool>()) {
        let case = if is_folded { Case::Folded } else { Case::Exact };
        let (mut from_text, mut from_value) = (Vec::new(), Vec::new());
        prop_assert!(encode_text(value.to_string().as_bytes(), case, &mut from_text));
        encode(&value, case, &mut from_value);
        prop_assert_eq!(from_text, from_value);
    }

    #[test]
    fn strings_with_a_beginning_lie_together(prefix in "[ab\u{0}\u{1}é]{0,2}", text in "[ab\u{0}\u{1}é]{0,4}") {
        let mut first = Vec::new();
        encode_string_prefix(&prefix, Case::Exact, &mut first);
        let end = end_of_prefix(&first).unwrap();
        let bytes = encoded(&Value::String(text.clone()));
        prop_assert_eq!(first <= bytes && bytes < end, text.starts_with(&prefix));
    }

    #[test]
    fn folding_keeps_what_a_string_begins_with(prefix in "\\PC{0,4}", rest in "\\PC{0,4}") {
        let whole = format!("{prefix}{rest}");
        prop_assert!(fold(&whole).starts_with(&*fold(&prefix)));
    }
}

#[test]
fn values_stand_in_one_order() {
    let ordered = [
        "null",
        "false",
        "true",
        "-1e400",
        "-123456789012345678901234567891",
        "-123456789012345678901234567890",
        "-1.50",
        "-1.5e-300",
        "0",
        "1e-300",
        "1.5e-300",
        "0.001",
        "1",
        "1.5",
        "1.51",
        "2",
        "9",
        "10",
        "11.9",
        "12",
        "99",
        "100",
        "101",
        "9007199254740992",
        "9007199254740993",
        "123456789012345678901234567890",
        "123456789012345678901234567891",
        "1e400",
        "1e401",
        "\"\"",
        "\"\\u0000\"",
        "\"\\u0001\"",
        "\"a\"",
        "\"a\\u0000\"",
        "\"a\\u0001\"",
        "\"aa\"",
        "\"b\"",
        "\"é\"",
        "\"😀\"",
        "[]",
        "[null]",
        "[1]",
        "[1,null]",
        "[1,2]",
        "[2]",
        "[[]]",
        "{}",
        "{\"a\":1}",
        "{\"a\":1,\"b\":0}",
        "{\"a\":2}",
        "{\"b\":0}",
    ];
    let values: Vec<Value> = ordered.iter().map(|text| read(text)).collect();
    for (place, left) in values.iter().enumerate() {
        for (other, right) in values.iter().enumerate() {
            assert_eq!(compare(left, right), place.cmp(&other), "{left} and {right}");
            assert_eq!(encoded(left).cmp(&encoded(right)), place.cmp(&other), "{left} and {right}, encoded");
        }
    }
    let mut missing = Vec::new();
    encode_missing(&mut missing);
    assert!(missing < encoded(&Value::Null));
}

#[test]
fn one_number_has_one_encoding_however_it_is_written() {
    let same = [
        vec!["0", "-0", "0.0", "-0.000e5", "0e-9"],
        vec!["12", "12.0", "1.2e1", "0.12E2", "120e-1", "1200.00e-2"],
        vec!["1.5", "1.50", "15e-1", "0.0015e3"],
        vec!["100", "1e2", "1E+2", "0.01e4"],
        vec!["-0.001", "-1e-3", "-1.000e-3"],
        vec!["1e400", "10e399", "0.1e401"],
    ];
    for group in &same {
        for text in group {
            let (value, first) = (read(text), read(group[0]));
            assert_eq!(encoded(&value), encoded(&first), "{text} and {}", group[0]);
            assert!(compare(&value, &first).is_eq());
        }
    }
}

#[test]
fn the_order_of_fields_does_not_count() {
    let (left, right) = (json!({"a": 1, "b": {"c": 2, "d": 3}}), json!({"b": {"d": 3, "c": 2}, "a": 1}));
    assert_eq!(encoded(&left), encoded(&right));
    assert!(compare(&left, &right).is_eq());
}

#[test]
fn case_counts_unless_it_is_folded() {
    let folded = |value: &Value| {
        let mut out = Vec::new();
        encode(value, Case::Folded, &mut out);
        out
    };
    assert_eq!(folded(&json!("ÄRGER Straße")), folded(&json!("ärger straße")));
    assert_ne!(folded(&json!("a")), folded(&json!("b")));
    assert_ne!(folded(&json!({"A": 1})), folded(&json!({"a": 1})), "names of fields keep their case");
    assert_eq!(folded(&json!([["X"]])), encoded(&json!([["x"]])));
}

#[test]
fn encodings_stay_what_they_are_on_disk() {
    let hex = |text: &str| encoded(&read(text)).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    for (text, bytes) in [
        ("null", "09"),
        ("true", "0b"),
        ("0", "2b"),
        ("1", "3602"),
        ("-1", "20fd"),
        ("12.5", "361964"),
        ("1e-300", "2cfe7202"),
        ("\"a\\u0000b\"", "506101016200"),
        ("[1]", "60360200"),
        ("{\"a\":null}", "700161000900"),
    ] {
        assert_eq!(hex(text), bytes, "{text}");
    }
}
