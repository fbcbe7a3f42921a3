//! Which keys documents have, and that ranges hold the keys of all documents that match.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::cmp::Ordering;
use std::ops::Bound;

use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop};
use proptest::{prop_assert, prop_assert_eq, prop_oneof, proptest};
use serde_json::{Value, json};

use crate::collation::{Case, compare, encode, encode_missing};
use crate::id::{CollectionName, DocumentId};
use crate::index::definition::{IndexDefinition, IndexName};
use crate::index::keys::{IndexKey, KeyReader};
use crate::index::path::IndexPath;
use crate::index::range::KeyRange;
use crate::limits::INDEX_KEY_BYTES_MAX;

fn definition(paths: &[&str]) -> IndexDefinition {
    IndexDefinition {
        name: IndexName::parse("by_it").unwrap(),
        collection: CollectionName::parse("orders").unwrap(),
        paths: paths.iter().map(|path| IndexPath::parse(path).unwrap()).collect(),
        is_unique: false,
        is_case_insensitive: false,
    }
}

fn keys(paths: &[&str], document: &Value) -> Vec<IndexKey> {
    KeyReader::new(&definition(paths)).keys(document.to_string().as_bytes())
}

fn encoded(values: &[Option<Value>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for value in values {
        match value {
            Some(value) => encode(value, Case::Exact, &mut bytes),
            None => encode_missing(&mut bytes),
        }
    }
    bytes
}

fn bytes(keys: &[IndexKey]) -> Vec<Vec<u8>> {
    keys.iter().map(|key| key.bytes.clone()).collect()
}

#[test]
fn a_value_a_null_and_nothing_each_have_one_key() {
    for (document, expected, has_gap) in [
        (json!({"a": {"b": 1.50}}), Some(json!(1.5)), false),
        (json!({"a": {"b": null}}), Some(Value::Null), true),
        (json!({"a": 1}), None, true),
        (json!({}), None, true),
    ] {
        let found = keys(&["$.a.b"], &document);
        assert_eq!(bytes(&found), [encoded(&[expected])], "{document}");
        assert!(!found[0].marks.is_inexact && !found[0].marks.is_spread && found[0].has_gap == has_gap);
    }
}

#[test]
fn an_array_has_a_key_for_itself_and_one_for_each_item() {
    let mut expected: Vec<_> = [json!(["x", "y"]), json!("x"), json!("y")].map(|value| encoded(&[Some(value)])).into();
    expected.sort();
    let found = keys(&["$.Tags"], &json!({"Tags": ["x", "y", "x"]}));
    assert_eq!(found.len(), 3);
    assert!(found.iter().all(|key| key.marks.is_spread && !key.marks.is_inexact));
    let found = keys(&["$.Tags"], &json!({"Tags": ["x", "y"]}));
    assert_eq!(bytes(&found), expected);
}

#[test]
fn through_all_items_each_item_gives_a_key() {
    let document = json!({"Items": [{"Sku": "b", "Lots": [{"n": 1}, {"n": 2}]}, {"Sku": "a"}, {"x": 0}]});
    let expected = [encoded(&[None]), encoded(&[Some(json!("a"))]), encoded(&[Some(json!("b"))])];
    assert_eq!(bytes(&keys(&["$.Items[*].Sku"], &document)), expected);
    let expected = [encoded(&[Some(json!(1))]), encoded(&[Some(json!(2))])];
    assert_eq!(bytes(&keys(&["$.Items[*].Lots[*].n"], &document)), expected);
    for none in [json!({}), json!({"Items": []}), json!({"Items": 3}), json!({"Items": {"Sku": "a"}})] {
        assert_eq!(bytes(&keys(&["$.Items[*].Sku"], &none)), [encoded(&[None])], "{none}");
    }
}

#[test]
fn several_paths_make_one_key_of_all_values() {
    let document = json!({"a": 1, "b": ["x", "y"], "c": null});
    let found = keys(&["$.a", "$.b[*]", "$.c"], &document);
    let key = |b: &str| encoded(&[Some(json!(1)), Some(json!(b)), Some(Value::Null)]);
    assert_eq!(bytes(&found), [key("x"), key("y")]);
    assert!(found.iter().all(|key| key.has_gap && key.marks.is_spread));
}

#[test]
fn a_document_with_too_many_keys_has_one_loose_key() {
    let many = |count: usize| json!({"a": (0..count).collect::<Vec<_>>(), "b": (0..count).collect::<Vec<_>>()});
    assert_eq!(keys(&["$.a", "$.b"], &many(30)).len(), 31 * 31);
    assert_eq!(keys(&["$.a", "$.b"], &many(40)), [IndexKey::loose()]);
    assert_eq!(keys(&["$.a"], &many(2_000)), [IndexKey::loose()]);
    assert_eq!(keys(&["$.a[*]"], &many(1_002)), [IndexKey::loose()]);
    assert_eq!(KeyReader::new(&definition(&["$.a"])).keys(b"{\"a\""), [IndexKey::loose()]);
    assert!(!KeyRange::all().contains(&IndexKey::loose().bytes));
}

#[test]
fn long_values_differ_by_what_was_cut_off() {
    let long = |end: &str| json!({"a": format!("{}{end}", "x".repeat(5_000))});
    let (one, other) = (keys(&["$.a"], &long("1")), keys(&["$.a"], &long("2")));
    assert_ne!(one, other);
    assert!(one[0].marks.is_inexact && one[0].bytes.len() == INDEX_KEY_BYTES_MAX);
    let asked = KeyRange::of(&encoded(&[Some(long("1")["a"].clone())]));
    assert!(asked.contains(&one[0].bytes) && !asked.contains(&other[0].bytes));
}

#[test]
fn a_path_is_printed_as_it_is_read() {
    for (text, printed) in [
        ("Customer.Code", "$.Customer.Code"),
        ("$.Items[*].Sku", "$.Items[*].Sku"),
        (" Items[*]['a [*] b'][0] ", "$.Items[*]['a [*] b'][0]"),
        ("$['it''s'[*]", ""),
        ("$['a\\'[*]'].b[*]", "$['a\\'[*]'].b[*]"),
        ("Tags[*]", "$.Tags[*]"),
    ] {
        match IndexPath::parse(text) {
            Ok(path) => {
                assert_eq!(path.to_string(), printed);
                assert_eq!(IndexPath::parse(printed).unwrap(), path);
            }
            Err(error) => assert!(printed.is_empty(), "{text}: {error}"),
        }
    }
    for bad in ["", "$", "$[*]", "a..b", "a[*", "a[1:2]", &"a".repeat(2_000)] {
        assert!(IndexPath::parse(bad).is_err(), "{bad} was accepted");
    }
}

#[test]
fn a_definition_survives_its_document() {
    let mut definition = definition(&["$.a", "$.Items[*].Sku"]);
    definition.is_unique = true;
    let id = DocumentId::parse("by_it").unwrap();
    let document = definition.to_document();
    assert_eq!(IndexDefinition::from_document(&id, document.as_str()).unwrap(), definition);
    assert!(JsonTextHolder::accepts(document.as_str(), &id));
    for bad in [
        "[]",
        "{}",
        r#"{"Collection":"c","Paths":[]}"#,
        r#"{"Collection":"c","Paths":["$.a","a"]}"#,
        r#"{"Collection":"c","Paths":["a"],"IsUnique":1}"#,
        r#"{"Collection":"_indexes","Paths":["a"]}"#,
        r#"{"Collection":"c","Paths":["a"],"Where":"$.b = 1"}"#,
    ] {
        assert!(IndexDefinition::from_document(&id, bad).is_err(), "{bad} was accepted");
    }
}

struct JsonTextHolder;

impl JsonTextHolder {
    fn accepts(text: &str, id: &DocumentId) -> bool {
        crate::json::JsonText::parse_document(text, id).is_ok()
    }
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::Bool),
        3 => (-3_i64..3).prop_map(Value::from),
        3 => "[ab]{0,3}".prop_map(Value::from),
        1 => (0..4_usize, "[ab]{0,2}").prop_map(|(more, end)| Value::from("x".repeat(1_003 + more) + &end)),
        1 => prop::collection::vec((0_i64..3).prop_map(Value::from), 0..3).prop_map(Value::from),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn a_range_holds_the_key_of_every_value_between_its_bounds(
        first in value(), second in value(), fixed in value(), lower in value(), upper in value(),
        closed in any::<(bool, bool)>(), open in any::<(bool, bool)>(),
    ) {
        let key = IndexKey::of(encoded(&[Some(first.clone()), Some(second.clone())]), false, false);
        let (low, high) = (encoded(&[Some(lower.clone())]), encoded(&[Some(upper.clone())]));
        let bound = |bytes, is_closed, is_open| match (is_open, is_closed) {
            (true, _) => Bound::Unbounded,
            (false, true) => Bound::Included(bytes),
            (false, false) => Bound::Excluded(bytes),
        };
        let prefix = encoded(&[Some(fixed.clone())]);
        let range = KeyRange::between(&prefix, bound(&low[..], closed.0, open.0), bound(&high[..], closed.1, open.1));
        let above = match compare(&second, &lower) { Ordering::Greater => true, Ordering::Equal => closed.0 || open.0, Ordering::Less => open.0 };
        let below = match compare(&second, &upper) { Ordering::Less => true, Ordering::Equal => closed.1 || open.1, Ordering::Greater => open.1 };
        let matches = compare(&first, &fixed).is_eq() && above && below;
        let is_in = range.contains(&key.bytes);
        prop_assert!(is_in || !matches, "the key is missing from its range");
        if range.is_exact && !key.marks.is_inexact {
            prop_assert_eq!(is_in, matches);
        }
    }

    #[test]
    fn keys_of_exactly_some_values_are_found(first in value(), second in value(), asked in value()) {
        let key = IndexKey::of(encoded(&[Some(first.clone()), Some(second.clone())]), false, false);
        let range = KeyRange::of(&encoded(&[Some(first), Some(asked.clone())]));
        prop_assert_eq!(range.contains(&key.bytes), compare(&second, &asked).is_eq());
    }
}
