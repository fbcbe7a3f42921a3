//! Merging documents field by field, against what their writers started from.
//!
//! A field that one side changed is taken from it; one that several changed, from the last writer of them. Objects are
//! looked into, lists and everything else are one value. A field that was removed counts as changed.

use serde_json::{Map, Value};

/// Merges the sides, the last writer first, against their common ancestor; empty where there was none.
pub fn merge_fields(ancestor: &Map<String, Value>, sides: &[&Map<String, Value>]) -> Map<String, Value> {
    let mut merged = Map::new();
    // The last writer's order of fields first, then what others have besides.
    for key in sides.iter().flat_map(|side| side.keys()) {
        if merged.contains_key(key) {
            continue;
        }
        let values: Vec<Option<&Value>> = sides.iter().map(|side| side.get(key)).collect();
        if let Some(value) = merge_value(ancestor.get(key), &values) {
            merged.insert(key.clone(), value);
        }
    }
    merged
}

fn merge_value(ancestor: Option<&Value>, sides: &[Option<&Value>]) -> Option<Value> {
    let changed: Vec<Option<&Value>> = sides.iter().copied().filter(|side| *side != ancestor).collect();
    let Some(last) = changed.first().copied() else { return ancestor.cloned() };
    if changed.iter().all(|side| *side == last) {
        return last.cloned();
    }
    let objects: Vec<&Map<String, Value>> = changed.iter().filter_map(|side| side.and_then(Value::as_object)).collect();
    let before = match ancestor {
        None => Some(Map::new()),
        Some(Value::Object(object)) => Some(object.clone()),
        Some(_) => None,
    };
    match before {
        Some(before) if objects.len() == changed.len() => Some(Value::Object(merge_fields(&before, &objects))),
        _ => last.cloned(),
    }
}

/// What must be written so that a document with counters beside it shows `wanted`: fields that stay as they are shown
/// keep their base, so that what was counted stays beside them; all others are written over.
pub fn beneath(
    wanted: &Map<String, Value>,
    shown: &Map<String, Value>,
    base: &Map<String, Value>,
) -> Map<String, Value> {
    let mut written = Map::new();
    for (key, value) in wanted {
        let value = match (value, shown.get(key), base.get(key)) {
            (value, Some(seen), under) if seen == value => under.cloned(),
            (Value::Object(inner), Some(Value::Object(seen)), under) => {
                let empty = Map::new();
                let under = under.and_then(Value::as_object).unwrap_or(&empty);
                Some(Value::Object(beneath(inner, seen, under)))
            }
            (value, _, _) => Some(value.clone()),
        };
        if let Some(value) = value {
            written.insert(key.clone(), value);
        }
    }
    written
}

/// The fields in which two documents differ, as a merge patch names them: nulls where the second has none.
pub fn difference(before: &Map<String, Value>, after: &Map<String, Value>) -> Map<String, Value> {
    let mut patch = Map::new();
    for (key, value) in after {
        match (before.get(key), value) {
            (Some(was), value) if was == value => {}
            (Some(Value::Object(was)), Value::Object(inner)) => {
                patch.insert(key.clone(), Value::Object(difference(was, inner)));
            }
            (_, value) => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    patch
}
