//! The path of an index: a path into a document that may go through all items of arrays.
//!
//! ```text
//!   $.Customer.Name      one value
//!   $.Items[*].Sku       one value for each item
//! ```

use std::fmt;
use std::str::FromStr;

use crate::error::Refusal;
use crate::path::{PATH_BYTES_MAX, Path};

/// A path whose parts lead from one array's items to the next array.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IndexPath {
    /// From the document to the first array, from each of its items on, and so on. Never empty.
    segments: Vec<Path>,
}

/// What stands for all items of an array.
const ALL_ITEMS: &str = "[*]";

impl IndexPath {
    /// Reads a path. Without `[*]` it is what [`Path::parse`] takes.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let refuse = |reason: String| Refusal::invalid("invalid-index-path", reason);
        let text = text.trim();
        if text.len() > PATH_BYTES_MAX {
            return Err(refuse(format!("A path of an index has more than {PATH_BYTES_MAX} bytes.")));
        }
        let mut segments = Vec::new();
        for (place, part) in split_at_all_items(text).into_iter().enumerate() {
            let path = if place == 0 { Path::parse(part) } else { Path::parse(&format!("${part}")) };
            let path = path.map_err(|error| refuse(format!("'{text}' is no path of an index: {error}")))?;
            segments.push(path);
        }
        if segments.first().is_none_or(|first| first.steps().is_empty()) {
            return Err(refuse(format!(
                "'{text}' names no field. Write one such as $.Customer.Code or $.Items[*].Sku."
            )));
        }
        Ok(Self { segments })
    }

    /// From the document to the first array, then from an item on each time.
    pub fn segments(&self) -> &[Path] {
        &self.segments
    }

    /// Whether it goes through all items of an array.
    pub fn has_items(&self) -> bool {
        self.segments.len() > 1
    }
}

/// Cuts a path at each `[*]` that is not part of a quoted name.
fn split_at_all_items(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut at) = (0, 0);
    let mut quote = None;
    while let Some(rest) = text.get(at..) {
        let Some(next) = rest.chars().next() else { break };
        match (quote, next) {
            (None, '[') if rest.starts_with(ALL_ITEMS) => {
                parts.push(text.get(start..at).unwrap_or_default());
                at += ALL_ITEMS.len();
                start = at;
                continue;
            }
            (None, '\'' | '"') => quote = Some(next),
            (Some(open), _) if next == open => quote = None,
            // The character behind a backslash means itself.
            (Some(_), '\\') => at += rest.chars().nth(1).map_or(0, char::len_utf8),
            _ => {}
        }
        at += next.len_utf8();
    }
    parts.push(text.get(start..).unwrap_or_default());
    parts
}

impl FromStr for IndexPath {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        Self::parse(text)
    }
}

/// Prints the canonical form.
impl fmt::Display for IndexPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, segment) in self.segments.iter().enumerate() {
            let text = segment.to_string();
            if place == 0 {
                f.write_str(&text)?;
            } else {
                write!(f, "{ALL_ITEMS}{}", text.strip_prefix('$').unwrap_or(&text))?;
            }
        }
        Ok(())
    }
}
