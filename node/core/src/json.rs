//! Documents as JSON: what is accepted, how it is kept, how a patch changes it.
//!
//! A document is kept as compact JSON text ([`JsonText`]), so that a read answers with the stored bytes.
//! Keys keep their order and case, and numbers the very text they were sent with: `12.00` comes back as
//! `12.00`, and an integer of twenty digits as itself.

mod plain;

use serde_json::{Map, Value};

use crate::error::Refusal;
use crate::id::DocumentId;
use crate::json::plain::is_plain_document;
use crate::limits::{DOCUMENT_BYTES_MAX, DOCUMENT_DEPTH_MAX, NUMBER_BYTES_MAX};

/// The field that carries a document's id inside the document.
pub const ID_FIELD: &str = "Id";

/// A JSON object as compact text. Holding one means that it was checked.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct JsonText(String);

impl JsonText {
    /// The object without fields.
    pub fn empty() -> Self {
        Self("{}".to_owned())
    }

    /// Writes an object as text. The caller has checked it, or built it from checked parts.
    pub fn from_object(object: &Map<String, Value>) -> Self {
        Self(serde_json::to_string(object).unwrap_or_else(|_| String::from("{}")))
    }

    /// Checks text from a peer or a file: one JSON object within the limits; white space is dropped.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let object = parse_object(text.as_bytes())?;
        Ok(Self::from_object(&object))
    }

    /// Checks a document from a peer: as [`Self::parse`], and it carries its own id as every stored one does.
    pub fn parse_document(text: &str, id: &DocumentId) -> Result<Self, Refusal> {
        // Most often it is as this node would write it; then nothing is to be made of it.
        if is_plain_document(text, id.as_str()) {
            return Ok(Self(text.to_owned()));
        }
        Self::parse_document_in_full(text, id)
    }

    /// The same, whatever the text looks like.
    fn parse_document_in_full(text: &str, id: &DocumentId) -> Result<Self, Refusal> {
        let object = parse_object(text.as_bytes())?;
        if !carries_id(&object, id) {
            return Err(Refusal::invalid(
                "invalid-document",
                "The document does not carry its id, or carries a reserved field.",
            ));
        }
        Ok(Self::from_object(&object))
    }

    /// Takes text back that this type has written before, from a record whose checksum holds.
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text itself.
    pub fn into_string(self) -> String {
        self.0
    }

    /// The object, for changing it.
    pub fn to_object(&self) -> Map<String, Value> {
        serde_json::from_str(&self.0).unwrap_or_default()
    }
}

/// Reads one JSON object and checks its size, depth and numbers.
pub fn parse_object(bytes: &[u8]) -> Result<Map<String, Value>, Refusal> {
    match parse_value(bytes)? {
        Value::Object(object) => Ok(object),
        _ => Err(Refusal::invalid("not-an-object", "Body must be a JSON object.")),
    }
}

/// Reads one JSON value and checks its size, depth and numbers.
pub fn parse_value(bytes: &[u8]) -> Result<Value, Refusal> {
    if bytes.len() > DOCUMENT_BYTES_MAX {
        return Err(Refusal::TooLarge { what: "document", bytes: bytes.len(), limit: DOCUMENT_BYTES_MAX });
    }
    refuse_private_keys(bytes)?;
    let value: Value = serde_json::from_slice(bytes).map_err(|error| malformed(&error))?;
    check(&value, 1)?;
    Ok(value)
}

/// What the JSON reader puts before the keys under which it hands numbers and raw text to itself.
const PRIVATE_KEYS: &str = "$serde_json::private::";

/// Refuses JSON text with a key that the JSON reader would take for a number or a piece of raw text of its own,
/// so that `{"$serde_json::private::Number":"12"}` never becomes `12`.
pub fn refuse_private_keys(text: &[u8]) -> Result<(), Refusal> {
    // Such a key begins with a dollar sign, plain or escaped; most texts hold neither.
    if !text.contains(&b'$') && !text.contains(&b'\\') {
        return Ok(());
    }
    let is_private = |key: &[u8]| {
        if key.contains(&b'\\') {
            serde_json::from_slice::<String>(key).is_ok_and(|key| key.starts_with(PRIVATE_KEYS))
        } else {
            key.get(1..).is_some_and(|key| key.starts_with(PRIVATE_KEYS.as_bytes()))
        }
    };
    if keys(text).any(|(_, key)| is_private(key)) {
        return Err(Refusal::invalid(
            "reserved-key",
            format!("Keys that begin with '{PRIVATE_KEYS}' cannot be stored. Rename the field."),
        ));
    }
    Ok(())
}

/// The keys of all objects in JSON text, in the order of the text: where each begins, and its text with quotes
/// and escapes as written. Text that is not JSON gives some keys or none.
pub fn keys(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let start = at + text.get(at..)?.iter().position(|byte| *byte == b'"')?;
            let mut end = start + 1;
            while *text.get(end)? != b'"' {
                end += if text.get(end) == Some(&b'\\') { 2 } else { 1 };
            }
            at = end + 1;
            let next = text.get(at..)?.iter().find(|byte| !byte.is_ascii_whitespace());
            if next == Some(&b':') {
                return Some((start, text.get(start..at)?));
            }
        }
    })
}

/// The refusal for text that is not JSON, with the place and no part of the text.
pub fn malformed(error: &serde_json::Error) -> Refusal {
    let too_deep = error.to_string().contains("recursion limit");
    if too_deep {
        return nested_too_deep();
    }
    let place =
        if error.line() > 0 { format!(" at line {} column {}", error.line(), error.column()) } else { String::new() };
    let reason = error.to_string();
    let reason = reason.split(" at line ").next().unwrap_or("syntax error");
    Refusal::invalid("malformed-json", format!("The body is not valid JSON{place}: {reason}."))
}

fn nested_too_deep() -> Refusal {
    Refusal::invalid(
        "nested-too-deep",
        format!("The document is nested deeper than {DOCUMENT_DEPTH_MAX} levels. Flatten it."),
    )
}

/// Checks depth and numbers of a value that was built rather than read.
pub fn check(value: &Value, depth: usize) -> Result<(), Refusal> {
    if depth > DOCUMENT_DEPTH_MAX {
        return Err(nested_too_deep());
    }
    match value {
        Value::Number(number) => {
            let text = number.as_str();
            // Short plain numbers are always finite; only exponents and long texts need the slow check.
            let plain = text.len() <= 17 && !text.bytes().any(|b| matches!(b, b'e' | b'E'));
            if !plain && (text.len() > NUMBER_BYTES_MAX || !number.as_f64().is_some_and(f64::is_finite)) {
                return Err(Refusal::invalid(
                    "number-out-of-range",
                    "A number is too large or too long. Send it as a string if every digit matters.",
                ));
            }
            Ok(())
        }
        Value::Array(items) => items.iter().try_for_each(|item| check(item, depth + 1)),
        Value::Object(object) => object.values().try_for_each(|item| check(item, depth + 1)),
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(()),
    }
}

/// Whether a top-level name is one that the node keeps for itself: `_id` and `_sys_*`, in any case.
pub fn is_kept_name(key: &str) -> bool {
    key.eq_ignore_ascii_case("_id") || key.get(..5).is_some_and(|head| head.eq_ignore_ascii_case("_sys_"))
}

/// Makes sure that a document carries its own id, and nothing under the names that the node keeps.
///
/// A document that has an id field in any spelling (`id`, `Id`, `ID`), equal to `id`, and no other kept
/// name stays as it was sent. Otherwise every top-level `Id`, `_id` and `_sys_*` goes, in any case, and
/// `"Id"` is added at the end.
pub fn with_id(mut object: Map<String, Value>, id: &DocumentId) -> Map<String, Value> {
    if carries_id(&object, id) {
        return object;
    }
    object.retain(|key, _| !key.eq_ignore_ascii_case(ID_FIELD) && !is_kept_name(key));
    object.insert(ID_FIELD.to_owned(), Value::String(id.as_str().to_owned()));
    object
}

/// Whether a document carries its own id exactly once, and nothing under the names that the node keeps.
fn carries_id(object: &Map<String, Value>, id: &DocumentId) -> bool {
    let mut has_id = false;
    for (key, value) in object {
        if key.eq_ignore_ascii_case(ID_FIELD) {
            if has_id || value.as_str() != Some(id.as_str()) {
                return false;
            }
            has_id = true;
        } else if is_kept_name(key) {
            return false;
        }
    }
    has_id
}

/// Applies a JSON merge patch (RFC 7396) to an object.
pub fn merge_patch(target: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (key, change) in patch {
        match change {
            Value::Null => {
                target.shift_remove(key);
            }
            Value::Object(inner) => {
                let slot = target.entry(key.clone()).or_insert(Value::Null);
                if !slot.is_object() {
                    *slot = Value::Object(Map::new());
                }
                if let Value::Object(inner_target) = slot {
                    merge_patch(inner_target, inner);
                }
            }
            other => {
                target.insert(key.clone(), other.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn object(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(object) => object,
            _ => panic!("not an object"),
        }
    }

    #[test]
    fn numbers_keys_and_their_order_come_back_as_they_were_sent() {
        let text = r#"{"b":12.00,"a":12345678901234567890123,"A":1e-12,"z":-0.0}"#;
        assert_eq!(JsonText::parse(text).unwrap().as_str(), text);
    }

    #[test]
    fn white_space_goes_and_the_rest_stays() {
        let parsed = JsonText::parse(" {\n \"a\" : [ 1 , \"x y\" ] } ").unwrap();
        assert_eq!(parsed.as_str(), r#"{"a":[1,"x y"]}"#);
    }

    #[test]
    fn what_cannot_be_kept_exactly_is_refused_with_a_reason() {
        let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
        let nearly = format!("{{\"a\":{}1{}}}", "[".repeat(110), "]".repeat(110));
        for (text, code) in [
            ("{\"a\":1e999}", "number-out-of-range"),
            ("{\"a\":", "malformed-json"),
            ("[1]", "not-an-object"),
            ("{\"a\":1} x", "malformed-json"),
            (deep.as_str(), "nested-too-deep"),
            (nearly.as_str(), "nested-too-deep"),
        ] {
            assert_eq!(JsonText::parse(text).unwrap_err().code(), code, "{text:.40}");
        }
    }

    #[test]
    fn keys_of_the_json_reader_itself_are_refused_and_the_same_text_as_a_value_is_kept() {
        for text in [
            r#"{"a":{"$serde_json::private::Number":"12"}}"#,
            r#"{"a":[{"$serde_json::private::RawValue" : "[1]"}]}"#,
            r#"{"a":{"\u0024serde_json::private::Number":"12"}}"#,
            r#"{"a":{"$serde_json::\u0070rivate::Number":"12"}}"#,
            r#"{"a":"\"","$serde_json::private::Number":"12"}"#,
        ] {
            assert_eq!(JsonText::parse(text).unwrap_err().code(), "reserved-key", "{text}");
        }
        for text in [r#"{"a":"$serde_json::private::Number"}"#, r#"{"$inc":{"a\\":"\":"}}"#] {
            assert_eq!(JsonText::parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn a_document_carries_its_route_id_exactly_once() {
        let id = DocumentId::parse("a1").unwrap();
        let same = |value: Value| serde_json::to_string(&with_id(object(value), &id)).unwrap();
        assert_eq!(same(json!({"id": "a1", "x": 1})), r#"{"id":"a1","x":1}"#);
        assert_eq!(same(json!({"Id": "", "x": 1})), r#"{"x":1,"Id":"a1"}"#);
        assert_eq!(same(json!({"_id": 7, "_SYS_v": 1, "ID": "a1", "x": 1})), r#"{"x":1,"Id":"a1"}"#);
        assert_eq!(same(json!({"id": "a1", "Id": "a1"})), r#"{"Id":"a1"}"#);
    }

    #[test]
    fn merge_patch_follows_the_examples_of_rfc_7396() {
        for (target, patch, result) in [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}}), json!({"a":{"b":"d"}})),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
        ] {
            let mut merged = object(target);
            merge_patch(&mut merged, &object(patch));
            assert_eq!(Value::Object(merged), result);
        }
    }
}
