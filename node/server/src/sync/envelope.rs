//! The envelope of a compact message: whether it is compressed, and how large it is without.
//!
//! ```text
//!   format u8 · compression u8: 0 none, 1 zstd · size without it u32 · the message
//! ```
//!
//! Must stay true: no more memory is taken than an exchange may have, whatever the envelope says.

use std::borrow::Cow;
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

thread_local! {
    // Making them takes longer than small messages take, and memory that was never touched; so each thread keeps its own.
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

fn compress(message: &[u8]) -> io::Result<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|kept| match kept {
        Some(compressor) => compressor.compress(message),
        None => kept.insert(Compressor::new(LEVEL)?).compress(message),
    })
}

fn decompress(content: &[u8], size: usize) -> io::Result<Vec<u8>> {
    DECOMPRESSOR.with_borrow_mut(|kept| match kept {
        Some(decompressor) => decompressor.decompress(content, size),
        None => kept.insert(Decompressor::new()?).decompress(content, size),
    })
}

/// Puts a message into its envelope.
pub fn seal(message: &[u8]) -> Vec<u8> {
    let compressed = if message.len() < COMPRESSED_FROM_BYTES { None } else { compress(message).ok() };
    let (compression, content) = match &compressed {
        Some(compressed) if compressed.len() < message.len() => (ZSTD, compressed.as_slice()),
        _ => (PLAIN, message),
    };
    let size = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut envelope = Vec::with_capacity(content.len() + 6);
    envelope.extend_from_slice(&[FORMAT, compression]);
    envelope.extend_from_slice(&size.to_le_bytes());
    envelope.extend_from_slice(content);
    envelope
}

/// Takes the message out of its envelope.
pub fn open(envelope: &[u8]) -> Result<Cow<'_, [u8]>, Refusal> {
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
        PLAIN if content.len() == size => Ok(Cow::Borrowed(content)),
        ZSTD => match decompress(content, size) {
            Ok(message) if message.len() == size => Ok(Cow::Owned(message)),
            _ => Err(refuse("its content does not decompress to its size")),
        },
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
            assert_eq!(open(&envelope).unwrap().as_ref(), message.as_slice());
            assert!(size < 2_048 || envelope.len() < size / 2, "{size} bytes became {}", envelope.len());
            assert_eq!(size_within(&envelope), size.max(envelope.len()));
        }
    }

    #[test]
    fn an_envelope_that_lies_is_refused() {
        let envelope = seal(&[7; 10_000]);
        for end in 0..envelope.len() {
            assert!(open(&envelope[..end]).is_err(), "cut at {end}");
        }
        let lying = |size: u32| [&[FORMAT, ZSTD], size.to_le_bytes().as_slice(), &envelope[6..]].concat();
        for size in [0, 9_999, 10_001, u32::MAX] {
            assert!(open(&lying(size)).is_err(), "{size}");
        }
        assert_eq!(open(&[2, 0, 0, 0, 0, 0]).unwrap_err().code(), "unknown-format");
    }
}
