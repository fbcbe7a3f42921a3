//! Which fields documents have, from a few of them: paths as a statement names them.

use serde_json::Value;

use super::completion::{is_plain, quoted};

/// Deepest path that is offered, and how many.
const DEPTH_MAX: usize = 4;
const PATHS_MAX: usize = 500;

/// The paths of some documents, each once: `Customer.Name`, `Items[*].Sku`.
pub(super) fn paths<'document>(documents: impl IntoIterator<Item = &'document Value>) -> Vec<String> {
    let mut found = Vec::new();
    for document in documents {
        add(document, "", 0, &mut found);
    }
    found
}

fn add(value: &Value, path: &str, depth: usize, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) if depth < DEPTH_MAX => {
            for (name, value) in fields.iter().filter(|(name, _)| !name.is_empty()) {
                let path = match path {
                    "" => quoted(name),
                    // A path of odd names is quicker typed than looked for.
                    _ if !is_plain(name) => continue,
                    _ => format!("{path}.{name}"),
                };
                if found.len() >= PATHS_MAX {
                    return;
                }
                if !found.contains(&path) {
                    found.push(path.clone());
                }
                add(value, &path, depth + 1, found);
            }
        }
        Value::Array(items) => items.iter().take(1).for_each(|item| add(item, &format!("{path}[*]"), depth, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::paths;

    #[test]
    fn paths_go_into_objects_and_lists() {
        let documents = [
            json!({"Id": "1", "Customer": {"Name": "a", "e mail": "b"}, "Items": [{"Sku": "x"}, 7], "Ship To": 1}),
            json!({"Id": "2", "Late": [[1]], "a": {"b": {"c": {"d": {"e": 1}}}}}),
        ];
        let expected = [
            "Id",
            "Customer",
            "Customer.Name",
            "Items",
            "Items[*].Sku",
            "`Ship To`",
            "Late",
            "a",
            "a.b",
            "a.b.c",
            "a.b.c.d",
        ];
        assert_eq!(paths(&documents), expected);
    }

    #[test]
    fn a_document_with_very_many_fields_gives_some() {
        let wide = (0..5_000).map(|number| (format!("f{number}"), json!(1))).collect();
        assert_eq!(paths(&[wide]).len(), 500);
    }
}
