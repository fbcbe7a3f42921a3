//! Partners of a row in a joined collection: by id, or from a table of that collection's documents.
//!
//! **What stays true.** Missing and null have no partner. Values that are equal are partners, however they are written.
//! A table takes memory from the budget before it is filled.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use holdfast_core::collation::{Kind, encoded_len};
use holdfast_core::id::{CollectionName, DocumentId};
use holdfast_storage::indexes::IndexState;
use serde_json::Value;

use crate::budget::Budget;
use crate::failure::Failure;
use crate::language::statement::JoinKind;
use crate::run::row::{Loaded, Readers, Row, Term};
use crate::value::Compute;

/// A joined source, ready to be asked for partners.
#[derive(Debug)]
pub(crate) struct Joined {
    pub(crate) kind: JoinKind,
    /// What has to be equal, computed from the sources before.
    pub(crate) earlier: Vec<Term>,
    pub(crate) way: Way,
}

/// How partners are found.
#[derive(Debug)]
pub(crate) enum Way {
    /// In a table.
    Table(Table),
    /// By the id that the earlier term of this number gives; the others are compared.
    ById { collection: CollectionName, number: usize, joined: Vec<Term> },
    /// By an index, whose first path has what the earlier term of this number gives.
    ByIndex { collection: CollectionName, index: Arc<IndexState>, number: usize, joined: Vec<Term> },
}

/// The documents of a joined source by what has to be equal.
#[derive(Debug)]
pub(crate) struct Table {
    /// What has to be equal, computed from this source.
    pub(crate) joined: Vec<Term>,
    rows: Vec<Rc<Loaded>>,
    places: HashMap<Box<[u8]>, Vec<usize>>,
    /// Which rows had a partner; looked at for right joins alone.
    met: RefCell<Vec<bool>>,
}

/// What a row in a table takes beside its document, roughly.
const ROW_BYTES: usize = 96;

impl Table {
    pub(crate) fn new(joined: Vec<Term>) -> Self {
        Self { joined, rows: Vec::new(), places: HashMap::new(), met: RefCell::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Puts a document in; `key` is what has to be equal, `None` if it can have no partner.
    pub(crate) fn put(
        &mut self,
        key: Option<Vec<u8>>,
        loaded: Rc<Loaded>,
        budget: &mut Budget<'_>,
    ) -> Result<(), Failure> {
        budget.hold(loaded.bytes() + key.as_ref().map_or(0, Vec::len) + ROW_BYTES)?;
        if let Some(key) = key {
            self.places.entry(key.into()).or_default().push(self.rows.len());
        }
        self.rows.push(loaded);
        self.met.get_mut().push(false);
        Ok(())
    }

    /// The documents with a key; they have a partner now.
    pub(crate) fn with(&self, key: &[u8]) -> Vec<Rc<Loaded>> {
        let places = self.places.get(key).map(Vec::as_slice).unwrap_or_default();
        let mut met = self.met.borrow_mut();
        let each = places.iter().filter_map(|place| {
            if let Some(met) = met.get_mut(*place) {
                *met = true;
            }
            self.rows.get(*place).map(Rc::clone)
        });
        each.collect()
    }

    /// All documents; they have a partner now.
    pub(crate) fn all(&self) -> Vec<Rc<Loaded>> {
        self.met.borrow_mut().fill(true);
        self.rows.clone()
    }

    /// The documents that had no partner.
    pub(crate) fn without_partner(&self) -> Vec<Rc<Loaded>> {
        let met = self.met.borrow();
        self.rows.iter().zip(met.iter()).filter(|(_, met)| !**met).map(|(row, _)| Rc::clone(row)).collect()
    }
}

/// What has to be equal, encoded; `None` when a part of it is missing or null, which is equal to nothing.
pub(crate) fn key_of(
    terms: &[Term],
    row: &Row,
    readers: &Readers,
    compute: &Compute<'_>,
) -> Result<Option<Vec<u8>>, Failure> {
    let mut key = Vec::new();
    for term in terms {
        let start = key.len();
        term.encode(row, readers, compute, &mut key)?;
        let value = key.get(start..).unwrap_or_default();
        debug_assert_eq!(encoded_len(value), Some(value.len()), "a term encodes one value");
        if matches!(Kind::of_encoded(value), Some(Kind::Missing | Kind::Null)) {
            return Ok(None);
        }
    }
    Ok(Some(key))
}

/// The id that a term gives, if it is one.
pub(crate) fn id_of(
    term: &Term,
    row: &Row,
    readers: &Readers,
    compute: &Compute<'_>,
) -> Result<Option<DocumentId>, Failure> {
    match term.value(row, readers, compute)? {
        Some(Value::String(id)) => Ok(DocumentId::parse(&id).ok()),
        _ => Ok(None),
    }
}
