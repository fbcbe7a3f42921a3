//! The envelope of a compact message: whether it is compressed, and how large it is without.
//!
//! ```text
//!   format u8 · compression u8: 0 none, 1 zstd · size without it u32 · the message
//! ```
//!
//! Must stay true: no more memory is taken than an exchange may have, whatever the envelope says.

use std::cell::RefCell;
use std::io;

use holdfast_core::error::Refusal;
use holdfast_core::limits::EXCHANGE_BYTES_MAX;
use zstd::bulk::{Compressor, Decompressor};

const FORMAT: u8 = 1;
const PLAIN: u8 = 0;
const ZSTD: u8 = 1;
/// The fastest level: on a local line compression must cost less than it spares.
const LEVEL: i32 = 1;
/// Smaller messages fit a packet or two anyway.
const COMPRESSED_FROM_BYTES: usize = 2 * 1024;
/// Most bytes that a thread keeps for the next message. A peer that catches up is sent larger ones, at a lower price each
/// operation.
const ROOM_BYTES_MAX: usize = 1024 * 1024;

thread_local! {
    // Making them takes longer than small messages take, and memory that was never touched; so each thread keeps its own.
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
    /// What a message is compressed or decompressed into. What a message under load takes is given back to the system
    /// between two of them, and to get it again takes longer than the work that is done in it.
    static ROOM: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Does something in the room of this thread, which is empty, and keeps it unless it has grown large.
fn in_room<T>(work: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let mut room = ROOM.take();
    let done = work(&mut room);
    ROOM.set(kept(room));
    done
}

/// Room as it is kept for the next message: empty, and none where it has grown large.
pub fn kept(mut room: Vec<u8>) -> Vec<u8> {
    if room.capacity() > ROOM_BYTES_MAX {
        return Vec::new();
    }
    room.clear();
    room
}

fn compress(message: &[u8], room: &mut Vec<u8>) -> io::Result<()> {
    room.reserve(zstd::zstd_safe::compress_bound(message.len()));
    COMPRESSOR.with_borrow_mut(|kept| {
        let compressor = match kept {
            Some(compressor) => compressor,
            None => kept.insert(Compressor::new(LEVEL)?),
        };
        compressor.compress_to_buffer(message, room).map(|_| ())
    })
}

fn decompress(content: &[u8], size: usize, room: &mut Vec<u8>) -> io::Result<()> {
    room.reserve_exact(size);
    DECOMPRESSOR.with_borrow_mut(|kept| {
        let decompressor = match kept {
            Some(decompressor) => decompressor,
            None => kept.insert(Decompressor::new()?),
        };
        decompressor.decompress_to_buffer(content, room).map(|_| ())
    })
}

/// Puts a message into its envelope.
pub fn seal(message: &[u8]) -> Vec<u8> {
    in_room(|room| {
        let is_compressed = message.len() >= COMPRESSED_FROM_BYTES && compress(message, room).is_ok();
        let (compression, content) =
            if is_compressed && room.len() < message.len() { (ZSTD, room.as_slice()) } else { (PLAIN, message) };
        let size = u32::try_from(message.len()).unwrap_or(u32::MAX);
        let mut envelope = Vec::with_capacity(content.len() + 6);
        envelope.extend_from_slice(&[FORMAT, compression]);
        envelope.extend_from_slice(&size.to_le_bytes());
        envelope.extend_from_slice(content);
        envelope
    })
}

/// Takes the message out of its envelope, and reads it.
pub fn open<T>(envelope: &[u8], read: impl FnOnce(&[u8]) -> Result<T, Refusal>) -> Result<T, Refusal> {
    let refuse = |what: &str| Refusal::invalid("malformed-message", format!("The envelope is damaged: {what}."));
    let ([format, compression, size @ ..], content) =
        envelope.split_first_chunk::<6>().ok_or_else(|| refuse("it ends too early"))?;
    if *format != FORMAT {
        return Err(Refusal::invalid(
            "unknown-format",
            format!("The envelope has format {format}; this node reads {FORMAT}. Bring both nodes to one version."),
        ));
    }
    let size = usize::try_from(u32::from_le_bytes(*size)).unwrap_or(usize::MAX);
    if size > EXCHANGE_BYTES_MAX {
        return Err(refuse("it holds more than an exchange may"));
    }
    match *compression {
        PLAIN if content.len() == size => read(content),
        ZSTD => in_room(|room| match decompress(content, size, room) {
            Ok(()) if room.len() == size => read(room),
            _ => Err(refuse("its content does not decompress to its size")),
        }),
        _ => Err(refuse("its size or its compression is not valid")),
    }
}

/// How large an envelope says to be, open or closed: whichever is more.
pub fn size_within(envelope: &[u8]) -> usize {
    let size = envelope.split_first_chunk::<6>().map_or(0, |([_, _, size @ ..], _)| u32::from_le_bytes(*size));
    usize::try_from(size).unwrap_or(usize::MAX).max(envelope.len())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn messages_of_every_size_come_back() {
        for size in [0, 1, 2_047, 2_048, 100_000] {
            let message: Vec<u8> = (0..size).map(|at| u8::try_from(at % 7).unwrap()).collect();
            let envelope = seal(&message);
            assert_eq!(open(&envelope, |read| Ok(read.to_vec())).unwrap(), message);
            assert!(size < 2_048 || envelope.len() < size / 2, "{size} bytes became {}", envelope.len());
            assert_eq!(size_within(&envelope), size.max(envelope.len()));
        }
    }

    #[test]
    fn nothing_of_one_message_is_left_in_the_next() {
        for size in [50_000, 3_000, 2 * ROOM_BYTES_MAX, 4_000] {
            let message = vec![u8::try_from(size % 251).unwrap(); size];
            let envelope = seal(&message);
            assert_eq!(open(&envelope, |read| Ok(read.to_vec())).unwrap(), message);
            assert!(ROOM.with_borrow(|room| room.is_empty() && room.capacity() <= ROOM_BYTES_MAX));
        }
    }

    #[test]
    fn an_envelope_that_lies_is_refused() {
        let all = |read: &[u8]| Ok(read.to_vec());
        let envelope = seal(&[7; 10_000]);
        for end in 0..envelope.len() {
            assert!(open(&envelope[..end], all).is_err(), "cut at {end}");
        }
        let lying = |size: u32| [&[FORMAT, ZSTD], size.to_le_bytes().as_slice(), &envelope[6..]].concat();
        for size in [0, 9_999, 10_001, u32::MAX] {
            assert!(open(&lying(size), all).is_err(), "{size}");
        }
        assert_eq!(open(&[2, 0, 0, 0, 0, 0], all).unwrap_err().code(), "unknown-format");
    }
}
