//! What nodes tell each other of their caches, as bytes.
//!
//! ```text
//!   format u8 · origins · source · log id · [after, through, own] · based on · [vector] · [from, digest] · keys with states
//! ```

use crate::cache::record::{StateFormat, decode_state, encode_state, put_key, read_key};
use crate::cache::{CacheKey, KeyState};
use crate::digest::Digest;
use crate::encoding::{DecodeError, Encode, Reader};
use crate::id::NodeName;
use crate::limits::{CACHE_KEYS_PER_MESSAGE_MAX, VECTOR_ORIGINS_MAX};
use crate::time::Millis;
use crate::vector::{Origin, Position, Sequence, Vector};

/// The format that is written now.
const FORMAT: u8 = 2;
/// That of nodes that know of no touches. It differs in its states alone.
const FORMAT_WITHOUT_TOUCHES: u8 = 1;

/// Keys that changed at a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheMessage {
    /// Whose changes they are.
    pub source: NodeName,
    /// What its positions count.
    pub log_id: u64,
    /// The stretch of its changes that this is all of, but for what `based_on` covers; `None` when nothing is told.
    pub stretch: Option<CacheStretch>,
    /// What was left out because the receiver was believed to know it.
    pub based_on: Vector,
    /// What the receiver knows once it has merged this; nothing more than before when absent.
    pub vector: Option<Vector>,
    /// The digest of everything that ends at a moment or later, where `vector` is all that the source knows.
    pub digest: Option<(Millis, Digest)>,
    /// The keys, with what the source knows of them.
    pub states: Vec<(CacheKey, KeyState)>,
}

/// A stretch of a node's changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheStretch {
    /// It begins after this position …
    pub after: Position,
    /// … and is complete up to this one.
    pub through: Position,
    /// Whether only what the node wrote itself is in it.
    pub is_own: bool,
}

/// How far a node has taken a peer's changes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheReach {
    /// All of them up to this position are here.
    pub all: Position,
    /// Those that the peer wrote itself are here up to this position.
    pub own: Position,
}

impl CacheReach {
    /// Takes a stretch in. Answers whether it follows what is here: else it proves nothing.
    pub fn extend(&mut self, stretch: CacheStretch) -> bool {
        let here = if stretch.is_own { self.own } else { self.all };
        let follows = stretch.after <= here;
        if follows {
            self.own = self.own.max(stretch.through);
            if !stretch.is_own {
                self.all = self.all.max(stretch.through);
            }
        }
        follows
    }
}

/// Origins by number, as a message lists them.
#[derive(Default)]
struct Names(Vec<Origin>);

impl Names {
    fn number_of(&mut self, origin: &Origin) -> u64 {
        let known = self.0.iter().position(|known| known == origin);
        known.unwrap_or_else(|| {
            self.0.push(origin.clone());
            self.0.len() - 1
        }) as u64
    }
}

impl CacheMessage {
    /// The message as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut names = Names::default();
        let mut body = Vec::new();
        body.put_bytes(self.source.as_str().as_bytes());
        body.extend_from_slice(&self.log_id.to_le_bytes());
        body.push(u8::from(self.stretch.is_some()));
        if let Some(stretch) = self.stretch {
            body.put_varint(stretch.after.0);
            body.put_varint(stretch.through.0);
            body.push(u8::from(stretch.is_own));
        }
        put_vector(&mut body, &self.based_on, &mut names);
        body.push(u8::from(self.vector.is_some()));
        if let Some(vector) = &self.vector {
            put_vector(&mut body, vector, &mut names);
        }
        body.push(u8::from(self.digest.is_some()));
        if let Some((from, digest)) = self.digest {
            body.put_varint(from.0);
            body.extend_from_slice(&digest.0.to_le_bytes());
        }
        body.put_varint(self.states.len() as u64);
        for (key, state) in &self.states {
            put_key(&mut body, key);
            encode_state(&mut body, state, &mut |origin| names.number_of(origin));
        }
        let mut bytes = Vec::with_capacity(body.len() + names.0.len() * 32 + 8);
        bytes.push(FORMAT);
        bytes.put_varint(names.0.len() as u64);
        for origin in &names.0 {
            bytes.put_bytes(origin.node.as_str().as_bytes());
            bytes.extend_from_slice(&origin.incarnation.to_le_bytes());
        }
        bytes.extend_from_slice(&body);
        bytes
    }

    /// Reads a message. States are bounded, and not yet believed: see [`KeyState::is_plausible`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let format = match reader.u8()? {
            FORMAT => StateFormat::Touches,
            FORMAT_WITHOUT_TOUCHES => StateFormat::First,
            _ => return Err("it is of a format that is not known here"),
        };
        let mut origins = Vec::new();
        let count = reader.count(9)?;
        if count > VECTOR_ORIGINS_MAX {
            return Err("it names too many origins");
        }
        for _ in 0..count {
            origins.push(Origin { node: read_name(&mut reader)?, incarnation: reader.u64()? });
        }
        let source = read_name(&mut reader)?;
        let log_id = reader.u64()?;
        let stretch = if is_there(&mut reader)? {
            let (after, through) = (Position(reader.varint()?), Position(reader.varint()?));
            Some(CacheStretch { after, through, is_own: is_there(&mut reader)? })
        } else {
            None
        };
        let based_on = read_vector(&mut reader, &origins)?;
        let vector = if is_there(&mut reader)? { Some(read_vector(&mut reader, &origins)?) } else { None };
        let digest =
            if is_there(&mut reader)? { Some((Millis(reader.varint()?), Digest(reader.u128()?))) } else { None };
        let count = reader.count(4)?;
        if count > CACHE_KEYS_PER_MESSAGE_MAX {
            return Err("it names too many keys");
        }
        let mut states = Vec::with_capacity(count);
        for _ in 0..count {
            states.push((read_key(&mut reader)?, decode_state(&mut reader, &origins, format)?));
        }
        if !reader.is_empty() {
            return Err("something follows its end");
        }
        Ok(Self { source, log_id, stretch, based_on, vector, digest, states })
    }
}

fn put_vector(bytes: &mut Vec<u8>, vector: &Vector, names: &mut Names) {
    bytes.put_varint(vector.len() as u64);
    for (origin, sequence) in vector.iter() {
        bytes.put_varint(names.number_of(origin));
        bytes.put_varint(sequence.0);
    }
}

fn read_vector(reader: &mut Reader<'_>, origins: &[Origin]) -> Result<Vector, DecodeError> {
    let count = reader.count(2)?;
    let mut vector = Vector::new();
    for _ in 0..count {
        let number = usize::try_from(reader.varint()?).map_err(|_| "an origin is not listed")?;
        let origin = origins.get(number).ok_or("an origin is not listed")?;
        vector.observe(origin, Sequence(reader.varint()?));
    }
    Ok(vector)
}

fn read_name(reader: &mut Reader<'_>) -> Result<NodeName, DecodeError> {
    NodeName::parse(reader.text()?).map_err(|_| "a node's name is not valid")
}

fn is_there(reader: &mut Reader<'_>) -> Result<bool, DecodeError> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err("a part is neither there nor absent"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cache::{CacheCommand, Content, Lifetime, Minted, When, perform};
    use crate::stamp::Stamp;
    use crate::vector::Dot;
    use proptest::prelude::{any, prop, proptest};

    fn message() -> CacheMessage {
        let node = |name: &str| NodeName::parse(name).unwrap();
        let origin = Origin { node: node("a"), incarnation: 3 };
        let mut state = KeyState::default();
        let command = CacheCommand::Set { content: Content::json("[1]"), lifetime: Lifetime::For(Millis(500)) };
        let dot = Dot { origin: origin.clone(), sequence: Sequence(7) };
        let minted = Minted { now: Millis(10), stamp: Stamp::new(Millis(10), 0), dot };
        perform(&mut state, command, &When::Always, false, minted).unwrap();
        let vector: Vector = [(origin, Sequence(7))].into_iter().collect();
        CacheMessage {
            source: node("a"),
            log_id: 9,
            stretch: Some(CacheStretch { after: Position(1), through: Position(8), is_own: true }),
            based_on: Vector::new(),
            vector: Some(vector),
            digest: Some((Millis(60_000), Digest(5))),
            states: vec![(CacheKey::parse("k").unwrap(), state)],
        }
    }

    #[test]
    fn a_message_comes_back_and_a_part_of_it_is_refused() {
        let bytes = message().encode();
        assert_eq!(CacheMessage::decode(&bytes), Ok(message()));
        for end in 0..bytes.len() {
            assert!(CacheMessage::decode(bytes.get(..end).unwrap()).is_err(), "{end} bytes");
        }
        let longer = [bytes, vec![0]].concat();
        assert!(CacheMessage::decode(&longer).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0usize..80, turned in any::<u8>()) {
            let _ = CacheMessage::decode(&bytes);
            let mut near = message().encode();
            if let Some(byte) = near.get_mut(at) {
                *byte = turned;
            }
            let _ = CacheMessage::decode(&near);
        }
    }
}
