//! CSV as RFC 4180 has it: a line of names, then a row for each document.
//!
//! It differs from the usual readers in three ways that an import needs: it knows which values were quoted (those
//! stay text), it counts lines exactly whatever their ends are, and a quote that is never closed costs a bounded
//! amount of memory.
//!
//! The first rows are looked at before any is handed out, to see which columns hold codes such as `00042`: a
//! column of customer numbers must not be text here and a number there.

use std::collections::VecDeque;
use std::io;

use serde_json::{Map, Value};

use super::bytes::Bytes;
use super::{BadRow, CsvOptions, ROW_BYTES_MAX, Row, RowError};
use crate::transfer::csv_cell::{Kind, kind_of, value_of};

/// How far is looked ahead for codes.
const SAMPLE_ROWS_MAX: usize = 1_000;
const SAMPLE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The most columns that a file may have.
const COLUMNS_MAX: usize = 10_000;

/// The rows of a CSV file.
pub(super) struct CsvRows {
    bytes: Bytes,
    options: CsvOptions,
    columns: Vec<Column>,
    sample: VecDeque<Result<Record, BadRow>>,
}

struct Column {
    name: String,
    /// A code was seen in it.
    is_code: bool,
}

struct Record {
    line: u64,
    cells: Vec<Cell>,
}

#[derive(Default)]
struct Cell {
    text: String,
    is_quoted: bool,
}

impl CsvRows {
    /// Reads the names and looks at the first rows.
    pub(super) fn open(bytes: Bytes, options: CsvOptions) -> Result<Self, RowError> {
        let mut rows = Self { bytes, options, columns: Vec::new(), sample: VecDeque::new() };
        let Some(header) = rows.record()? else { return Ok(rows) };
        rows.columns = columns(header?.cells)?;
        let mut bytes_read = 0;
        while rows.sample.len() < SAMPLE_ROWS_MAX && bytes_read < SAMPLE_BYTES_MAX {
            let Some(record) = rows.record()? else { break };
            if let Ok(record) = &record {
                bytes_read += record.cells.iter().map(|cell| cell.text.len()).sum::<usize>();
                rows.note_codes(record);
            }
            rows.sample.push_back(record);
        }
        Ok(rows)
    }

    fn row(&mut self) -> Result<Option<Row>, RowError> {
        let record = match self.sample.pop_front() {
            Some(record) => record,
            None => match self.record()? {
                Some(record) => record,
                None => return Ok(None),
            },
        };
        let record = record?;
        if record.cells.len() != self.columns.len() {
            let reason = format!("it has {} values where there are {} columns", record.cells.len(), self.columns.len());
            return Err(BadRow::new(record.line, reason).into());
        }
        self.note_codes(&record);
        let is_all_text = self.options.is_all_text;
        let value = |column: &Column, cell: Cell| match cell {
            Cell { text, is_quoted: true } => Value::String(text),
            Cell { text, .. } if text.is_empty() && !is_all_text => Value::Null,
            Cell { text, .. } if is_all_text || column.is_code => Value::String(text),
            Cell { text, .. } => value_of(text),
        };
        let fields = self.columns.iter().zip(record.cells);
        let object: Map<String, Value> =
            fields.map(|(column, cell)| (column.name.clone(), value(column, cell))).collect();
        Ok(Some(Row { line: record.line, object }))
    }

    fn note_codes(&mut self, record: &Record) {
        for (column, cell) in self.columns.iter_mut().zip(&record.cells) {
            column.is_code = column.is_code || (!cell.is_quoted && kind_of(&cell.text) == Kind::Code);
        }
    }

    /// The next record; `None` at the end of the file.
    fn record(&mut self) -> Result<Option<Result<Record, BadRow>>, RowError> {
        while self.bytes.peek()?.is_some_and(|byte| matches!(byte, b'\r' | b'\n')) {
            self.bytes.next()?;
        }
        if self.bytes.peek()?.is_none() {
            return Ok(None);
        }
        let line = self.bytes.line();
        let mut reading = Reading { bytes: &mut self.bytes, delimiter: self.options.delimiter, left: ROW_BYTES_MAX };
        let cells = reading.cells()?;
        Ok(Some(cells.map(|cells| Record { line, cells }).map_err(|reason| BadRow::new(line, reason))))
    }
}

impl Iterator for CsvRows {
    type Item = Result<Row, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.row().transpose()
    }
}

fn columns(header: Vec<Cell>) -> Result<Vec<Column>, RowError> {
    let mut columns: Vec<Column> = Vec::with_capacity(header.len());
    for (index, cell) in header.into_iter().enumerate() {
        let name = if cell.text.trim().is_empty() { format!("column_{}", index + 1) } else { cell.text };
        if columns.iter().any(|column| column.name == name) {
            return Err(RowError::NotRows(format!("two columns are called '{name}'; rename one of them")));
        }
        columns.push(Column { name, is_code: false });
    }
    Ok(columns)
}

/// One record while it is being read.
struct Reading<'b> {
    bytes: &'b mut Bytes,
    delimiter: u8,
    /// Bytes that the record may still have.
    left: usize,
}

/// What ended a cell.
enum CellEnd {
    Delimiter,
    Record,
    /// The record cannot be used; it has been passed over.
    Bad(String),
}

impl Reading<'_> {
    fn cells(&mut self) -> io::Result<Result<Vec<Cell>, String>> {
        let mut cells = Vec::new();
        loop {
            let mut text = Vec::new();
            let is_quoted = self.bytes.peek()? == Some(b'"');
            let end = if is_quoted { self.quoted(&mut text)? } else { self.plain(&mut text)? };
            if let CellEnd::Bad(reason) = end {
                return Ok(Err(reason));
            }
            let Ok(text) = String::from_utf8(text) else {
                if matches!(end, CellEnd::Delimiter) {
                    self.pass_line()?;
                }
                return Ok(Err(format!("value {} is not UTF-8; save the file as UTF-8", cells.len() + 1)));
            };
            cells.push(Cell { text, is_quoted });
            if matches!(end, CellEnd::Record) {
                return Ok(Ok(cells));
            }
            if cells.len() >= COLUMNS_MAX {
                self.pass_line()?;
                return Ok(Err(format!("it has more than {COLUMNS_MAX} values")));
            }
        }
    }

    fn plain(&mut self, text: &mut Vec<u8>) -> io::Result<CellEnd> {
        loop {
            match self.bytes.next()? {
                Some(byte) if byte == self.delimiter => return Ok(CellEnd::Delimiter),
                None | Some(b'\n') => {
                    if text.last() == Some(&b'\r') {
                        text.pop();
                    }
                    return Ok(CellEnd::Record);
                }
                Some(byte) => {
                    if !self.keep(text, byte) {
                        return self.too_long();
                    }
                }
            }
        }
    }

    fn quoted(&mut self, text: &mut Vec<u8>) -> io::Result<CellEnd> {
        self.bytes.next()?;
        loop {
            match self.bytes.next()? {
                None => return Ok(CellEnd::Bad("a quote is opened and never closed".to_owned())),
                Some(b'"') if self.bytes.peek()? == Some(b'"') => {
                    self.bytes.next()?;
                    if !self.keep(text, b'"') {
                        return self.too_long();
                    }
                }
                Some(b'"') => break,
                Some(byte) => {
                    if !self.keep(text, byte) {
                        return self.too_long();
                    }
                }
            }
        }
        match self.bytes.next()? {
            Some(byte) if byte == self.delimiter => Ok(CellEnd::Delimiter),
            None | Some(b'\n') => Ok(CellEnd::Record),
            Some(b'\r') if matches!(self.bytes.peek()?, None | Some(b'\n')) => {
                self.bytes.next()?;
                Ok(CellEnd::Record)
            }
            Some(_) => {
                self.pass_line()?;
                Ok(CellEnd::Bad("text follows a closing quote; write a quote inside quotes twice".to_owned()))
            }
        }
    }

    fn keep(&mut self, text: &mut Vec<u8>, byte: u8) -> bool {
        let has_room = self.left > 0;
        if has_room {
            self.left -= 1;
            text.push(byte);
        }
        has_room
    }

    /// Goes on behind the end of the line, which is where another row is most likely to begin.
    fn too_long(&mut self) -> io::Result<CellEnd> {
        self.pass_line()?;
        Ok(CellEnd::Bad(format!("it has more than {ROW_BYTES_MAX} bytes; is a closing quote missing?")))
    }

    fn pass_line(&mut self) -> io::Result<()> {
        self.bytes.rest_of_line(&mut Vec::new(), 0).map(drop)
    }
}
