//! What is plain, what is not, and that the full check agrees.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};
use proptest::{prop_assert, prop_assert_eq};

use super::*;
use crate::id::DocumentId;
use crate::json::JsonText;

/// What the full check makes of a text.
fn in_full(text: &str, id: &str) -> Option<String> {
    JsonText::parse_document_in_full(text, &DocumentId::parse(id).unwrap()).ok().map(JsonText::into_string)
}

#[test]
fn what_a_node_writes_is_plain() {
    for text in [
        r#"{"Id":"1"}"#,
        r#"{"Id":"1","price":11.77,"paid":true,"note":"ä € 😀","none":null,"tags":["a",["b"],{}],"of":{"x":-0,"y":0.50}}"#,
        r#"{"id":"1","x":false,"y":{"Id":"2","_id":3},"z":[]}"#,
    ] {
        assert!(is_plain_document(text, "1"), "{text}");
        assert_eq!(in_full(text, "1").as_deref(), Some(text));
    }
}

#[test]
fn whatever_the_full_check_would_refuse_or_write_otherwise_is_not_plain() {
    for text in [
        "",
        "{}",
        r#"{"Id":"2"}"#,
        r#"{"Id":"1","iD":"1"}"#,
        r#"{"Id":"1","_id":"1"}"#,
        r#"{"Id":"1","_sys_x":1}"#,
        r#"{"Id":1}"#,
        r#"{"Id":"1","a":1,"a":2}"#,
        r#"{"Id":"1","a":{"b":1,"b":2}}"#,
        r#"{"Id":"1" }"#,
        r#" {"Id":"1"}"#,
        "{\"Id\":\"1\"}\n",
        r#"{"Id":"1"}}"#,
        r#"{"Id":"1",}"#,
        r#"{"Id":"1","a":01}"#,
        r#"{"Id":"1","a":1.}"#,
        r#"{"Id":"1","a":.5}"#,
        r#"{"Id":"1","a":-}"#,
        r#"{"Id":"1","a":+1}"#,
        r#"{"Id":"1","a":1e999}"#,
        r#"{"Id":"1","a":1x}"#,
        r#"{"Id":"1","a":nul}"#,
        r#"{"Id":"1","a":truefalse}"#,
        r#"{"Id":"1","a":[1,]}"#,
        r#"{"Id":"1","a":[1 ]}"#,
        r#"{"Id":"1","a":"\u0041"}"#,
        r#"{"Id":"1","$serde_json::private::Number":"1"}"#,
        "{\"Id\":\"1\",\"a\":\"\t\"}",
        r#"{"Id":"1","a":"b}"#,
        r#"["Id","1"]"#,
    ] {
        assert!(!is_plain_document(text, "1"), "{text}");
    }
    let deep = format!(r#"{{"Id":"1","a":{}1{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    assert!(!is_plain_document(&deep, "1"));
}

proptest! {
    #[test]
    fn plain_text_passes_the_full_check_unchanged(
        parts in prop::collection::vec(
            prop_oneof![
                8 => prop::sample::select(vec![
                    "{", "}", "[", "]", ",", ":", "\"", "\"a\"", "\"b\":", "\"a\":1", "\"id\":\"1\"", "true", "null", "0",
                    "-0", "12.00", "1e3", "-", ".", " ", "\\", "\\u0041", "\"$\"", "\"_id\":2", "9999999999999999999",
                ]).prop_map(str::to_owned),
                1 => any::<char>().prop_map(String::from),
                1 => (any::<i64>(), 0u32..4).prop_map(|(number, digits)| format!("{number}.{digits:04}")),
            ],
            0..24,
        ),
        is_framed in prop_oneof![4 => Just(true), 1 => Just(false)],
    ) {
        let inner = parts.concat();
        let text = if is_framed { format!("{{\"Id\":\"1\",\"x\":{inner}}}") } else { inner };
        if is_plain_document(&text, "1") {
            prop_assert_eq!(in_full(&text, "1"), Some(text));
        }
    }

    #[test]
    fn a_plain_text_that_is_altered_is_judged_as_the_full_check_judges_it(
        at in 0usize..90, byte in any::<u8>(), how in 0usize..3,
    ) {
        let plain = r#"{"Id":"1","price":11.77,"paid":true,"none":null,"tags":["a",["b"],{}],"of":{"x":-0,"y":5}}"#;
        prop_assert!(is_plain_document(plain, "1"));
        let mut bytes = plain.as_bytes().to_vec();
        let (taken, put) = [(1, Some(byte)), (1, None), (0, Some(byte))][how];
        drop(bytes.splice(at..at + taken, put));
        if let Ok(text) = String::from_utf8(bytes)
            && is_plain_document(&text, "1")
        {
            prop_assert_eq!(in_full(&text, "1"), Some(text));
        }
    }
}
