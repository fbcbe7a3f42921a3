//! Dead letters: the parked operations of a database, as its data remembers them.
//!
//! What was parked, why and by whom stands in the log, in the operation itself; here is what has to be known of it
//! whenever something is written. Kept by commit and by replay alike, so that the data stays an image of the log.
//!
//! ```text
//!   letters  count · (position varint · dot · id u128 · flags u8 · [group id u128] · cause u8
//!                     · collection text · document text, empty for none) …
//! ```

use std::collections::BTreeMap;

use holdfast_core::id::{CollectionName, DocumentId, OperationId};
use holdfast_core::index::INDEXES_COLLECTION;
use holdfast_core::operation::{Operation, OperationKind};
use holdfast_core::sync::poison::{Cause, Parked};
use holdfast_core::vector::{Dot, Origin, Position, Sequence, Vector};

use crate::encoding::{DecodeError, Encode, Reader};
use crate::origins::Origins;
use crate::record;

const HAS_GROUP: u8 = 1;
const IS_WHOLE: u8 = 2;

/// A parked operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Its place in this node's log, which holds it until it is retried or settled.
    pub position: Position,
    /// Which operation it is.
    pub dot: Dot,
    /// Its id.
    pub id: OperationId,
    /// The transaction that it is part of.
    pub group: Option<OperationId>,
    /// Why it is parked.
    pub cause: Cause,
    /// The collection that it names.
    pub collection: CollectionName,
    /// The document that it names, if it names one.
    pub document: Option<DocumentId>,
    /// Whether it stands for the whole document, as far as it says: then a later whole write makes it void.
    is_whole: bool,
}

impl Letter {
    /// The letter of an operation; `None` when it is not parked.
    pub(crate) fn of(operation: &Operation, position: Position) -> Option<Self> {
        let OperationKind::Unknown { .. } = operation.kind else { return None };
        let parked = Parked::of(&operation.kind);
        Some(Self {
            position,
            dot: operation.dot.clone(),
            id: operation.id,
            group: operation.group.map(|group| group.id),
            cause: parked.as_ref().map_or(Cause::UnknownKind, |parked| parked.cause),
            collection: operation.collection.clone(),
            document: operation.document.clone(),
            is_whole: parked.is_some_and(|parked| parked.is_whole()),
        })
    }

    /// Whether it is about the same document.
    pub fn is_about(&self, collection: &CollectionName, document: &DocumentId) -> bool {
        self.document.as_ref() == Some(document) && self.collection == *collection
    }

    /// Whether settling it writes something that covers it on every node: not where it names no document, or one of a
    /// collection that nobody can write to.
    pub fn is_covered_when_settled(&self) -> bool {
        let is_writable = CollectionName::parse(self.collection.as_str()).is_ok()
            || self.collection.is_cache()
            || self.collection.as_str() == INDEXES_COLLECTION;
        self.document.is_some() && is_writable
    }

    /// Whether an operation on its document makes it void, parked or not.
    pub(crate) fn is_void_by(&self, operation: &Operation) -> bool {
        let takes_all = matches!(operation.kind, OperationKind::Put { .. } | OperationKind::Delete);
        operation.context.covers(&self.dot) && (takes_all || (self.is_whole && operation.kind.is_whole()))
    }
}

/// All dead letters of a database, in the order of the log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Letters(Vec<Letter>);

impl Letters {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each, in the order of the log.
    pub fn iter(&self) -> impl Iterator<Item = &Letter> {
        self.0.iter()
    }

    /// The letter at a position.
    pub fn at(&self, position: Position) -> Option<&Letter> {
        self.0.iter().find(|letter| letter.position == position)
    }

    /// The oldest: the log is kept from there on.
    pub fn oldest(&self) -> Option<Position> {
        self.0.first().map(|letter| letter.position)
    }

    /// Those about a document.
    pub fn about<'a>(
        &'a self,
        collection: &'a CollectionName,
        document: &'a DocumentId,
    ) -> impl Iterator<Item = &'a Letter> {
        self.0.iter().filter(move |letter| letter.is_about(collection, document))
    }

    /// The first letter that an operation must wait behind; letters for which `is_aside` holds do not count.
    ///
    /// What has seen it waits, and what its writer wrote later. What stands beside it does not: whichever comes first,
    /// the outcome is the same. So every node parks the same operations, in whatever order they have come.
    pub(crate) fn before(&self, operation: &Operation, is_aside: impl Fn(&Letter) -> bool) -> Option<&Letter> {
        let document = operation.document.as_ref()?;
        let comes_after = |dot: &Dot| {
            operation.context.covers(dot)
                || (operation.dot.origin == dot.origin && operation.dot.sequence > dot.sequence)
        };
        let is_in_the_way = |letter: &&Letter| {
            letter.is_about(&operation.collection, document)
                && comes_after(&letter.dot)
                && !letter.is_void_by(operation)
                && !is_aside(letter)
        };
        self.0.iter().find(is_in_the_way)
    }

    /// A vector without the parked operations, and what came after them at their origins.
    pub(crate) fn short_of(&self, vector: &Vector) -> Vector {
        if self.0.is_empty() {
            return vector.clone();
        }
        let mut first: BTreeMap<&Origin, Sequence> = BTreeMap::new();
        for letter in &self.0 {
            let known = first.entry(&letter.dot.origin).or_insert(letter.dot.sequence);
            *known = (*known).min(letter.dot.sequence);
        }
        let before = |origin: &Origin, sequence: Sequence| {
            first.get(origin).map_or(sequence, |first| sequence.min(Sequence(first.0.saturating_sub(1))))
        };
        vector.iter().map(|(origin, sequence)| (origin.clone(), before(origin, sequence))).collect()
    }

    /// Takes an operation in that was logged: a parked one is added, any other makes those void that it covers.
    pub(crate) fn follow(&mut self, operation: &Operation, position: Position) {
        if let Some(letter) = Letter::of(operation, position) {
            self.0.push(letter);
        } else if let (Some(document), false) = (&operation.document, self.0.is_empty()) {
            self.0.retain(|letter| !letter.is_about(&operation.collection, document) || !letter.is_void_by(operation));
        }
    }

    /// Takes one away.
    pub(crate) fn remove(&mut self, position: Position) {
        self.0.retain(|letter| letter.position != position);
    }

    /// Takes those away that a vector covers: their outcome came another way.
    pub(crate) fn remove_covered(&mut self, vector: &Vector) {
        self.0.retain(|letter| !vector.covers(&letter.dot));
    }
}

pub(crate) fn put_letters(bytes: &mut Vec<u8>, letters: &Letters, origins: &Origins) {
    bytes.put_varint(letters.0.len() as u64);
    for letter in &letters.0 {
        bytes.put_varint(letter.position.0);
        record::put_dot(bytes, &letter.dot, origins);
        bytes.extend_from_slice(&letter.id.0.to_le_bytes());
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        bytes.push(flag(letter.group.is_some(), HAS_GROUP) | flag(letter.is_whole, IS_WHOLE));
        if let Some(group) = letter.group {
            bytes.extend_from_slice(&group.0.to_le_bytes());
        }
        let code = Cause::ALL.iter().position(|cause| *cause == letter.cause).unwrap_or_default();
        bytes.put_varint(code as u64);
        bytes.put_bytes(letter.collection.as_str().as_bytes());
        bytes.put_bytes(letter.document.as_ref().map_or("", DocumentId::as_str).as_bytes());
    }
}

pub(crate) fn read_letters(reader: &mut Reader<'_>, origins: &[Origin]) -> Result<Letters, DecodeError> {
    let count = reader.count(23)?;
    let mut letters = Vec::with_capacity(count);
    for _ in 0..count {
        let position = Position(reader.varint()?);
        let dot = record::read_dot(reader, origins)?;
        let id = OperationId(reader.u128()?);
        let flags = reader.u8()?;
        let group = if flags & HAS_GROUP == 0 { None } else { Some(OperationId(reader.u128()?)) };
        let code = usize::try_from(reader.varint()?).unwrap_or(usize::MAX);
        let cause = *Cause::ALL.get(code).ok_or("a cause is unknown")?;
        let collection = CollectionName::parse_any(reader.text()?).map_err(|_| "a collection name is not valid")?;
        let document = match reader.text()? {
            "" => None,
            id => Some(DocumentId::parse(id).map_err(|_| "a document id is not valid")?),
        };
        let is_whole = flags & IS_WHOLE != 0;
        letters.push(Letter { position, dot, id, group, cause, collection, document, is_whole });
    }
    Ok(Letters(letters))
}
