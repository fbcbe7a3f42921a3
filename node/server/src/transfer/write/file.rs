//! Where an export writes: standard output, or a file that appears when it is whole.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

const BUFFER_BYTES: usize = 256 * 1024;

/// The output of one export.
pub(crate) struct Output {
    inner: BufWriter<Box<dyn Write>>,
    places: Option<Places>,
}

struct Places {
    beside: PathBuf,
    target: PathBuf,
}

impl Output {
    /// Opens it; `-` is standard output.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self { inner: buffered(Box::new(io::stdout())), places: None });
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".partial");
        let beside = path.with_file_name(name);
        let file = File::create(&beside)?;
        Ok(Self { inner: buffered(Box::new(file)), places: Some(Places { beside, target: path.to_owned() }) })
    }

    /// Puts the file in its place.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.inner.flush()?;
        match self.places.take() {
            Some(places) => {
                // Closed first: Windows moves no file that is open.
                drop(self.inner);
                fs::rename(places.beside, places.target)
            }
            None => Ok(()),
        }
    }
}

fn buffered(inner: Box<dyn Write>) -> BufWriter<Box<dyn Write>> {
    BufWriter::with_capacity(BUFFER_BYTES, inner)
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
