//! Rows on their way through a query: a document per source, read as lazily as can be.
//!
//! ```text
//!   document's text ─► Reader ─► tests on the text alone ─► Loaded: the stretches that terms ask for
//!                                                        └► a value of the fields that expressions ask for, when one does
//! ```
//!
//! A plain path, the id and a constant are answered from the text or without it ([`Term`]). Everything else is computed
//! from a value, which holds only the top-level fields that any expression of the statement names.
//!
//! **What stays true.** A term gives what its expression would give on the whole document.

use std::cell::OnceCell;
use std::ops::Range;
use std::rc::Rc;

use holdfast_core::collation::{Case, Kind as ValueKind, encode, encode_missing, encode_string, encode_text};
use holdfast_core::error::Refusal;
use holdfast_core::id::DocumentId;
use holdfast_core::json_reader::Places;
use holdfast_core::path::{Path, Step};
use holdfast_storage::error::StorageError;
use holdfast_storage::scan::ScannedDocument;
use serde_json::{Map, Value};

use crate::failure::Failure;
use crate::language::expression::{Expression, Kind, PathExpression, PathStep};
use crate::run::test::Test;
use crate::value::Compute;

/// A document as a source hands it out.
// Nearly all are stored ones, so that their size is the size of all.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub(crate) enum Body {
    /// Where it lies in the store.
    Stored(ScannedDocument),
    /// A row that was made: of what the node tells about itself, or of a group.
    Made {
        /// What it is called among its like.
        id: String,
        /// Its JSON text.
        text: Vec<u8>,
    },
}

impl Body {
    pub(crate) fn id(&self) -> Result<&str, StorageError> {
        match self {
            Self::Stored(document) => document.id(),
            Self::Made { id, .. } => Ok(id),
        }
    }

    pub(crate) fn document_id(&self) -> Result<DocumentId, Failure> {
        match self {
            Self::Stored(document) => Ok(document.document_id()?),
            Self::Made { id, .. } => DocumentId::parse(id).map_err(|refusal: Refusal| {
                Failure::refused(refusal.code(), refusal.to_string(), "Name another collection.")
            }),
        }
    }

    pub(crate) fn text(&self) -> &[u8] {
        match self {
            Self::Stored(document) => document.text(),
            Self::Made { text, .. } => text,
        }
    }
}

/// What is read of the documents of one source.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    paths: Vec<Path>,
    places: Places,
    /// Asked on the text alone, before anything is made of it.
    tests: Vec<Test>,
    wanted: Wanted,
}

/// What expressions that are computed from a value ask of a document.
#[derive(Debug, Default)]
struct Wanted {
    /// Everything.
    whole: bool,
    /// The id.
    id: bool,
    /// Top-level fields, with the number of their path.
    fields: Vec<(Box<str>, usize)>,
}

impl Reader {
    /// A reader for expressions that are computed from whole documents.
    pub(crate) fn of_whole_documents() -> Self {
        Self { wanted: Wanted { whole: true, ..Wanted::default() }, ..Self::default() }
    }

    /// The number of a path, whose stretch every row then has.
    pub(crate) fn slot(&mut self, path: Path) -> usize {
        if let Some(known) = self.paths.iter().position(|known| *known == path) {
            return known;
        }
        self.paths.push(path);
        self.paths.len() - 1
    }

    /// Whether documents are read in full for every expression.
    fn is_whole(&self) -> bool {
        self.wanted.whole
    }

    pub(crate) fn add_test(&mut self, test: Test) {
        self.tests.push(test);
    }

    /// Notes what a path in a computed expression asks for.
    fn want(&mut self, path: &PathExpression) {
        if path.is_document_id() {
            self.wanted.id = true;
            return;
        }
        match path.steps.first() {
            Some(PathStep::Member(name)) => {
                if !self.wanted.fields.iter().any(|(known, _)| known == name) {
                    let slot = self.slot(Path::of_field(name));
                    self.wanted.fields.push((name.clone(), slot));
                }
            }
            _ => self.wanted.whole = true,
        }
    }

    /// Nothing more is noted from here on.
    pub(crate) fn seal(&mut self) {
        self.places = Places::new(&self.paths);
    }

    /// The row of a document, if it passes the tests.
    pub(crate) fn load(&self, body: Body) -> Result<Option<Rc<Loaded>>, Failure> {
        let slots = {
            let mut found = Vec::with_capacity(self.paths.len());
            let text = body.text();
            self.places
                .find(text, &mut found)
                .map_err(|reason| StorageError::damaged(format!("document {}", body.id().unwrap_or("?")), reason))?;
            for test in &self.tests {
                if test.holds(&found, body.id()?) != Some(true) {
                    return Ok(None);
                }
            }
            found.into_iter().map(|stretch| stretch.and_then(|stretch| place_in(text, stretch))).collect()
        };
        Ok(Some(Rc::new(Loaded { body, slots, value: OnceCell::new() })))
    }
}

/// Where a stretch of a text begins and ends in it.
fn place_in(text: &[u8], stretch: &[u8]) -> Option<Range<usize>> {
    let start = (stretch.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
    Some(start..start + stretch.len())
}

/// A document that a row holds.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) body: Body,
    slots: Vec<Option<Range<usize>>>,
    value: OnceCell<Value>,
}

impl Loaded {
    /// The stretch of text at a path of the reader.
    fn slot(&self, slot: usize) -> Option<&[u8]> {
        let range = self.slots.get(slot)?.clone()?;
        self.body.text().get(range)
    }

    /// What computed expressions see of it.
    fn value(&self, reader: &Reader) -> Result<&Value, Failure> {
        if let Some(value) = self.value.get() {
            return Ok(value);
        }
        let parse = |text: &[u8]| -> Result<Value, Failure> {
            let place = || format!("document {}", self.body.id().unwrap_or("?"));
            Ok(serde_json::from_slice(text).map_err(|_| StorageError::damaged(place(), "its text is no JSON"))?)
        };
        let value = if reader.is_whole() {
            parse(self.body.text())?
        } else {
            let mut object = Map::new();
            if reader.wanted.id {
                object.insert("Id".to_owned(), Value::String(self.body.id()?.to_owned()));
            }
            for (name, slot) in &reader.wanted.fields {
                if let Some(text) = self.slot(*slot) {
                    object.insert(name.to_string(), parse(text)?);
                }
            }
            Value::Object(object)
        };
        Ok(self.value.get_or_init(|| value))
    }

    /// Bytes that it takes, roughly.
    pub(crate) fn bytes(&self) -> usize {
        self.body.text().len() + self.slots.len() * 24 + 256
    }
}

/// One row: a document for each source, `None` where an outer join found no partner.
pub(crate) type Row = [Option<Rc<Loaded>>];

/// A value of a row, by the shortest way.
#[derive(Debug, Clone)]
pub(crate) enum Term {
    /// The id of a source's document.
    Id(usize),
    /// The text of a source's document.
    Whole(usize),
    /// What stands at a path of a source.
    Slot(usize, usize),
    /// The same for every row.
    Constant(Option<Value>),
    /// Computed.
    Computed(Box<Expression>),
}

/// The readers of all sources.
pub(crate) type Readers = [Reader];

impl Term {
    /// The shortest way to an expression's value; what it needs is noted with the readers.
    pub(crate) fn of(expression: &Expression, readers: &mut Readers, optimises: bool) -> Self {
        match &expression.kind {
            Kind::Literal(value) => Self::Constant(Some(value.clone())),
            Kind::Missing => Self::Constant(None),
            Kind::Path(path) if optimises && !path.names_many() => Self::of_path(path, readers),
            _ => Self::computed(expression, readers),
        }
    }

    fn of_path(path: &PathExpression, readers: &mut Readers) -> Self {
        if path.is_document_id() {
            return Self::Id(path.source);
        }
        let Some(reader) = readers.get_mut(path.source) else { return Self::Constant(None) };
        match plain_path(path) {
            Some(plain) if !plain.steps().is_empty() => Self::Slot(path.source, reader.slot(plain)),
            _ => Self::Whole(path.source),
        }
    }

    /// Computed from values; what they have to hold is noted.
    pub(crate) fn computed(expression: &Expression, readers: &mut Readers) -> Self {
        expression.any(&mut |part| {
            if let Kind::Path(path) = &part.kind
                && let Some(reader) = readers.get_mut(path.source)
            {
                reader.want(path);
            }
            false
        });
        Self::Computed(Box::new(expression.clone()))
    }

    /// The value; `None` when it is missing.
    pub(crate) fn value(&self, row: &Row, readers: &Readers, compute: &Compute<'_>) -> Result<Option<Value>, Failure> {
        let parse = |text: &[u8]| {
            serde_json::from_slice(text)
                .map(Some)
                .map_err(|_| StorageError::damaged("a document", "its text is no JSON"))
        };
        match self {
            Self::Constant(value) => Ok(value.clone()),
            Self::Computed(expression) => computed(expression, row, readers, compute),
            Self::Id(source) => match of_source(row, *source) {
                Some(loaded) => Ok(Some(Value::String(loaded.body.id()?.to_owned()))),
                None => Ok(None),
            },
            Self::Whole(_) | Self::Slot(..) => Ok(self.text(row).map(parse).transpose()?.flatten()),
        }
    }

    /// The JSON text where one is at hand.
    pub(crate) fn text<'row>(&self, row: &'row Row) -> Option<&'row [u8]> {
        match self {
            Self::Whole(source) => Some(of_source(row, *source)?.body.text()),
            Self::Slot(source, slot) => of_source(row, *source)?.slot(*slot),
            Self::Id(_) | Self::Constant(_) | Self::Computed(_) => None,
        }
    }

    /// Appends the value's encoding, which sorts as values do.
    pub(crate) fn encode(
        &self,
        row: &Row,
        readers: &Readers,
        compute: &Compute<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        match self {
            Self::Whole(_) | Self::Slot(..) => match self.text(row) {
                Some(text) if encode_text(text, Case::Exact, out) => {}
                Some(_) => return Err(StorageError::damaged("a document", "its text is no JSON").into()),
                None => encode_missing(out),
            },
            Self::Id(source) => match of_source(row, *source) {
                Some(loaded) => encode_string(loaded.body.id()?, Case::Exact, out),
                None => encode_missing(out),
            },
            Self::Constant(_) | Self::Computed(_) => match self.value(row, readers, compute)? {
                Some(value) => encode(&value, Case::Exact, out),
                None => encode_missing(out),
            },
        }
        Ok(())
    }

    /// As [`Self::encode`] for what is shown: there, missing is null.
    pub(crate) fn encode_shown(
        &self,
        row: &Row,
        readers: &Readers,
        compute: &Compute<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let start = out.len();
        self.encode(row, readers, compute, out)?;
        let is_missing = out.get(start..).and_then(ValueKind::of_encoded) == Some(ValueKind::Missing);
        if is_missing {
            out.truncate(start);
            encode(&Value::Null, Case::Exact, out);
        }
        Ok(())
    }

    /// Appends the value's JSON text; `false` when it is missing, and nothing was appended.
    pub(crate) fn write(
        &self,
        row: &Row,
        readers: &Readers,
        compute: &Compute<'_>,
        out: &mut Vec<u8>,
    ) -> Result<bool, Failure> {
        match self {
            Self::Whole(_) | Self::Slot(..) => {
                let Some(text) = self.text(row) else { return Ok(false) };
                out.extend_from_slice(text);
            }
            Self::Id(_) | Self::Constant(_) | Self::Computed(_) => {
                let Some(value) = self.value(row, readers, compute)? else { return Ok(false) };
                write_value(&value, out);
            }
        }
        Ok(true)
    }
}

/// Appends a value's JSON text.
pub(crate) fn write_value(value: &Value, out: &mut Vec<u8>) {
    // Writing a value into memory cannot fail.
    let _ = serde_json::to_writer(out, value);
}

/// Computes an expression for a row.
pub(crate) fn computed(
    expression: &Expression,
    row: &Row,
    readers: &Readers,
    compute: &Compute<'_>,
) -> Result<Option<Value>, Failure> {
    Ok(compute.value(expression, &values_of(row, readers)?)?)
}

/// Whether an expression is true for a row; unknown is not.
pub(crate) fn holds(
    expression: &Expression,
    row: &Row,
    readers: &Readers,
    compute: &Compute<'_>,
) -> Result<bool, Failure> {
    Ok(compute.holds(expression, &values_of(row, readers)?)?)
}

/// What expressions see of each source.
fn values_of<'row>(row: &'row Row, readers: &Readers) -> Result<Vec<Option<&'row Value>>, Failure> {
    let each = row
        .iter()
        .zip(readers)
        .map(|(loaded, reader)| loaded.as_deref().map(|loaded| loaded.value(reader)).transpose());
    each.collect()
}

fn of_source(row: &Row, source: usize) -> Option<&Loaded> {
    row.get(source)?.as_deref()
}

/// A path that names one value, as documents know it.
pub(crate) fn plain_path(path: &PathExpression) -> Option<Path> {
    let steps = path.steps.iter().map(|step| match step {
        PathStep::Member(name) => Some(Step::Member(name.clone())),
        PathStep::Index(index) => usize::try_from(*index).ok().map(Step::Index),
        PathStep::Each => None,
    });
    steps.collect::<Option<Vec<_>>>().map(Path::of_steps)
}
