//! The objects of a JSON array, one after another, without ever holding the array.
//!
//! A scanner finds where each element ends, by quotes and brackets alone; the element itself is then read by
//! the same reader as any document. So an element that is wrong spoils itself only. Objects that follow each
//! other without an array, as some programs write them, are taken too.

use std::io;

use holdfast_core::json::parse_object;

use super::bytes::Bytes;
use super::{BadRow, ROW_BYTES_MAX, Row, RowError};

/// The rows of a JSON array.
pub(super) struct JsonRows {
    bytes: Bytes,
    place: Place,
}

/// Where the scanner stands.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// Before everything.
    Start,
    /// In the array, before its first element.
    ArrayStart,
    /// In the array, behind a comma.
    BehindComma,
    /// In the array, behind an element.
    BehindElement,
    /// In a file of objects without an array.
    Bare,
    /// Behind the array.
    Closed,
    /// Nothing more is said.
    Ended,
}

impl JsonRows {
    /// Begins to read.
    pub(super) fn new(bytes: Bytes) -> Self {
        Self { bytes, place: Place::Start }
    }

    fn row(&mut self) -> Result<Option<Row>, RowError> {
        loop {
            self.pass_white_space()?;
            let line = self.bytes.line();
            let Some(byte) = self.bytes.peek()? else { return self.end(line) };
            match (self.place, byte) {
                (Place::Ended, _) => return Ok(None),
                (Place::Start, b'[') => self.take(Place::ArrayStart)?,
                (Place::Start, b'{') => self.place = Place::Bare,
                (Place::Start, _) => {
                    self.place = Place::Ended;
                    return Err(RowError::NotRows(
                        "the file does not begin with [ or {: it is no JSON array of objects".to_owned(),
                    ));
                }
                (Place::ArrayStart | Place::BehindElement, b']') => self.take(Place::Closed)?,
                (Place::BehindComma, b']') => {
                    self.take(Place::Closed)?;
                    return Err(BadRow::new(line, "a comma stands before the end of the array").into());
                }
                (Place::BehindElement, b',') => self.take(Place::BehindComma)?,
                (Place::BehindElement, _) => {
                    // The element is taken all the same; the next turn reads it.
                    self.place = Place::BehindComma;
                    return Err(BadRow::new(line, "a comma is missing before this element").into());
                }
                (Place::ArrayStart | Place::BehindComma, b',') => {
                    self.take(Place::BehindComma)?;
                    return Err(BadRow::new(line, "an element is missing before the comma").into());
                }
                (Place::ArrayStart | Place::BehindComma, _) => {
                    self.place = Place::BehindElement;
                    return self.element(line).map(Some);
                }
                (Place::Bare, _) => return self.element(line).map(Some),
                (Place::Closed, _) => {
                    self.place = Place::Ended;
                    return Err(BadRow::new(line, "something follows the end of the array; it was left out").into());
                }
            }
        }
    }

    fn end(&mut self, line: u64) -> Result<Option<Row>, RowError> {
        let is_cut_off = matches!(self.place, Place::ArrayStart | Place::BehindComma | Place::BehindElement);
        self.place = Place::Ended;
        if is_cut_off {
            return Err(BadRow::new(line, "the file ends inside the array; was it cut off?").into());
        }
        Ok(None)
    }

    fn take(&mut self, place: Place) -> io::Result<()> {
        self.place = place;
        self.bytes.next().map(drop)
    }

    fn pass_white_space(&mut self) -> io::Result<()> {
        while self.bytes.peek()?.is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.bytes.next()?;
        }
        Ok(())
    }

    /// Reads one element, up to what follows it.
    fn element(&mut self, line: u64) -> Result<Row, RowError> {
        let mut text = Vec::new();
        let (mut depth, mut in_quotes, mut is_escaped, mut fits) = (0_u64, false, false, true);
        while let Some(byte) = self.bytes.peek()? {
            let ends_before = depth == 0 && !in_quotes && is_boundary(byte) && !text.is_empty();
            if ends_before {
                break;
            }
            self.bytes.next()?;
            if text.len() < ROW_BYTES_MAX {
                text.push(byte);
            } else {
                fits = false;
            }
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' if in_quotes => is_escaped = true,
                b'"' => in_quotes = !in_quotes,
                b'{' | b'[' if !in_quotes => depth += 1,
                b'}' | b']' if !in_quotes => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        break;
                    }
                }
                _ => {}
            }
        }
        if !fits {
            return Err(BadRow::new(line, format!("the element has more than {ROW_BYTES_MAX} bytes")).into());
        }
        if depth > 0 || in_quotes {
            self.place = Place::Ended;
            return Err(BadRow::new(line, "the file ends inside this element; was it cut off?").into());
        }
        let object = parse_object(&text).map_err(|refusal| BadRow::new(line, refusal.to_string()))?;
        Ok(Row { line, object })
    }
}

fn is_boundary(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, b',' | b']')
}

impl Iterator for JsonRows {
    type Item = Result<Row, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.row().transpose()
    }
}
