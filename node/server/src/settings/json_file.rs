//! Reads one `appsettings*.json` into assignments.
//!
//! As in .NET, comments are allowed, a name may contain `:` to reach into a section, and a byte
//! order mark (left by editors on Windows) is skipped. A file is bounded before it is read.

use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::marker::PhantomData;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::layer::{Assignment, Scalar};
use super::problem::Problem;

/// Largest settings file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads a file; `None` when there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<Vec<Assignment>>, Problem> {
    let source = path.display().to_string();
    let refuse = |message: String| Problem::of_source(source.clone(), message);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(refuse(format!("cannot be opened: {error}; check that this user may read it")));
        }
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| refuse(format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(refuse(format!(
            "is larger than {FILE_BYTES_MAX} bytes; settings are far smaller, so this is probably another file"
        )));
    }
    let text = String::from_utf8(bytes).map_err(|_| refuse("is not UTF-8 text; save it as UTF-8".to_owned()))?;
    parse(&text, &source).map(Some)
}

/// Turns the text of a settings file into assignments.
pub(super) fn parse(text: &str, source: &str) -> Result<Vec<Assignment>, Problem> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let bare = without_comments(text);
    let invalid = |error| Problem::of_source(source, format!("is not valid JSON: {error}; correct it there"));
    // Reading it whole first bounds its depth.
    let value: Value = serde_json::from_str(&bare).map_err(invalid)?;
    if !value.is_object() {
        return Err(Problem::of_source(
            source,
            "must be a JSON object of sections, such as {\"Node\": {\"NodeId\": \"node-1\"}}",
        ));
    }
    let mut assignments = Vec::new();
    collect(&bare, &mut Vec::new(), source, &mut assignments).map_err(invalid)?;
    Ok(assignments)
}

/// The members of an object in their order, with those that are given twice: a map would keep the last one, silently.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor<'a>(PhantomData<&'a ()>);

        impl<'de: 'a, 'a> Visitor<'de> for MembersVisitor<'a> {
            type Value = Members<'a>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(MembersVisitor(PhantomData))
    }
}

/// Adds what a value that is known to be valid JSON, and of a bounded depth, assigns.
fn collect(text: &str, path: &mut Vec<String>, source: &str, out: &mut Vec<Assignment>) -> serde_json::Result<()> {
    match text.trim_start().as_bytes().first() {
        Some(b'{') => {
            let Members(members) = serde_json::from_str(text)?;
            if members.is_empty() && !path.is_empty() {
                out.push(Assignment::new(path, Scalar::Nothing, source));
            }
            for (name, member) in members {
                let depth = path.len();
                path.extend(name.split(':').map(str::to_owned));
                collect(member.get(), path, source, out)?;
                path.truncate(depth);
            }
        }
        Some(b'[') => {
            let elements: Vec<&RawValue> = serde_json::from_str(text)?;
            if elements.is_empty() {
                out.push(Assignment::new(path, Scalar::Nothing, source));
            }
            for (index, element) in elements.into_iter().enumerate() {
                path.push(index.to_string());
                collect(element.get(), path, source, out)?;
                path.pop();
            }
        }
        _ => {
            let value = match serde_json::from_str(text)? {
                Value::Bool(switch) => Scalar::Switch(switch),
                Value::Number(number) => Scalar::Number(number.to_string()),
                Value::String(text) => Scalar::Text(text),
                _ => Scalar::Nothing,
            };
            out.push(Assignment::new(path, value, source));
        }
    }
    Ok(())
}

/// Replaces comments by blanks, so that lines and columns of errors stay right.
fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    let mut in_string = false;
    while let Some(character) = rest.next() {
        match (in_string, character, rest.peek()) {
            (true, '\\', _) => {
                out.push(character);
                out.extend(rest.next());
            }
            (_, '"', _) => {
                in_string = !in_string;
                out.push(character);
            }
            (false, '/', Some('/')) => {
                out.push(' ');
                while let Some(skipped) = rest.next_if(|next| *next != '\n') {
                    out.extend(std::iter::repeat_n(' ', skipped.len_utf8()));
                }
            }
            (false, '/', Some('*')) => {
                // The star is taken first, so that `/*/` does not close what it opens.
                rest.next();
                out.push_str("  ");
                let mut last = ' ';
                for skipped in rest.by_ref() {
                    out.push(if skipped == '\n' { '\n' } else { ' ' });
                    if last == '*' && skipped == '/' {
                        break;
                    }
                    last = skipped;
                }
            }
            _ => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::{parse, read, without_comments};
    use crate::settings::layer::Scalar;

    #[test]
    fn sections_lists_and_colon_names_become_paths() {
        let found = parse("\u{feff}{\"A\": {\"B\": 1}, \"C:D\": [true, {\"E\": \"x\"}], \"F\": null}", "file").unwrap();
        let shown: Vec<_> = found.iter().map(|one| (one.path.join(":"), one.value.clone())).collect();
        assert_eq!(
            shown,
            vec![
                ("A:B".to_owned(), Scalar::Number("1".to_owned())),
                ("C:D:0".to_owned(), Scalar::Switch(true)),
                ("C:D:1:E".to_owned(), Scalar::Text("x".to_owned())),
                ("F".to_owned(), Scalar::Nothing),
            ]
        );
    }

    #[test]
    fn comments_are_blank_and_strings_keep_their_slashes() {
        let text = "{ // one\n \"a\": \"http://x/*y*/\\\"//\" /* two\n */ }";
        let bare = without_comments(text);
        assert_eq!(bare.matches('\n').count(), text.matches('\n').count());
        let value: serde_json::Value = serde_json::from_str(&bare).unwrap();
        assert_eq!(value["a"], "http://x/*y*/\"//");
        assert_eq!(without_comments("/*/ x */1").trim(), "1");
        assert_eq!(without_comments("/** x **/1").trim(), "1");
    }

    #[test]
    fn a_broken_file_is_named_with_line_and_column() {
        let problem = parse("{\n \"A\": }", "appsettings.json").unwrap_err();
        let shown = problem.to_string();
        assert!(shown.starts_with("appsettings.json: is not valid JSON"), "{shown}");
        assert!(shown.contains("line 2"), "{shown}");
        assert!(parse("[]", "f").unwrap_err().to_string().contains("JSON object"));
    }

    #[test]
    fn a_huge_file_is_refused_and_a_missing_one_is_no_problem() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("appsettings.json");
        assert!(read(&path).unwrap().is_none());
        std::fs::write(&path, vec![b' '; (1 << 20) + 1]).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("larger than"));
    }
}
