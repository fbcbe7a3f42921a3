//! Rows that could not be used: shown as they come, the first ones, and counted.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::progress::Progress;
use super::read::BadRow;

/// How many are shown; a file may have all of them.
const SHOWN_MAX: u64 = 20;

/// The bad rows of one import.
#[derive(Debug, Default)]
pub(crate) struct BadRows {
    count: u64,
    file: Option<BufWriter<File>>,
}

impl BadRows {
    /// Begins to count; all of them also go into a file, if one is given.
    pub(crate) fn open(file: Option<&Path>) -> io::Result<Self> {
        let file = file.map(File::create).transpose()?.map(BufWriter::new);
        Ok(Self { count: 0, file })
    }

    /// Reports one.
    pub(crate) fn report(&mut self, bad: &BadRow, progress: &Progress) -> io::Result<()> {
        self.count += 1;
        if self.count <= SHOWN_MAX {
            progress.say(&bad.to_string());
        }
        if self.count == SHOWN_MAX + 1 {
            let advice = if self.file.is_some() { "" } else { "; --errors FILE keeps all" };
            progress.say(&format!("more bad rows are counted, not shown{advice}"));
        }
        self.file.as_mut().map_or(Ok(()), |file| writeln!(file, "{bad}"))
    }

    /// How many there were.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Makes sure that the file has them all.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Write::flush)
    }
}
