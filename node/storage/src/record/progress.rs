//! Small records: what the data reflects, what a collection shows, how far a peer is.

use holdfast_core::chain::{Chain, Chains};
use holdfast_core::digest::Digest;
use holdfast_core::id::{NodeName, OperationId};
use holdfast_core::members::Members;
use holdfast_core::operation::Operation;
use holdfast_core::stamp::Stamp;
use holdfast_core::sync::branches::{Evidence, Told};
use holdfast_core::sync::suspicions::Suspicions;
use holdfast_core::sync::waymarks::Waymarks;
use holdfast_core::time::Millis;
use holdfast_core::trail::Trail;
use holdfast_core::vector::{Origin, Position, Vector};

use crate::encoding::{DecodeError, Encode, Reader};
use crate::error::StorageError;
use crate::origins::{Origins, origin_at};
use crate::record;
use crate::record::letter::{Letters, put_letters, read_letters};
use crate::record::note::{Adoption, put_chains, put_members, read_chains, read_members};

/// What the data reflects: everything up to a position of the log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DataState {
    /// The newest operation that is in the data.
    pub position: Position,
    /// Which operations those are, by origin.
    pub vector: Vector,
    /// The latest stamp issued or followed.
    pub clock: Stamp,
    /// Documents with concurrent versions.
    pub conflicted: u64,
    /// The chain of each origin up to its newest operation here.
    pub chains: Chains,
    /// Whom the database counts with.
    pub members: Members,
    /// Below this vector tombstones may have been removed: who has not seen all of it could bring a deleted document
    /// back, and must take our states before we take its operations.
    pub graves: Vector,
    /// Operations that are parked: logged, and not in the data.
    pub letters: Letters,
}

impl DataState {
    /// Who wrote it, what it says of members: everything about an operation that is not about its document.
    pub(crate) fn take_note_of(&mut self, operation: &Operation, position: Position) {
        self.letters.follow(operation, position);
        if self.vector.covers(&operation.dot) {
            // It came with the states of a peer where it is parked: they say the rest.
            return;
        }
        self.vector.observe(&operation.dot.origin, operation.dot.sequence);
        self.chains.follow(&operation.dot.origin, operation.chain, operation.id);
        self.members.apply(operation);
    }

    /// What this node can vouch for: what it knows, short of what is parked. Peers are told this as acknowledged.
    pub fn acknowledged(&self) -> Vector {
        self.letters.short_of(&self.vector)
    }

    /// What a write to a document without a record has seen: all that this node can vouch for, and all that was
    /// forgotten here, whatever is parked. One that had not seen that could be judged nowhere.
    pub(crate) fn seen(&self) -> Vector {
        let mut seen = self.acknowledged();
        seen.merge(&self.graves);
        seen
    }

    /// Takes over what a peer knew, once all of its states are here.
    pub(crate) fn adopt(&mut self, adoption: &Adoption) {
        for (origin, _) in adoption.vector.iter().filter(|(origin, known)| *known > self.vector.get(origin)) {
            match adoption.chains.get(origin) {
                Some(chain) => self.chains.set(origin, chain),
                None => self.chains.forget(origin),
            }
        }
        self.vector.merge(&adoption.vector);
        self.letters.remove_covered(&adoption.vector);
        self.graves.merge(&adoption.graves);
        for (member, membership) in adoption.members.iter() {
            self.members.set(member, membership.clone());
        }
    }
}

/// What a collection shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CollectionState {
    /// Documents that are shown.
    pub alive: u64,
    /// Records of deleted documents.
    pub tombstones: u64,
    /// The digest of what is shown.
    pub digest: Digest,
}

/// How far this node and a peer have confirmed each other, in one database.
///
/// Positions mean nothing without the log that they count: a checkpoint holds for one log of the peer alone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checkpoint {
    /// The peer's log that `pulled` counts.
    pub peer_log_id: u64,
    /// The position of our log up to which the peer has confirmed everything.
    pub pushed: Position,
    /// The position of the peer's log up to which we have everything.
    pub pulled: Position,
    /// When it last moved.
    pub updated: Millis,
}

/// Writes what the data reflects.
pub(crate) fn encode_state(state: &DataState, origins: &Origins) -> Vec<u8> {
    let mut bytes = record::begin(64);
    bytes.put_varint(state.position.0);
    bytes.extend_from_slice(&state.clock.0.to_le_bytes());
    bytes.put_varint(state.conflicted);
    record::put_vector(&mut bytes, &state.vector, origins);
    put_chains(&mut bytes, &state.chains, origins);
    put_members(&mut bytes, &state.members, origins);
    record::put_vector(&mut bytes, &state.graves, origins);
    // Most have none, and earlier ones of this format have no place for them.
    if !state.letters.is_empty() {
        put_letters(&mut bytes, &state.letters, origins);
    }
    record::seal(bytes)
}

/// Reads what the data reflects.
pub(crate) fn decode_state(bytes: &[u8], origins: &[Origin]) -> Result<DataState, StorageError> {
    read("the data's state", bytes, |format, reader| {
        let position = Position(reader.varint()?);
        let clock = Stamp(reader.u64()?);
        let conflicted = reader.varint()?;
        let vector = record::read_vector(reader, origins)?;
        let state = DataState { position, vector, clock, conflicted, ..DataState::default() };
        if format == 1 {
            return Ok(state);
        }
        let (chains, members) = (read_chains(reader, origins)?, read_members(reader, origins)?);
        let graves = record::read_vector(reader, origins)?;
        let letters = if reader.is_empty() { Letters::default() } else { read_letters(reader, origins)? };
        Ok(DataState { chains, members, graves, letters, ..state })
    })
}

/// Writes a vector that stands alone.
pub(crate) fn encode_vector(vector: &Vector, origins: &Origins) -> Vec<u8> {
    let mut bytes = record::begin(64);
    record::put_vector(&mut bytes, vector, origins);
    record::seal(bytes)
}

/// Reads a vector that stands alone.
pub(crate) fn decode_vector(place: &str, bytes: &[u8], origins: &[Origin]) -> Result<Vector, StorageError> {
    read(place, bytes, |_, reader| record::read_vector(reader, origins))
}

/// Writes which operations are meant where branches parted.
pub(crate) fn encode_waymarks(waymarks: &Waymarks, origins: &Origins) -> Vec<u8> {
    let mut bytes = record::begin(8 + 32 * waymarks.iter().len());
    bytes.put_varint(waymarks.iter().len() as u64);
    for (dot, told) in waymarks.iter() {
        record::put_dot(&mut bytes, dot, origins);
        bytes.extend_from_slice(&told.id.0.to_le_bytes());
        bytes.push(u8::from(told.before.is_some()));
        bytes.extend_from_slice(&told.before.unwrap_or_default().0.to_le_bytes());
    }
    record::seal(bytes)
}

/// Reads which operations are meant where branches parted.
pub(crate) fn decode_waymarks(bytes: &[u8], origins: &[Origin]) -> Result<Waymarks, StorageError> {
    read("where branches parted", bytes, |_, reader| {
        let count = reader.count(27)?;
        let waymark = |_| {
            let dot = record::read_dot(reader, origins)?;
            let (id, has_before, before) = (OperationId(reader.u128()?), reader.u8()?, Chain(reader.u64()?));
            Ok((dot, Told { id, before: (has_before != 0).then_some(before) }))
        };
        (0..count).map(waymark).collect()
    })
}

const TOLD: u8 = 1;
const MET: u8 = 2;

/// Writes what has come to light of branches.
pub(crate) fn encode_suspicions(suspicions: &Suspicions, origins: &Origins) -> Vec<u8> {
    let mut bytes = record::begin(8 + 40 * suspicions.peers().len());
    bytes.put_varint(suspicions.peers().len() as u64);
    for (peer, Evidence { told, met }) in suspicions.peers() {
        bytes.put_bytes(peer.as_str().as_bytes());
        bytes.push(if told.is_some() { TOLD } else { 0 } | if met.is_some() { MET } else { 0 });
        if let Some(told) = told {
            bytes.put_varint(u64::from(origins.index_of(told)));
        }
        if let Some((met, log_id)) = met {
            bytes.put_varint(u64::from(origins.index_of(met)));
            bytes.extend_from_slice(&log_id.to_le_bytes());
        }
    }
    let behind = suspicions.behind_from();
    bytes.push(u8::from(behind.is_some()));
    if let Some(behind) = behind {
        record::put_dot(&mut bytes, behind, origins);
    }
    record::seal(bytes)
}

/// Reads what has come to light of branches.
pub(crate) fn decode_suspicions(bytes: &[u8], origins: &[Origin]) -> Result<Suspicions, StorageError> {
    read("what came to light of branches", bytes, |_, reader| {
        let mut peers = Vec::new();
        for _ in 0..reader.count(2)? {
            let peer = NodeName::parse(reader.text()?).map_err(|_| "the name of a peer is not valid")?;
            let flags = reader.u8()?;
            let told = if flags & TOLD == 0 { None } else { Some(origin_at(origins, reader.varint()?)?) };
            let met =
                if flags & MET == 0 { None } else { Some((origin_at(origins, reader.varint()?)?, reader.u64()?)) };
            peers.push((peer, Evidence { told, met }));
        }
        let behind = if reader.u8()? == 0 { None } else { Some(record::read_dot(reader, origins)?) };
        Ok(Suspicions::restored(peers, behind))
    })
}

/// Writes which branches were passed.
pub(crate) fn encode_trail(trail: &Trail, origins: &Origins) -> Vec<u8> {
    let points: Vec<_> = trail.iter().collect();
    let mut bytes = record::begin(8 + 16 * points.len());
    bytes.put_varint(points.len() as u64);
    for (dot, chain) in points {
        record::put_dot(&mut bytes, &dot, origins);
        bytes.extend_from_slice(&chain.0.to_le_bytes());
    }
    record::seal(bytes)
}

/// Reads which branches were passed.
pub(crate) fn decode_trail(bytes: &[u8], origins: &[Origin]) -> Result<Trail, StorageError> {
    read("which branches were passed", bytes, |_, reader| {
        let count = reader.count(10)?;
        (0..count).map(|_| Ok((record::read_dot(reader, origins)?, Chain(reader.u64()?)))).collect()
    })
}

/// Writes what a collection shows.
pub(crate) fn encode_collection(state: &CollectionState) -> Vec<u8> {
    let mut bytes = record::begin(40);
    bytes.put_varint(state.alive);
    bytes.put_varint(state.tombstones);
    bytes.extend_from_slice(&state.digest.0.to_le_bytes());
    record::seal(bytes)
}

/// Reads what a collection shows.
pub(crate) fn decode_collection(bytes: &[u8], name: &str) -> Result<CollectionState, StorageError> {
    read(&format!("collection {name}"), bytes, |_, reader| {
        let alive = reader.varint()?;
        let tombstones = reader.varint()?;
        Ok(CollectionState { alive, tombstones, digest: Digest(reader.u128()?) })
    })
}

/// Writes a checkpoint.
pub(crate) fn encode_checkpoint(checkpoint: &Checkpoint) -> Vec<u8> {
    let mut bytes = record::begin(32);
    bytes.extend_from_slice(&checkpoint.peer_log_id.to_le_bytes());
    bytes.put_varint(checkpoint.pushed.0);
    bytes.put_varint(checkpoint.pulled.0);
    bytes.put_varint(checkpoint.updated.0);
    record::seal(bytes)
}

/// Reads a checkpoint.
pub(crate) fn decode_checkpoint(bytes: &[u8], peer: &str) -> Result<Checkpoint, StorageError> {
    read(&format!("the checkpoint of {peer}"), bytes, |_, reader| {
        Ok(Checkpoint {
            peer_log_id: reader.u64()?,
            pushed: Position(reader.varint()?),
            pulled: Position(reader.varint()?),
            updated: Millis(reader.varint()?),
        })
    })
}

/// Writes an origin.
pub(crate) fn encode_origin(origin: &Origin) -> Vec<u8> {
    let mut bytes = record::begin(32);
    bytes.extend_from_slice(&origin.incarnation.to_le_bytes());
    bytes.put_bytes(origin.node.as_str().as_bytes());
    record::seal(bytes)
}

/// Reads an origin.
pub(crate) fn decode_origin(bytes: &[u8], index: u32) -> Result<Origin, StorageError> {
    read(&format!("origin {index}"), bytes, |_, reader| {
        let incarnation = reader.u64()?;
        let node = NodeName::parse(reader.text()?).map_err(|_| "its node name is not valid")?;
        Ok(Origin { node, incarnation })
    })
}

/// Writes the file's own description: its log id and the database's name.
pub(crate) fn encode_meta(log_id: u64, name: &str) -> Vec<u8> {
    let mut bytes = record::begin(32);
    bytes.extend_from_slice(&log_id.to_le_bytes());
    bytes.put_bytes(name.as_bytes());
    record::seal(bytes)
}

/// Reads the file's own description.
pub(crate) fn decode_meta(bytes: &[u8]) -> Result<(u64, String), StorageError> {
    read("the log's description", bytes, |_, reader| Ok((reader.u64()?, reader.text()?.to_owned())))
}

/// Writes that this database goes on under an incarnation of its own, while its node has another.
pub(crate) fn encode_life(of_node: u64, own: u64) -> Vec<u8> {
    let mut bytes = record::begin(16);
    bytes.extend_from_slice(&of_node.to_le_bytes());
    bytes.extend_from_slice(&own.to_le_bytes());
    record::seal(bytes)
}

/// Reads it: the node's incarnation then, and the database's own.
pub(crate) fn decode_life(bytes: &[u8]) -> Result<(u64, u64), StorageError> {
    read("the database's incarnation", bytes, |_, reader| Ok((reader.u64()?, reader.u64()?)))
}

fn read<T>(
    place: &str,
    bytes: &[u8],
    body: impl FnOnce(u8, &mut Reader<'_>) -> Result<T, DecodeError>,
) -> Result<T, StorageError> {
    let (format, mut reader) = record::open(bytes, &|| place.to_owned())?;
    let value = body(format, &mut reader).map_err(|reason| StorageError::damaged(place, reason))?;
    if !reader.is_empty() {
        return Err(StorageError::damaged(place, "it has bytes after its end"));
    }
    Ok(value)
}
