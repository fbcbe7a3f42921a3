//! The bytes of a file one by one, with the line that each is on.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use super::RowError;

const BUFFER_BYTES: usize = 256 * 1024;
const UTF8_MARK: &[u8] = &[0xEF, 0xBB, 0xBF];

/// A file being read.
pub(crate) struct Bytes {
    inner: BufReader<Box<dyn Read>>,
    line: u64,
}

impl Bytes {
    /// Begins to read, behind the mark that some programs put before UTF-8.
    pub(crate) fn open(mut source: Box<dyn Read>) -> Result<Self, RowError> {
        let mut head = Vec::new();
        source.by_ref().take(UTF8_MARK.len() as u64).read_to_end(&mut head)?;
        if head.starts_with(&[0xFF, 0xFE]) || head.starts_with(&[0xFE, 0xFF]) {
            return Err(RowError::NotRows("the file is UTF-16; save it as UTF-8 first".to_owned()));
        }
        if head == UTF8_MARK {
            head.clear();
        }
        let whole: Box<dyn Read> = Box::new(Cursor::new(head).chain(source));
        Ok(Self { inner: BufReader::with_capacity(BUFFER_BYTES, whole), line: 1 })
    }

    /// The line of the next byte, from 1.
    pub(crate) fn line(&self) -> u64 {
        self.line
    }

    /// The next byte, which stays.
    pub(crate) fn peek(&mut self) -> io::Result<Option<u8>> {
        Ok(self.chunk()?.first().copied())
    }

    /// The next byte.
    pub(crate) fn next(&mut self) -> io::Result<Option<u8>> {
        let next = self.peek()?;
        if let Some(byte) = next {
            self.inner.consume(1);
            self.line += u64::from(byte == b'\n');
        }
        Ok(next)
    }

    /// Appends the rest of the line to `out`, without its end, as far as `out` then stays within `bytes_max`.
    /// Answers whether all of it found room.
    pub(crate) fn rest_of_line(&mut self, out: &mut Vec<u8>, bytes_max: usize) -> io::Result<bool> {
        let mut fits = true;
        loop {
            let chunk = self.chunk()?;
            if chunk.is_empty() {
                return Ok(fits);
            }
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let part = chunk.get(..end.unwrap_or(chunk.len())).unwrap_or_default();
            if out.len() + part.len() <= bytes_max {
                out.extend_from_slice(part);
            } else {
                fits = false;
            }
            let used = part.len() + usize::from(end.is_some());
            self.inner.consume(used);
            if end.is_some() {
                self.line += 1;
                return Ok(fits);
            }
        }
    }

    fn chunk(&mut self) -> io::Result<&[u8]> {
        // Checked first and borrowed again after, because a signal may interrupt a slow source.
        loop {
            match self.inner.fill_buf() {
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.inner.buffer())
    }
}
