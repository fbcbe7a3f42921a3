//! The formats of files with documents.

use std::path::Path;

use clap::ValueEnum;

/// How documents stand in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A line of names, then a line of values for each document
    Csv,
    /// An array of objects
    Json,
    /// One object per line
    #[value(alias = "jsonl")]
    Ndjson,
}

impl Format {
    /// What the end of a file's name says; `None` when it says nothing.
    pub(crate) fn of_file(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        match ending.as_str() {
            "csv" | "tsv" => Some(Self::Csv),
            "json" => Some(Self::Json),
            "ndjson" | "jsonl" => Some(Self::Ndjson),
            _ => None,
        }
    }

    /// The character between two values, unless another is asked for.
    pub(crate) fn delimiter_of_file(path: &Path) -> u8 {
        let is_tabbed = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("tsv"));
        if is_tabbed { b'\t' } else { b',' }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Format;

    #[test]
    fn the_end_of_the_name_tells_the_format() {
        for (name, format) in [
            ("a.csv", Some(Format::Csv)),
            ("a.TSV", Some(Format::Csv)),
            ("b.c.json", Some(Format::Json)),
            ("x.jsonl", Some(Format::Ndjson)),
            ("x.NDJSON", Some(Format::Ndjson)),
            ("-", None),
            ("x.txt", None),
        ] {
            assert_eq!(Format::of_file(Path::new(name)), format, "{name}");
        }
    }
}
