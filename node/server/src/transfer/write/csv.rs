//! Documents as CSV, so that an import makes the same values of it again.
//!
//! | value | cell |
//! |---|---|
//! | text that reads as nothing but text | as it is, in quotes only where CSV needs them |
//! | any other text, the empty one included | in quotes, which is how an import knows it is text |
//! | number, truth value | as it is |
//! | `null`, no such field | nothing |
//! | object, list | its JSON in quotes; an import makes a text of it |

use std::io::{self, Write};

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::Losses;
use crate::transfer::csv_cell::{Kind, kind_of};

/// How many documents decide the columns.
const SAMPLE_DOCUMENTS_MAX: usize = 1_000;
const SAMPLE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Writes documents as CSV.
pub(crate) struct CsvWriter<W: Write> {
    out: W,
    delimiter: u8,
    columns: Vec<String>,
    /// Documents that wait until the columns are known.
    sample: Vec<Map<String, Value>>,
    sample_bytes: usize,
    has_header: bool,
    /// Columns that were asked for leave fields out on purpose.
    is_chosen: bool,
    losses: Losses,
}

impl<W: Write> CsvWriter<W> {
    /// Prepares to write.
    pub(super) fn new(out: W, columns: Option<Vec<String>>, delimiter: u8) -> Self {
        let is_chosen = columns.is_some();
        Self {
            out,
            delimiter,
            columns: columns.unwrap_or_default(),
            sample: Vec::new(),
            sample_bytes: 0,
            has_header: false,
            is_chosen,
            losses: Losses::default(),
        }
    }

    /// Writes one document, or keeps it until the columns are known.
    pub(super) fn write(&mut self, document: &RawValue) -> io::Result<()> {
        let object: Map<String, Value> = serde_json::from_str(document.get())?;
        if self.has_header {
            return self.row(&object);
        }
        self.sample_bytes += document.get().len();
        self.sample.push(object);
        let is_enough = self.sample.len() >= SAMPLE_DOCUMENTS_MAX || self.sample_bytes >= SAMPLE_BYTES_MAX;
        if self.is_chosen || is_enough { self.begin() } else { Ok(()) }
    }

    /// Sends on what was written so far.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Writes what still waits.
    pub(super) fn finish(mut self) -> io::Result<(W, Losses)> {
        if !self.has_header {
            self.begin()?;
        }
        Ok((self.out, self.losses))
    }

    fn begin(&mut self) -> io::Result<()> {
        let sample = std::mem::take(&mut self.sample);
        if !self.is_chosen {
            let mut seen = std::collections::HashSet::new();
            let names = sample.iter().flat_map(Map::keys);
            self.columns = names.filter(|name| seen.insert(name.as_str())).cloned().collect();
        }
        self.has_header = true;
        let names = std::mem::take(&mut self.columns);
        for (index, name) in names.iter().enumerate() {
            self.separate(index)?;
            self.text(name, false)?;
        }
        self.columns = names;
        if !self.columns.is_empty() {
            self.out.write_all(b"\n")?;
        }
        sample.iter().try_for_each(|object| self.row(object))
    }

    fn row(&mut self, object: &Map<String, Value>) -> io::Result<()> {
        let columns = std::mem::take(&mut self.columns);
        let mut found = 0;
        for (index, name) in columns.iter().enumerate() {
            self.separate(index)?;
            let value = object.get(name);
            found += usize::from(value.is_some());
            match value {
                None | Some(Value::Null) => {}
                Some(Value::Bool(switch)) => write!(self.out, "{switch}")?,
                Some(Value::Number(number)) => write!(self.out, "{number}")?,
                Some(Value::String(text)) => self.text(text, kind_of(text) != Kind::Text)?,
                Some(nested) => {
                    self.losses.nested += 1;
                    self.text(&nested.to_string(), true)?;
                }
            }
        }
        self.losses.beyond_columns += u64::from(!self.is_chosen && found < object.len());
        // A line with nothing on it would be no row at all.
        if columns.len() == 1 && found == 0 {
            self.out.write_all(b"\"\"")?;
        }
        self.columns = columns;
        self.out.write_all(b"\n")
    }

    fn separate(&mut self, index: usize) -> io::Result<()> {
        if index > 0 { self.out.write_all(&[self.delimiter]) } else { Ok(()) }
    }

    fn text(&mut self, text: &str, is_quoted: bool) -> io::Result<()> {
        let is_special = |byte: u8| byte == self.delimiter || matches!(byte, b'"' | b'\n' | b'\r');
        if is_quoted || text.is_empty() || text.bytes().any(is_special) {
            return write!(self.out, "\"{}\"", text.replace('"', "\"\""));
        }
        self.out.write_all(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::value::to_raw_value;
    use serde_json::{Value, json};

    use super::{CsvWriter, Losses};

    fn written(documents: &[Value], columns: Option<&[&str]>) -> (String, Losses) {
        let columns = columns.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        let mut writer = CsvWriter::new(Vec::new(), columns, b',');
        for document in documents {
            writer.write(&to_raw_value(document).unwrap()).unwrap();
        }
        let (out, losses) = writer.finish().unwrap();
        (String::from_utf8(out).unwrap(), losses)
    }

    #[test]
    fn text_that_could_be_taken_for_something_else_is_quoted() {
        let (text, losses) = written(
            &[json!({"a": "x", "b": "12", "c": "", "d": null, "e": "007", "f": "a,\"b\""}), json!({"g": 1.50})],
            None,
        );
        assert_eq!(text, "a,b,c,d,e,f,g\nx,\"12\",\"\",,\"007\",\"a,\"\"b\"\"\",\n,,,,,,1.5\n");
        assert_eq!(losses, Losses::default());
    }

    #[test]
    fn what_a_column_cannot_hold_is_counted() {
        let (text, losses) = written(&[json!({"a": [1], "b": true})], Some(&["a"]));
        assert_eq!((text.as_str(), losses.nested), ("a\n\"[1]\"\n", 1));
        let mut many: Vec<Value> = (0..1_000).map(|number| json!({"n": number})).collect();
        many.push(json!({"n": 1, "late": 2}));
        assert_eq!(written(&many, None).1.beyond_columns, 1);
    }

    #[test]
    fn nothing_at_all_is_an_empty_file() {
        assert_eq!(written(&[], None).0, "");
        assert_eq!(written(&[], Some(&["a", "b"])).0, "a,b\n");
    }
}
