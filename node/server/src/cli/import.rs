//! `holdfast import`: documents of a file into a collection.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path as FilePath, PathBuf};
use std::process::ExitCode;

use clap::Args;
use holdfast_core::id::{CollectionName, DatabaseName};
use holdfast_query::path::Path;
use indicatif::HumanCount;

use super::{EXIT_FAILED, EXIT_USAGE};
use crate::transfer::bad_rows::BadRows;
use crate::transfer::document_id::{Document, Identifier};
use crate::transfer::format::Format;
use crate::transfer::place::{
    DirectoryLoader, Loaded, Loader, NodeLoader, Place, PlaceArguments, PlaceError, open_directory, recorded_or,
};
use crate::transfer::progress::Progress;
use crate::transfer::read::{CsvOptions, RowError, rows};

/// Documents in one request or commit, unless another number is asked for.
const BATCH_NODE: usize = 1_000;
const BATCH_DIRECTORY: usize = 4_096;
const BATCH_MAX: usize = 10_000;
/// Bytes after which a batch is full whatever its number; one document may go beyond.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Arguments of `holdfast import`.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct ImportArguments {
    /// File with the documents; - is standard input
    file: PathBuf,
    /// Database to write into; created when it is not there
    #[arg(long, short = 'd', value_name = "NAME", value_parser = parse_database)]
    database: DatabaseName,
    /// Collection to write into
    #[arg(long, short = 'c', value_name = "NAME", value_parser = parse_collection)]
    collection: CollectionName,
    /// Field whose value is a document's id, such as customer_id or $.Customer.Code
    #[arg(long, value_name = "PATH", value_parser = parse_path)]
    id_field: Option<Path>,
    /// Format of the file [default: what its name says]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Character between two values of CSV; \t is a tab [default: a comma, a tab for .tsv]
    #[arg(long, value_name = "CHARACTER", value_parser = parse_delimiter)]
    delimiter: Option<u8>,
    /// Keep every value of CSV as text
    #[arg(long)]
    text: bool,
    /// Stop at the first bad row
    #[arg(long)]
    strict: bool,
    /// File that gets all bad rows, one per line
    #[arg(long, value_name = "FILE")]
    errors: Option<PathBuf>,
    /// Documents per request or commit [default: 1000 through a node, 4096 into a directory]
    #[arg(long, value_name = "NUMBER", value_parser = parse_batch)]
    batch: Option<usize>,
    #[command(flatten)]
    place: PlaceArguments,
}

const AFTER_HELP: &str = "\
Ids: the value at --id-field; else of a field Id, id or _id; else 32 hexadecimal digits made of the row's content, \
with -2, -3, … for equal rows. So an import can be repeated: it writes the same documents again, not others.

CSV: 7, 12.00 and true become numbers and truth values with the very same text, nothing becomes null; 00042 and \
its whole column stay text, as does everything in quotes.

Exit codes: 0 all rows, 1 some rows or nothing, 2 the command line is wrong.";

/// Imports a file.
pub(super) fn run(arguments: ImportArguments) -> ExitCode {
    let Some(format) = arguments.format.or_else(|| Format::of_file(&arguments.file)) else {
        return refuse("the file's name does not tell its format; add --format csv, json or ndjson");
    };
    let source = match open(&arguments.file) {
        Ok(source) => source,
        Err(error) => return failed(&format!("{} cannot be read: {error}", arguments.file.display())),
    };
    let bad = match BadRows::open(arguments.errors.as_deref()) {
        Ok(bad) => bad,
        Err(error) => return failed(&format!("the file of --errors cannot be written: {error}")),
    };
    let loader = match loader(&arguments) {
        Ok(loader) => loader,
        Err(error) => return failed(&error.0),
    };
    let progress = Progress::start(source.bytes);
    let delimiter = arguments.delimiter.unwrap_or_else(|| Format::delimiter_of_file(&arguments.file));
    let batch_max = arguments.batch.unwrap_or(match loader {
        Loader::Node(_) => BATCH_NODE,
        Loader::Directory(_) => BATCH_DIRECTORY,
    });
    let mut import =
        Import { loader, progress, bad, counts: Counts::default(), is_strict: arguments.strict, batch_max };
    let csv = CsvOptions { delimiter, is_all_text: arguments.text };
    let identifier = Identifier::new(arguments.id_field);
    let source = import.progress.counted(source.reader);
    let ended = import.read(source, format, csv, identifier);
    import.report(ended)
}

/// A file that is about to be read.
struct Source {
    reader: Box<dyn Read>,
    bytes: Option<u64>,
}

fn open(path: &FilePath) -> io::Result<Source> {
    if path == FilePath::new("-") {
        return Ok(Source { reader: Box::new(io::stdin()), bytes: None });
    }
    let file = File::open(path)?;
    let about = file.metadata()?;
    if about.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"));
    }
    Ok(Source { reader: Box::new(file), bytes: about.is_file().then_some(about.len()) })
}

fn loader(arguments: &ImportArguments) -> Result<Loader, PlaceError> {
    match arguments.place.place(Some(&arguments.database))? {
        Place::Directory { path, node } => {
            let node = recorded_or(&path, &node)?;
            let directory = open_directory(&path, &node, "import")?;
            let loader = DirectoryLoader::open(directory, &arguments.database, arguments.collection.clone())?;
            Ok(Loader::Directory(Box::new(loader)))
        }
        Place::Node { runtime, client } => {
            Ok(Loader::Node(Box::new(NodeLoader::new(runtime, client, arguments.collection.as_str()))))
        }
    }
}

#[derive(Debug, Default)]
struct Counts {
    rows: u64,
    written: u64,
    unchanged: u64,
}

/// One import under way.
struct Import {
    loader: Loader,
    progress: Progress,
    bad: BadRows,
    counts: Counts,
    is_strict: bool,
    batch_max: usize,
}

/// Why an import ended before the end of its file.
enum Stop {
    /// A bad row, with `--strict`.
    Strict,
    /// Something that no further row would get past.
    Failed(String),
}

impl From<PlaceError> for Stop {
    fn from(error: PlaceError) -> Self {
        Self::Failed(error.0)
    }
}

impl Import {
    fn read(
        &mut self,
        source: impl Read + 'static,
        format: Format,
        csv: CsvOptions,
        mut identifier: Identifier,
    ) -> Result<(), Stop> {
        let rows = rows(source, format, csv).map_err(|error| Stop::Failed(error.to_string()))?;
        let mut batch = Vec::new();
        let mut bytes = 0;
        let mut read = Ok(());
        for row in rows {
            self.counts.rows += 1;
            let document = row.and_then(|row| identifier.document(row).map_err(RowError::from));
            match document {
                Ok(document) => {
                    bytes += document.text.as_str().len();
                    batch.push(document);
                }
                Err(RowError::Bad(bad)) => read = self.bad_row(&bad),
                Err(error) => read = Err(Stop::Failed(error.to_string())),
            }
            if read.is_err() {
                break;
            }
            if batch.len() >= self.batch_max || bytes >= BATCH_BYTES {
                bytes = 0;
                self.write(std::mem::take(&mut batch))?;
            }
        }
        // What stands before the row that stopped the import is written all the same.
        if !batch.is_empty() {
            self.write(batch)?;
        }
        let loaded = self.loader.finish()?;
        self.take_in(loaded)?;
        read
    }

    fn write(&mut self, batch: Vec<Document>) -> Result<(), Stop> {
        let loaded = self.loader.write(batch)?;
        self.take_in(loaded)
    }

    fn take_in(&mut self, loaded: Loaded) -> Result<(), Stop> {
        self.counts.written += loaded.written;
        self.counts.unchanged += loaded.unchanged;
        self.progress.advance(loaded.written + loaded.unchanged);
        loaded.refused.iter().try_for_each(|bad| self.bad_row(bad))
    }

    fn bad_row(&mut self, bad: &crate::transfer::read::BadRow) -> Result<(), Stop> {
        let failed = |error| Stop::Failed(format!("the file of --errors cannot be written: {error}"));
        self.bad.report(bad, &self.progress).map_err(failed)?;
        if self.is_strict { Err(Stop::Strict) } else { Ok(()) }
    }

    fn report(mut self, ended: Result<(), Stop>) -> ExitCode {
        self.progress.finish();
        let kept = self.bad.finish();
        let counts = &self.counts;
        let unchanged = match counts.unchanged {
            0 => String::new(),
            unchanged => format!(", {} there already", HumanCount(unchanged)),
        };
        let summary = format!(
            "{} rows: {} written{unchanged}, {} bad, in {:.2} s ({} rows/s)",
            HumanCount(counts.rows),
            HumanCount(counts.written),
            HumanCount(self.bad.count()),
            self.progress.elapsed().as_secs_f64(),
            HumanCount(self.progress.rows_per_second()),
        );
        let _ = writeln!(io::stdout(), "{summary}");
        match ended {
            Err(Stop::Failed(reason)) => {
                return failed(&format!("{reason}\nStopped; what is written stays, and the import can be repeated."));
            }
            Err(Stop::Strict) => return failed("stopped at a bad row, because of --strict; what is written stays."),
            Ok(()) => {}
        }
        if let Err(error) = kept {
            return failed(&format!("the file of --errors cannot be written: {error}"));
        }
        if self.bad.count() > 0 { ExitCode::from(EXIT_FAILED) } else { ExitCode::SUCCESS }
    }
}

fn refuse(reason: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "holdfast: {reason}");
    ExitCode::from(EXIT_USAGE)
}

fn failed(reason: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "holdfast: {reason}");
    ExitCode::from(EXIT_FAILED)
}

pub(super) fn parse_database(text: &str) -> Result<DatabaseName, String> {
    DatabaseName::parse(text).map_err(|refusal| refusal.to_string())
}

pub(super) fn parse_collection(text: &str) -> Result<CollectionName, String> {
    CollectionName::parse(text).map_err(|refusal| refusal.to_string())
}

/// Reads the character between two values.
pub(super) fn parse_delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"\\t" | b"\t" => Ok(b'\t'),
        [byte] if byte.is_ascii_punctuation() && *byte != b'"' || *byte == b' ' => Ok(*byte),
        _ => Err("must be one character such as ; or | or \\t".to_owned()),
    }
}

fn parse_path(text: &str) -> Result<Path, String> {
    // A column's name may hold what a path may not.
    Path::parse(text).or_else(|error| {
        let is_path = text.contains(['.', '[', '$']) || text.trim().is_empty();
        if is_path { Err(error.to_string()) } else { Ok(Path::of_field(text)) }
    })
}

fn parse_batch(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=BATCH_MAX).contains(number));
    number.ok_or_else(|| format!("must be a number from 1 to {BATCH_MAX}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{parse_batch, parse_delimiter, parse_path};

    #[test]
    fn flags_say_what_to_write() {
        assert_eq!(parse_delimiter(";").unwrap(), b';');
        assert_eq!(parse_delimiter("\\t").unwrap(), b'\t');
        assert!(parse_delimiter("ab").is_err() && parse_delimiter("\"").is_err() && parse_delimiter("").is_err());
        assert_eq!(parse_path("MPAA Rating").unwrap().to_string(), "$['MPAA Rating']");
        assert_eq!(parse_path("a.b").unwrap().to_string(), "$.a.b");
        assert!(parse_path("a..b").is_err());
        assert!(parse_batch("0").is_err() && parse_batch("10001").is_err());
    }
}
