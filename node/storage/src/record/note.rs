//! Notes: entries of the log that are no operations, and stay on this node.
//!
//! They say what became of the data for other reasons than an operation: states that came from a peer whose log no
//! longer holds the operations, tombstones that all members know, increments added up. The data is an image of the
//! log, so whatever changes it stands in the log.
//!
//! ```text
//!   state    0x8001 · previous varint · collection text · document text · document record
//!   forget   0x8002 · previous varint · collection text · document text
//!   adopt    0x8003 · vector · chains · members · graves · collections
//!   graves   0x8004 · vector
//!   retried  0x8010 · previous varint · letter varint · operation
//!   dismissed 0x8011 · letter varint
//! ```

use holdfast_core::chain::{Chain, Chains};
use holdfast_core::document::DocumentState;
use holdfast_core::id::{CollectionName, DocumentId};
use holdfast_core::members::{Members, Membership};
use holdfast_core::operation::Operation;
use holdfast_core::stamp::Stamp;
use holdfast_core::vector::{Origin, Position, Vector};

use crate::encoding::{DecodeError, Encode, Reader};
use crate::origins::{Origins, origin_at};
use crate::record;
use crate::record::operation::{Entry, fence_code, read_fence};

/// Kinds from here on are notes.
pub(crate) const NOTE_CODES_FROM: u16 = 0x8000;

const STATE: u16 = 0x8001;
const FORGET: u16 = 0x8002;
const ADOPT: u16 = 0x8003;
const GRAVES: u16 = 0x8004;
const RETRIED: u16 = 0x8010;
const DISMISSED: u16 = 0x8011;

/// A note at its place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedNote {
    /// Its place.
    pub position: Position,
    /// The place of the same document's change before it; [`Position::START`] when there is none.
    pub previous: Position,
    /// The note.
    pub note: Note,
}

/// What a note says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// A document's state is this from here on.
    State {
        /// Its collection.
        collection: CollectionName,
        /// The document.
        document: DocumentId,
        /// All that is known of it.
        state: DocumentState,
    },
    /// Nothing is known of a document any more.
    Forget {
        /// Its collection.
        collection: CollectionName,
        /// The document.
        document: DocumentId,
    },
    /// The states above stand for all that a peer knew.
    Adopt(Adoption),
    /// Tombstones up to here may be gone.
    Graves(Vector),
    /// A parked operation holds by now, and is applied here.
    Retried {
        /// Where it was parked.
        letter: Position,
        /// The operation.
        operation: Box<Operation>,
    },
    /// A parked operation that is about no document was given up.
    Dismissed {
        /// Where it was parked.
        letter: Position,
    },
}

/// What a node takes over from a peer once it has all of its states.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Adoption {
    /// What the peer knew.
    pub vector: Vector,
    /// The chains up to there.
    pub chains: Chains,
    /// Whom the peer counted with.
    pub members: Members,
    /// Below this, the peer may have removed tombstones.
    pub graves: Vector,
    /// The peer's collections, empty ones included.
    pub collections: Vec<CollectionName>,
}

/// Writes a note, without a frame: blocks are framed as a whole.
pub(crate) fn encode(note: &Note, previous: Position, origins: &Origins) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    match note {
        Note::State { collection, document, state } => {
            bytes.put_varint(u64::from(STATE));
            bytes.put_varint(previous.0);
            put_key(&mut bytes, collection, document);
            bytes.put_bytes(&record::document::encode(state, Position::START, origins));
        }
        Note::Forget { collection, document } => {
            bytes.put_varint(u64::from(FORGET));
            bytes.put_varint(previous.0);
            put_key(&mut bytes, collection, document);
        }
        Note::Adopt(adoption) => {
            bytes.put_varint(u64::from(ADOPT));
            record::put_vector(&mut bytes, &adoption.vector, origins);
            put_chains(&mut bytes, &adoption.chains, origins);
            put_members(&mut bytes, &adoption.members, origins);
            record::put_vector(&mut bytes, &adoption.graves, origins);
            bytes.put_varint(adoption.collections.len() as u64);
            for name in &adoption.collections {
                bytes.put_bytes(name.as_str().as_bytes());
            }
        }
        Note::Graves(vector) => {
            bytes.put_varint(u64::from(GRAVES));
            record::put_vector(&mut bytes, vector, origins);
        }
        Note::Retried { letter, operation } => {
            bytes.put_varint(u64::from(RETRIED));
            bytes.put_varint(previous.0);
            bytes.put_varint(letter.0);
            bytes.extend_from_slice(&record::operation::encode(operation, previous, origins));
        }
        Note::Dismissed { letter } => {
            bytes.put_varint(u64::from(DISMISSED));
            bytes.put_varint(letter.0);
        }
    }
    bytes
}

/// Reads a note after its kind.
pub(crate) fn decode(
    code: u16,
    reader: &mut Reader<'_>,
    position: Position,
    origins: &[Origin],
) -> Result<LoggedNote, DecodeError> {
    let mut previous = Position::START;
    let note = match code {
        STATE => {
            previous = Position(reader.varint()?);
            let (collection, document) = read_key(reader)?;
            let key = record::document::key(&collection, &document);
            let (state, _) =
                record::document::decode(reader.bytes()?, &key, origins).map_err(|_| "a state does not decode")?;
            Note::State { collection, document, state }
        }
        FORGET => {
            previous = Position(reader.varint()?);
            let (collection, document) = read_key(reader)?;
            Note::Forget { collection, document }
        }
        ADOPT => Note::Adopt(Adoption {
            vector: record::read_vector(reader, origins)?,
            chains: read_chains(reader, origins)?,
            members: read_members(reader, origins)?,
            graves: record::read_vector(reader, origins)?,
            collections: (0..reader.count(1)?).map(|_| read_collection(reader)).collect::<Result<_, _>>()?,
        }),
        GRAVES => Note::Graves(record::read_vector(reader, origins)?),
        RETRIED => {
            previous = Position(reader.varint()?);
            let letter = Position(reader.varint()?);
            match record::operation::decode(reader.take_rest(), position, origins)? {
                Entry::Operation(logged) => Note::Retried { letter, operation: Box::new(logged.operation) },
                Entry::Note(_) => return Err("a note holds another one"),
            }
        }
        DISMISSED => Note::Dismissed { letter: Position(reader.varint()?) },
        _ => return Err("a note is of an unknown kind"),
    };
    Ok(LoggedNote { position, previous, note })
}

fn put_key(bytes: &mut Vec<u8>, collection: &CollectionName, document: &DocumentId) {
    bytes.put_bytes(collection.as_str().as_bytes());
    bytes.put_bytes(document.as_str().as_bytes());
}

fn read_key(reader: &mut Reader<'_>) -> Result<(CollectionName, DocumentId), DecodeError> {
    let collection = read_collection(reader)?;
    let document = DocumentId::parse(reader.text()?).map_err(|_| "a document id is not valid")?;
    Ok((collection, document))
}

fn read_collection(reader: &mut Reader<'_>) -> Result<CollectionName, DecodeError> {
    CollectionName::parse_any(reader.text()?).map_err(|_| "a collection name is not valid")
}

/// Writes chains.
pub(crate) fn put_chains(bytes: &mut Vec<u8>, chains: &Chains, origins: &Origins) {
    bytes.put_varint(chains.iter().len() as u64);
    for (origin, chain) in chains.iter() {
        bytes.put_varint(u64::from(origins.index_of(origin)));
        bytes.extend_from_slice(&chain.0.to_le_bytes());
    }
}

/// Reads chains.
pub(crate) fn read_chains(reader: &mut Reader<'_>, origins: &[Origin]) -> Result<Chains, DecodeError> {
    let count = reader.count(9)?;
    (0..count).map(|_| Ok((origin_at(origins, reader.varint()?)?, Chain(reader.u64()?)))).collect()
}

/// Writes members.
pub(crate) fn put_members(bytes: &mut Vec<u8>, members: &Members, origins: &Origins) {
    bytes.put_varint(members.iter().len() as u64);
    for (origin, membership) in members.iter() {
        bytes.put_varint(u64::from(origins.index_of(origin)));
        bytes.push(membership.fenced.map_or(0, fence_code));
        bytes.extend_from_slice(&membership.stamp.0.to_le_bytes());
        record::put_dot(bytes, &membership.by, origins);
    }
}

/// Reads members.
pub(crate) fn read_members(reader: &mut Reader<'_>, origins: &[Origin]) -> Result<Members, DecodeError> {
    let count = reader.count(12)?;
    let mut members = Members::new();
    for _ in 0..count {
        let origin = origin_at(origins, reader.varint()?)?;
        let fenced = match reader.u8()? {
            0 => None,
            code => Some(read_fence(code)?),
        };
        let stamp = Stamp(reader.u64()?);
        members.set(&origin, Membership { fenced, stamp, by: record::read_dot(reader, origins)? });
    }
    Ok(members)
}
