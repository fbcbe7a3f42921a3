//! Frames: how messages between leader and followers lie on the wire.
//!
//! ```text
//!    0  4  magic "HFL1": the 1 is the layout of these 32 bytes
//!    4  1  kind of the message
//!    5  3  zero
//!    8  4  length of the payload
//!   12  4  zero
//!   16  8  number of the sender's epoch
//!   24  8  checksum (xxh3, 64 bits) of the 24 bytes before it and of the payload
//!   32     payload
//! ```
//!
//! Numbers are little-endian. Must stay true: the length is checked before anything is read for it.

use thiserror::Error;
use xxhash_rust::xxh3::Xxh3Default;

use crate::limits::{REPLICA_FRAME_BYTES_MAX, REPLICA_GREETING_BYTES_MAX};

/// Bytes before a payload.
pub const HEADER_BYTES: usize = 32;
const MAGIC: [u8; 4] = *b"HFL1";

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Who dials, see [`super::handshake`].
    Hello = 1,
    /// What the dialler must prove itself on.
    Challenge = 2,
    /// That it knows the secret.
    Proof = 3,
    /// That the listener knows it too, and what it is.
    Welcome = 4,
    /// Why the connection ends.
    Refused = 5,
    /// The sender is there.
    Heartbeat = 6,
    /// The databases that the leader serves.
    Databases = 7,
    /// How far the follower is with a database.
    Position = 8,
    /// A stretch of a log.
    Stretch = 9,
    /// How far a stretch was taken in.
    Receipt = 10,
    /// Changes of a cache.
    Cache = 11,
    /// How far they were taken in.
    CacheReceipt = 12,
    /// A question for states.
    Question = 13,
    /// Its answer.
    Answer = 14,
    /// The log does not reach back: the receiver takes the sender's states.
    StatesNeeded = 15,
    /// Something about who leads.
    Control = 16,
    /// What came of it.
    ControlAnswer = 17,
    /// Who is counted with in a database, and what each is known to know.
    Roll = 18,
    /// What a node that comes from outside the group holds.
    Holdings = 19,
    /// That it is one of the group now.
    Joined = 20,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::Hello,
        Self::Challenge,
        Self::Proof,
        Self::Welcome,
        Self::Refused,
        Self::Heartbeat,
        Self::Databases,
        Self::Position,
        Self::Stretch,
        Self::Receipt,
        Self::Cache,
        Self::CacheReceipt,
        Self::Question,
        Self::Answer,
        Self::StatesNeeded,
        Self::Control,
        Self::ControlAnswer,
        Self::Roll,
        Self::Holdings,
        Self::Joined,
    ];

    fn of(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }

    /// Whether it comes before both sides know each other, when little is read from anybody.
    fn is_greeting(self) -> bool {
        matches!(self, Self::Hello | Self::Challenge | Self::Proof | Self::Welcome | Self::Refused)
    }
}

/// Why bytes are no frame.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NoFrame {
    /// Somebody speaks HTTP.
    #[error("HTTP was spoken to the replication port; the HTTP API listens on another one (Urls)")]
    Http,
    /// Something else.
    #[error("what came is no frame of Holdfast's replication: {0}")]
    Foreign(&'static str),
    /// It is longer than a frame may be.
    #[error("a frame of {length} bytes was announced, more than the limit of {limit}")]
    TooLong {
        /// Its length.
        length: usize,
        /// The most that is read at this moment.
        limit: usize,
    },
    /// The kind is not known.
    #[error("a frame of the unknown kind {0}; bring both nodes to one version")]
    UnknownKind(u8),
    /// It was changed on its way.
    #[error("a frame was damaged on its way: its checksum does not fit")]
    Damaged,
}

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the payload is.
    pub kind: Kind,
    /// Its length in bytes.
    pub length: usize,
    /// Number of the sender's epoch, 0 before it has any.
    pub epoch: u64,
    head: [u8; 24],
    checksum: u64,
}

impl Header {
    /// Whether somebody unknown begins as a frame does: their first bytes tell what they speak, however little they say.
    pub fn begins(first: [u8; 4]) -> Result<(), NoFrame> {
        if first == MAGIC { Ok(()) } else { Err(foreign(first)) }
    }

    /// Reads a header. Before both sides know each other, only greetings are read.
    pub fn read(bytes: &[u8; HEADER_BYTES], is_known: bool) -> Result<Self, NoFrame> {
        let (head, checksum) = bytes.split_first_chunk::<24>().ok_or(NoFrame::Damaged)?;
        let [magic @ .., kind, z0, z1, z2, l0, l1, l2, l3, z4, z5, z6, z7, e0, e1, e2, e3, e4, e5, e6, e7] = *head;
        Self::begins(magic)?;
        if [z0, z1, z2, z4, z5, z6, z7] != [0; 7] {
            return Err(NoFrame::Foreign("its header has bits that this version does not know"));
        }
        let kind = Kind::of(kind).ok_or(NoFrame::UnknownKind(kind))?;
        if !is_known && !kind.is_greeting() {
            return Err(NoFrame::Foreign("the sender has not greeted"));
        }
        let length = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
        let limit = if kind.is_greeting() { REPLICA_GREETING_BYTES_MAX } else { REPLICA_FRAME_BYTES_MAX };
        if length > limit {
            return Err(NoFrame::TooLong { length, limit });
        }
        let epoch = u64::from_le_bytes([e0, e1, e2, e3, e4, e5, e6, e7]);
        let checksum = u64::from_le_bytes(checksum.try_into().map_err(|_| NoFrame::Damaged)?);
        Ok(Self { kind, length, epoch, head: *head, checksum })
    }

    /// Whether the payload is the one that was sent.
    pub fn check(&self, payload: &[u8]) -> Result<(), NoFrame> {
        if payload.len() == self.length && checksum(&self.head, payload) == self.checksum {
            Ok(())
        } else {
            Err(NoFrame::Damaged)
        }
    }
}

/// The header of a frame; the payload follows it.
pub fn header(kind: Kind, epoch: u64, payload: &[u8]) -> Result<[u8; HEADER_BYTES], NoFrame> {
    let limit = if kind.is_greeting() { REPLICA_GREETING_BYTES_MAX } else { REPLICA_FRAME_BYTES_MAX };
    let too_long = NoFrame::TooLong { length: payload.len(), limit };
    let length = u32::try_from(payload.len()).map_err(|_| too_long.clone())?;
    if payload.len() > limit {
        return Err(too_long);
    }
    let mut head = [0; 24];
    let parts: [&[u8]; 6] = [&MAGIC, &[kind as u8, 0, 0, 0], &length.to_le_bytes(), &[0; 4], &epoch.to_le_bytes(), &[]];
    let mut at = head.iter_mut();
    for byte in parts.into_iter().flatten() {
        if let Some(place) = at.next() {
            *place = *byte;
        }
    }
    let mut whole = [0; HEADER_BYTES];
    let (front, back) = whole.split_at_mut(24);
    front.copy_from_slice(&head);
    back.copy_from_slice(&checksum(&head, payload).to_le_bytes());
    Ok(whole)
}

fn checksum(head: &[u8; 24], payload: &[u8]) -> u64 {
    let mut hash = Xxh3Default::new();
    hash.update(head);
    hash.update(payload);
    hash.digest()
}

fn foreign(magic: [u8; 4]) -> NoFrame {
    const METHODS: [&[u8; 4]; 8] = [b"GET ", b"POST", b"PUT ", b"HEAD", b"DELE", b"PATC", b"OPTI", b"CONN"];
    if METHODS.contains(&&magic) {
        NoFrame::Http
    } else if magic == *b"HTTP" {
        NoFrame::Foreign(
            "it is a node's HTTP port; give the port for followers, Replication:Port there (5500 if unchanged)",
        )
    } else if magic.starts_with(&[0x16, 0x03]) {
        NoFrame::Foreign("TLS was spoken to a port without it; set Replication:Tls on both sides or on neither")
    } else if magic.starts_with(b"HFL") {
        NoFrame::Foreign("its layout is another version's; bring both nodes to one version")
    } else if magic == *b"DFLR" {
        NoFrame::Foreign("it is a node of DocumentForge; its replication cannot be joined")
    } else {
        NoFrame::Foreign("it begins with other bytes")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use proptest::prelude::{any, prop_assert, prop_assume, proptest};

    use super::*;

    fn frame(kind: Kind, epoch: u64, payload: &[u8]) -> ([u8; HEADER_BYTES], Vec<u8>) {
        (header(kind, epoch, payload).unwrap(), payload.to_vec())
    }

    #[test]
    fn frames_of_every_kind_come_back() {
        for kind in Kind::ALL {
            let (bytes, payload) = frame(kind, 7, b"payload");
            let read = Header::read(&bytes, true).unwrap();
            assert_eq!((read.kind, read.epoch, read.length), (kind, 7, 7));
            read.check(&payload).unwrap();
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_seen() {
        let (bytes, payload) = frame(Kind::Stretch, 3, &[9; 40]);
        for at in 0..(HEADER_BYTES + payload.len()) * 8 {
            let (mut bytes, mut payload) = (bytes, payload.clone());
            if at / 8 < HEADER_BYTES {
                bytes[at / 8] ^= 1 << (at % 8);
            } else {
                payload[at / 8 - HEADER_BYTES] ^= 1 << (at % 8);
            }
            let seen = Header::read(&bytes, true).and_then(|header| {
                payload.resize(header.length.min(1 << 20), 0);
                header.check(&payload)
            });
            assert!(seen.is_err(), "bit {at}");
        }
    }

    #[test]
    fn what_is_too_long_is_refused_before_it_is_read() {
        let mut bytes = header(Kind::Hello, 0, b"").unwrap();
        bytes[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(Header::read(&bytes, true), Err(NoFrame::TooLong { .. })));
        bytes[4] = Kind::Stretch as u8;
        assert!(matches!(Header::read(&bytes, true), Err(NoFrame::TooLong { .. })));
        assert!(header(Kind::Proof, 0, &vec![0; REPLICA_GREETING_BYTES_MAX + 1]).is_err());
    }

    #[test]
    fn strangers_are_told_what_they_did() {
        let mut bytes = [b' '; HEADER_BYTES];
        bytes[..4].copy_from_slice(b"GET ");
        assert_eq!(Header::read(&bytes, false), Err(NoFrame::Http));
        let (bytes, _) = frame(Kind::Stretch, 1, b"");
        assert!(matches!(Header::read(&bytes, false), Err(NoFrame::Foreign(_))));
        let mut unknown = header(Kind::Stretch, 1, b"").unwrap();
        unknown[4] = 99;
        assert_eq!(Header::read(&unknown, true), Err(NoFrame::UnknownKind(99)));
    }

    proptest! {
        #[test]
        fn noise_is_no_frame(noise in any::<[u8; HEADER_BYTES]>(), is_known in any::<bool>()) {
            prop_assume!(noise[..4] != MAGIC);
            prop_assert!(Header::read(&noise, is_known).is_err());
        }
    }
}
