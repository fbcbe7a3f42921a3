//! `holdfast export`: the documents of a collection into a file.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use holdfast_core::id::{CollectionName, DatabaseName};
use indicatif::HumanCount;

use super::import::{parse_collection, parse_database, parse_delimiter};
use super::{EXIT_FAILED, EXIT_USAGE};
use crate::transfer::format::Format;
use crate::transfer::place::{
    DirectoryPages, NodePages, Pages, Place, PlaceArguments, PlaceError, open_directory, recorded_or,
};
use crate::transfer::progress::Progress;
use crate::transfer::write::{DocumentWriter, Losses, Output};

/// Arguments of `holdfast export`.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct ExportArguments {
    /// Database to read
    #[arg(long, short = 'd', value_name = "NAME", value_parser = parse_database)]
    database: DatabaseName,
    /// Collection to read
    #[arg(long, short = 'c', value_name = "NAME", value_parser = parse_collection)]
    collection: CollectionName,
    /// File to write; - is standard output
    #[arg(long, short = 'o', value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// Format of the file [default: what its name says, else ndjson]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Columns of CSV, separated by commas [default: the fields of the first 1000 documents]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    columns: Option<Vec<String>>,
    /// Character between two values of CSV; \t is a tab [default: a comma, a tab for .tsv]
    #[arg(long, value_name = "CHARACTER", value_parser = parse_delimiter)]
    delimiter: Option<u8>,
    #[command(flatten)]
    place: PlaceArguments,
}

const AFTER_HELP: &str = "\
JSON and NDJSON hold every document as it is stored. CSV holds documents without objects or lists in them; those \
become JSON text.

Exit codes: 0 done, 1 could not be done, 2 the command line is wrong.";

/// Exports a collection.
pub(super) fn run(arguments: ExportArguments) -> ExitCode {
    let format = arguments.format.or_else(|| Format::of_file(&arguments.output)).unwrap_or(Format::Ndjson);
    if arguments.columns.is_some() && format != Format::Csv {
        let _ = writeln!(io::stderr(), "holdfast: --columns is for CSV; add --format csv");
        return ExitCode::from(EXIT_USAGE);
    }
    let mut progress = Progress::start(None);
    let exported = export(&arguments, format, &mut progress);
    progress.finish();
    match exported {
        Ok(Exported { documents, losses }) => {
            for line in warnings(losses) {
                progress.say(&line);
            }
            progress.say(&format!(
                "{} documents exported in {:.2} s",
                HumanCount(documents),
                progress.elapsed().as_secs_f64()
            ));
            ExitCode::SUCCESS
        }
        Err(error) => {
            progress.say(&format!("holdfast: {}", error.0));
            ExitCode::from(EXIT_FAILED)
        }
    }
}

struct Exported {
    documents: u64,
    losses: Losses,
}

fn export(arguments: &ExportArguments, format: Format, progress: &mut Progress) -> Result<Exported, PlaceError> {
    let mut pages = pages(arguments)?;
    let path = arguments.output.as_path();
    let unwritable = |error| PlaceError::new(format!("{} cannot be written: {error}", shown(path)));
    let output = Output::open(path).map_err(unwritable)?;
    let delimiter = arguments.delimiter.unwrap_or_else(|| Format::delimiter_of_file(path));
    let mut writer = DocumentWriter::new(output, format, arguments.columns.clone(), delimiter);
    let mut documents = 0;
    while let Some(page) = pages.next()? {
        for document in &page {
            writer.write(document).map_err(unwritable)?;
        }
        documents += page.len() as u64;
        progress.advance(page.len() as u64);
    }
    let (output, losses) = writer.finish().map_err(unwritable)?;
    output.finish().map_err(unwritable)?;
    Ok(Exported { documents, losses })
}

fn pages(arguments: &ExportArguments) -> Result<Pages, PlaceError> {
    match arguments.place.place(Some(&arguments.database))? {
        Place::Directory { path, node } => {
            if !path.is_dir() {
                return Err(PlaceError::new(format!("there is no data directory {}", path.display())));
            }
            let directory = open_directory(&path, &recorded_or(&path, &node)?, "export")?;
            let pages = DirectoryPages::open(directory, &arguments.database, arguments.collection.clone())?;
            Ok(Pages::Directory(Box::new(pages)))
        }
        Place::Node { runtime, client } => {
            Ok(Pages::Node(Box::new(NodePages::new(runtime, client, arguments.collection.as_str()))))
        }
    }
}

fn shown(path: &Path) -> String {
    if path == Path::new("-") { "standard output".to_owned() } else { path.display().to_string() }
}

fn warnings(losses: Losses) -> Vec<String> {
    let mut lines = Vec::new();
    if losses.nested > 0 {
        lines.push(format!(
            "{} objects and lists became JSON text; json and ndjson keep them as they are",
            HumanCount(losses.nested)
        ));
    }
    if losses.beyond_columns > 0 {
        lines.push(format!(
            "{} documents have fields without a column, which were left out; name the columns with --columns",
            HumanCount(losses.beyond_columns)
        ));
    }
    lines
}
