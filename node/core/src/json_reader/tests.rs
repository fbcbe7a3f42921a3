//! What is found in text is what the parsed document has, and text that is no JSON is survived.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::{Just, Strategy, any, prop, prop_assert_eq, prop_oneof, proptest};
use serde_json::{Map, Value, json};

use super::*;

fn find(text: &str, paths: &[&str]) -> Vec<Option<String>> {
    let paths: Vec<Path> = paths.iter().map(|path| Path::parse(path).unwrap()).collect();
    let mut found = Vec::new();
    Places::new(&paths).find(text.as_bytes(), &mut found).unwrap();
    found.into_iter().map(|text| text.map(|text| String::from_utf8(text.to_vec()).unwrap())).collect()
}

#[test]
fn values_are_found_as_they_are_written() {
    let text = r#"{"Id":"a","Customer":{"Name":"Ada \"x\"","Tags":[1.50,{"k":[true]}]},"Note":null,"Total":12.00}"#;
    let found =
        find(text, &["Total", "Customer.Tags[1].k[0]", "Customer.Name", "Note", "Customer.Tags", "Nothing", "$"]);
    let expected = ["12.00", "true", r#""Ada \"x\"""#, "null", r#"[1.50,{"k":[true]}]"#];
    assert_eq!(found[..5], expected.map(|text| Some(text.to_owned())));
    assert_eq!(found[5..], [None, Some(text.to_owned())]);
}

#[test]
fn a_path_that_ends_on_the_way_of_another_is_found_too() {
    let text = r#"{"a":{"b":{"c":1,"d":2},"e":3},"f":4}"#;
    let found = find(text, &["a.b.c", "a", "a.b", "a.b.c", "f"]);
    let expected = ["1", r#"{"b":{"c":1,"d":2},"e":3}"#, r#"{"c":1,"d":2}"#, "1", "4"];
    assert_eq!(found, expected.map(|text| Some(text.to_owned())));
}

#[test]
fn keys_with_escapes_are_compared_by_what_they_mean() {
    let text = r#"{"a\"b":1,"\u0041":2,"line\nbreak":3}"#;
    assert_eq!(find(text, &[r#"['a"b']"#, "A", r"['line\nbreak']"]), ["1", "2", "3"].map(|text| Some(text.to_owned())));
}

#[test]
fn of_a_key_that_stands_twice_the_first_counts() {
    assert_eq!(find(r#"{"a":1,"a":2,"b":3}"#, &["a", "b"]), [Some("1".to_owned()), Some("3".to_owned())]);
}

#[test]
fn reading_ends_where_the_last_path_is_found() {
    let paths = [Path::parse("a").unwrap(), Path::parse("b.c").unwrap()];
    let mut found = Vec::new();
    Places::new(&paths).find(br#"{"b":{"c":1,"d":2},"a":3, here is no JSON"#, &mut found).unwrap();
    assert_eq!(found, [Some(&b"3"[..]), Some(&b"1"[..])]);
}

#[test]
fn more_paths_than_are_remembered_are_all_found() {
    let object: Map<String, Value> = (0..200).map(|number| (format!("f{number}"), json!(number))).collect();
    let paths: Vec<Path> = (0..200).rev().map(|number| Path::of_field(&format!("f{number}"))).collect();
    let text = serde_json::to_string(&object).unwrap();
    let mut found = Vec::new();
    Places::new(&paths).find(text.as_bytes(), &mut found).unwrap();
    for (place, text) in found.iter().enumerate() {
        assert_eq!(text.unwrap(), (199 - place).to_string().as_bytes());
    }
}

#[test]
fn depth_of_the_text_costs_no_stack() {
    let deep = format!("{{\"a\":{}{},\"b\":1}}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    assert_eq!(find(&deep, &["b"]), [Some("1".to_owned())]);
}

#[test]
fn items_of_an_array_come_one_by_one() {
    let all = |text: &str| -> Vec<String> {
        items(text.as_bytes()).map(|item| String::from_utf8(item.to_vec()).unwrap()).collect()
    };
    assert_eq!(all(r#" [1, "a]b" ,{"c":[2]},[]] "#), ["1", r#""a]b""#, r#"{"c":[2]}"#, "[]"]);
    for none in ["[]", "{}", "7", "", "[", "[,"] {
        assert!(all(none).is_empty(), "{none}");
    }
}

/// Few names, so that paths often lead somewhere; some need escapes.
fn names() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("a".to_owned()),
        Just("b".to_owned()),
        Just("ab".to_owned()),
        Just("a\"".to_owned()),
        Just("\\".to_owned()),
        Just("\u{1}\u{e9}".to_owned()),
        Just("a long name of a field".to_owned()),
    ]
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[ -~\u{e9}\u{1f600}\n]{0,20}".prop_map(Value::String),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            prop::collection::vec((names(), inner), 0..6).prop_map(|all| Value::Object(all.into_iter().collect())),
        ]
    })
}

fn paths() -> impl Strategy<Value = Path> {
    let step = prop_oneof![
        3 => names().prop_map(|name| Path::of_field(&name).to_string()[1..].to_owned()),
        1 => (0..4_usize).prop_map(|index| format!("[{index}]")),
    ];
    prop::collection::vec(step, 0..5).prop_map(|steps| Path::parse(&format!("${}", steps.concat())).unwrap())
}

proptest! {
    #[test]
    fn what_is_found_is_what_the_parsed_document_has(
        document in values(), paths in prop::collection::vec(paths(), 1..6), is_spaced in any::<bool>(),
    ) {
        let text = if is_spaced { serde_json::to_string_pretty(&document) } else { serde_json::to_string(&document) };
        let text = text.unwrap();
        let mut found = Vec::new();
        Places::new(&paths).find(text.as_bytes(), &mut found).unwrap();
        let found: Vec<Option<Value>> =
            found.into_iter().map(|text| text.map(|text| serde_json::from_slice(text).unwrap())).collect();
        let parsed: Value = serde_json::from_str(&text).unwrap();
        let expected: Vec<Option<Value>> = paths.iter().map(|path| path.select(&parsed).cloned()).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn items_are_those_of_the_parsed_array(list in prop::collection::vec(values(), 0..6)) {
        let text = serde_json::to_string(&list).unwrap();
        let found: Vec<Value> = items(text.as_bytes()).map(|item| serde_json::from_slice(item).unwrap()).collect();
        prop_assert_eq!(found, list);
    }

    #[test]
    fn text_that_is_no_json_is_survived(
        text in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(&b"{}[]\":,\\ab1 "[..])], 0..60),
        paths in prop::collection::vec(paths(), 1..4),
    ) {
        let mut found = Vec::new();
        let _ = Places::new(&paths).find(&text, &mut found);
        for stretch in found.into_iter().flatten() {
            assert!(stretch.len() <= text.len());
        }
        assert!(items(&text).count() <= text.len());
    }
}
