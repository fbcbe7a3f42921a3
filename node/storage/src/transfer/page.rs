//! Pages of states: every document's record, by its last change, as one node gives it to another.
//!
//! ```text
//!   format u8 · origins: count varint, each incarnation u64 and name
//!   after varint · through varint · has more u8
//!   states: count varint, each position varint · collection text · document text · document record
//!   letters: count varint, each position varint · operation record
//!   has a digest u8, and if so the digest u128
//! ```
//!
//! The last page brings what is parked there, which the states do not reflect: whoever takes the states over parks it
//! too, and knows with it all that the sender knows.
//!
//! A document that changes while the pages go out moves to their end, so whoever has read up to the end has
//! everything as it is then, without anybody having held still. One that is deleted and forgotten meanwhile has no
//! place to move to: the last page says what all that is shown adds up to, and states that do not are not taken over.

use std::ops::Bound;

use holdfast_core::digest::Digest;
use holdfast_core::document::DocumentState;
use holdfast_core::error::Refusal;
use holdfast_core::id::{CACHE_COLLECTION, CollectionName, DocumentId, NodeName};
use holdfast_core::json::JsonText;
use holdfast_core::limits::{
    DEAD_LETTERS_BYTES_IN_STATES_MAX, DEAD_LETTERS_MAX, EXCHANGE_OPERATIONS_MAX, VECTOR_ORIGINS_MAX,
};
use holdfast_core::operation::Operation;
use holdfast_core::sync::message::check_group;
use holdfast_core::sync::poison::Parked;
use holdfast_core::vector::{Origin, Position};

use crate::encoding::{DecodeError, Encode, Reader};
use crate::error::StorageError;
use crate::log::{LogView, ReadLimit};
use crate::origins::Origins;
use crate::record;
use crate::record::document::{decode, encode, key, parse_key};
use crate::record::operation::Entry;
use crate::tables::{CHANGES, DOCUMENTS};
use crate::view::ReadView;

/// The format of pages.
const FORMAT: u8 = 2;
/// The format without letters.
const FORMAT_WITHOUT_LETTERS: u8 = 1;

/// A document as it stands, and where it last changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateAt {
    /// The position of its last change in the sender's log.
    pub position: Position,
    /// Its collection.
    pub collection: CollectionName,
    /// The document.
    pub document: DocumentId,
    /// All that is known of it.
    pub state: DocumentState,
}

/// Documents by their last change.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StatePage {
    /// The page begins after this position …
    pub after: Position,
    /// … and has every document whose last change is up to this one.
    pub through: Position,
    /// Whether documents changed after `through`.
    pub has_more: bool,
    /// The documents.
    pub states: Vec<StateAt>,
    /// What is parked, on the last page: in the order of the sender's log.
    pub letters: Vec<(Position, Operation)>,
    /// On the last page, the digest of everything that the sender shows.
    pub digest: Option<Digest>,
}

impl ReadView {
    /// Documents whose last change lies after a position, in the order of their last changes.
    pub fn states_after(&self, after: Position, limit: ReadLimit) -> Result<StatePage, StorageError> {
        let changes = self.transaction().open_table(CHANGES)?;
        let documents = self.transaction().open_table(DOCUMENTS)?;
        let mut page = StatePage { after, through: after, ..StatePage::default() };
        let mut bytes_read = 0;
        for row in changes.range((Bound::Excluded(after.0), Bound::Unbounded))? {
            let (position, key) = row?;
            if page.states.len() >= limit.operations || bytes_read >= limit.bytes {
                page.has_more = true;
                return Ok(page);
            }
            let position = Position(position.value());
            let row = documents.get(key.value())?;
            let bytes =
                row.ok_or_else(|| StorageError::damaged(format!("change {position}"), "its document is missing"))?;
            bytes_read += bytes.value().len();
            let (state, _) = decode(bytes.value(), key.value(), self.origins())?;
            let (collection, document) = parse_key(key.value())?;
            page.states.push(StateAt { position, collection, document, state });
            page.through = position;
        }
        // Up to here there is nothing more, whatever else the log has.
        page.through = page.through.max(self.state()?.position);
        page.digest = Some(self.digest()?);
        Ok(page)
    }
}

/// What is parked in a database, for the last page of its states.
pub fn letters_of(view: &ReadView, log: &LogView) -> Result<Vec<(Position, Operation)>, StorageError> {
    let mut letters = Vec::new();
    let mut bytes = 0;
    for letter in view.state()?.letters.iter() {
        // One that is gone from the log was settled since; the word of that comes as an operation.
        let entry = log.at(letter.position)?.and_then(Entry::into_operation);
        let Some(logged) = entry.filter(|logged| logged.operation.dot == letter.dot) else { continue };
        bytes += logged.operation.kind.body_bytes();
        if bytes > DEAD_LETTERS_BYTES_IN_STATES_MAX {
            return Err(StorageError::TooManyLetters);
        }
        letters.push((logged.position, logged.operation));
    }
    Ok(letters)
}

/// Writes a page.
pub fn encode_page(page: &StatePage) -> Vec<u8> {
    let origins = Origins::default();
    let mut body = Vec::new();
    body.put_varint(page.after.0);
    body.put_varint(page.through.0);
    body.push(u8::from(page.has_more));
    body.put_varint(page.states.len() as u64);
    for one in &page.states {
        body.put_varint(one.position.0);
        body.put_bytes(one.collection.as_str().as_bytes());
        body.put_bytes(one.document.as_str().as_bytes());
        body.put_bytes(&encode(&one.state, one.position, &origins));
    }
    body.put_varint(page.letters.len() as u64);
    for (position, operation) in &page.letters {
        body.put_varint(position.0);
        body.put_bytes(&record::operation::encode(operation, Position::START, &origins));
    }
    body.push(u8::from(page.digest.is_some()));
    body.extend(page.digest.iter().flat_map(|digest| digest.0.to_le_bytes()));
    let list = origins.snapshot();
    let mut bytes = vec![FORMAT];
    bytes.put_varint(list.len() as u64);
    for origin in list.iter() {
        bytes.extend_from_slice(&origin.incarnation.to_le_bytes());
        bytes.put_bytes(origin.node.as_str().as_bytes());
    }
    bytes.extend_from_slice(&body);
    bytes
}

/// Reads a page that came from a peer, and believes nothing of it that it has not checked.
pub fn decode_page(bytes: &[u8]) -> Result<StatePage, Refusal> {
    let refuse =
        |reason: &str| Refusal::invalid("invalid-states", format!("The page of states is not valid: {reason}."));
    let mut reader = Reader::new(bytes);
    let format = reader.u8().map_err(refuse)?;
    if format != FORMAT && format != FORMAT_WITHOUT_LETTERS {
        return Err(refuse("it has a format that this node does not know"));
    }
    let list = read_origins(&mut reader).map_err(refuse)?;
    let (after, through) = (reader.varint().map_err(refuse)?, reader.varint().map_err(refuse)?);
    let has_more = reader.u8().map_err(refuse)? != 0;
    let count = reader.count(8).map_err(refuse)?;
    if count > EXCHANGE_OPERATIONS_MAX || through < after {
        return Err(refuse("it is larger than a page may be, or ends before it begins"));
    }
    let mut last = after;
    let mut states = Vec::with_capacity(count);
    for _ in 0..count {
        let state = read_state(&mut reader, &list)?;
        if state.position.0 <= last || state.position.0 > through {
            return Err(refuse("its positions do not rise within its range"));
        }
        last = state.position.0;
        states.push(state);
    }
    let (mut letters, mut digest) = (Vec::new(), None);
    if format == FORMAT {
        letters = read_letters(&mut reader, &list).map_err(refuse)?;
        if reader.u8().map_err(refuse)? != 0 {
            digest = Some(Digest(reader.u128().map_err(refuse)?));
        }
    }
    if !reader.is_empty() {
        return Err(refuse("it has bytes after its end"));
    }
    Ok(StatePage { after: Position(after), through: Position(through), has_more, states, letters, digest })
}

fn read_letters(reader: &mut Reader<'_>, origins: &[Origin]) -> Result<Vec<(Position, Operation)>, DecodeError> {
    let count = reader.count(40)?;
    if count > DEAD_LETTERS_MAX {
        return Err("it brings more dead letters than there may be");
    }
    let mut letters: Vec<(Position, Operation)> = Vec::with_capacity(count);
    for _ in 0..count {
        let position = Position(reader.varint()?);
        if letters.last().is_some_and(|(last, _)| *last >= position) {
            return Err("its dead letters do not rise");
        }
        let entry = record::operation::decode(reader.bytes()?, position, origins)?;
        let operation = entry.into_operation().ok_or("a dead letter is no operation")?.operation;
        let is_parked = Parked::of(&operation.kind).is_some_and(|parked| parked.is_of(&operation));
        if !is_parked || !operation.group.as_ref().is_none_or(check_group) {
            return Err("a dead letter is not what its record says");
        }
        letters.push((position, operation));
    }
    Ok(letters)
}

fn read_origins(reader: &mut Reader<'_>) -> Result<Vec<Origin>, DecodeError> {
    let count = reader.count(9)?;
    if count > VECTOR_ORIGINS_MAX {
        return Err("it names too many origins");
    }
    let origin = |reader: &mut Reader<'_>| {
        let incarnation = reader.u64()?;
        let node = NodeName::parse(reader.text()?).map_err(|_| "a node name is not valid")?;
        Ok(Origin { node, incarnation })
    };
    (0..count).map(|_| origin(reader)).collect()
}

fn read_state(reader: &mut Reader<'_>, origins: &[Origin]) -> Result<StateAt, Refusal> {
    let refuse =
        |reason: &str| Refusal::invalid("invalid-states", format!("The page of states is not valid: {reason}."));
    let position = Position(reader.varint().map_err(refuse)?);
    let name = reader.text().map_err(refuse)?;
    let collection = if name == CACHE_COLLECTION {
        CollectionName::parse_any(name)?
    } else {
        CollectionName::parse_replicated(name)?
    };
    let document = DocumentId::parse(reader.text().map_err(refuse)?)?;
    let record = reader.bytes().map_err(refuse)?;
    let (state, _) =
        decode(record, &key(&collection, &document), origins).map_err(|error| refuse(&error.to_string()))?;
    for body in state.versions.iter().filter_map(|version| version.body.as_ref()) {
        JsonText::parse_document(body.as_str(), &document)?;
    }
    // Joined with nothing, versions and increments come to stand in their order.
    Ok(StateAt { position, collection, document, state: DocumentState::default().join(&state) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use holdfast_core::document::Version;
    use holdfast_core::id::OperationId;
    use holdfast_core::stamp::Stamp;
    use holdfast_core::sync::message::PushRequest;
    use holdfast_core::vector::{Dot, Sequence};
    use proptest::prelude::{any, prop, proptest};

    fn letter() -> (Position, Operation) {
        let record = r#"{"Id":"01ARZ3NDEKTSV4RRFFQ69G5FAV","NodeId":"till","Incarnation":"00000000000000ab",
            "Stamp":"1700000000123.0001","Collection":"orders","EntityId":"1","Kind":"hologram","Sequence":3,
            "LogSequence":9,"OperationType":1}"#;
        let push = format!(
            r#"{{"SourceNodeId":"till","SourceIncarnation":"00000000000000ab","LogId":"0000000000000001",
                "AfterLogSequence":0,"ThroughLogSequence":9,"Operations":[{record}]}}"#
        );
        let mut push: PushRequest = serde_json::from_str(&push).unwrap();
        push.operations.pop().unwrap().into_arrived().unwrap()
    }

    #[test]
    fn a_letter_that_is_not_what_its_record_says_is_refused() {
        let mut wrong = page();
        wrong.letters.iter_mut().for_each(|(_, one)| one.dot.sequence = Sequence(4));
        assert!(decode_page(&encode_page(&wrong)).is_err());
        let mut good = page();
        good.letters.iter_mut().for_each(|(_, one)| one.kind = holdfast_core::operation::OperationKind::Delete);
        assert!(decode_page(&encode_page(&good)).is_err(), "what holds is in the states");
    }

    fn page() -> StatePage {
        let origin = Origin { node: NodeName::parse("a").unwrap(), incarnation: 5 };
        let version = Version {
            dot: Dot { origin: origin.clone(), sequence: Sequence(2) },
            id: OperationId(9),
            stamp: Stamp(4),
            body: Some(JsonText::parse(r#"{"n":1,"Id":"x"}"#).unwrap()),
            is_resolution: true,
        };
        let state = DocumentState {
            versions: vec![version],
            vector: [(origin, Sequence(2))].into_iter().collect(),
            ..DocumentState::default()
        };
        let collection = CollectionName::parse("orders").unwrap();
        let one = StateAt { position: Position(7), collection, document: DocumentId::parse("x").unwrap(), state };
        StatePage {
            after: Position(3),
            through: Position(9),
            has_more: true,
            states: vec![one],
            letters: vec![letter()],
            digest: Some(Digest(7)),
        }
    }

    #[test]
    fn a_page_comes_back_as_it_was_sent() {
        assert_eq!(decode_page(&encode_page(&page())).unwrap(), page());
    }

    #[test]
    fn definitions_of_indexes_travel_and_nothing_else_that_a_node_keeps() {
        for (name, travels) in [("_indexes", true), ("cache", true), ("_conflicts", false), ("_sys_members", false)] {
            let mut page = page();
            page.states.iter_mut().for_each(|one| one.collection = CollectionName::parse_any(name).unwrap());
            assert_eq!(decode_page(&encode_page(&page)).is_ok(), travels, "{name}");
        }
    }

    #[test]
    fn a_document_that_is_not_its_own_is_refused() {
        let mut wrong = page();
        wrong.states.iter_mut().for_each(|one| one.document = DocumentId::parse("y").unwrap());
        assert!(decode_page(&encode_page(&wrong)).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode_page(&bytes);
        }

        #[test]
        fn no_change_of_a_page_makes_it_panic(place in 0usize..200, value in any::<u8>()) {
            let mut bytes = encode_page(&page());
            if let Some(byte) = bytes.get_mut(place) {
                *byte = value;
            }
            let _ = decode_page(&bytes);
        }
    }
}
