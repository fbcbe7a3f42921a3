//! What is known of a key, as bytes. Origins stand as numbers of a table that the reader has.

use crate::cache::CacheKey;
use crate::cache::state::{Content, Count, Folded, KeyState, Media, Reset, Write};
use crate::cache::touch::Touch;
use crate::counter::Amount;
use crate::encoding::{DecodeError, Encode, Reader};
use crate::limits::{
    CACHE_MEDIA_BYTES_MAX, CACHE_PARTS_MAX, CACHE_TOUCHES_MAX, CACHE_TTL_MILLIS_MAX, CACHE_VALUE_BYTES_MAX,
};
use crate::stamp::Stamp;
use crate::time::Millis;
use crate::vector::{Dot, Origin, Sequence};

const NO_CONTENT: u8 = 0;
const JSON: u8 = 1;
const RAW: u8 = 2;

/// The forms that a state's bytes have had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateFormat {
    /// The first: no touches; of a count it is not known when the entry ended, nor how far a write knew of it.
    First,
    /// The one that is written now.
    Touches,
}

/// Appends a state.
pub fn encode_state(bytes: &mut Vec<u8>, state: &KeyState, number_of: &mut dyn FnMut(&Origin) -> u64) {
    bytes.put_varint(state.writes.len() as u64);
    for write in &state.writes {
        put_dot(bytes, &write.dot, number_of);
        for number in [write.stamp.0, write.reset.0, write.created.0, write.expires.0, write.until.0] {
            bytes.put_varint(number);
        }
        bytes.extend_from_slice(&write.content_hash.to_le_bytes());
        put_content(bytes, write.content.as_ref());
        bytes.put_varint(write.folded.len() as u64);
        for folded in &write.folded {
            bytes.put_varint(number_of(&folded.origin));
            bytes.put_varint(folded.series.0);
            bytes.put_varint(folded.through.0);
            bytes.extend_from_slice(&folded.total.billionths().to_le_bytes());
        }
    }
    bytes.put_varint(state.resets.len() as u64);
    for reset in &state.resets {
        put_dot(bytes, &reset.dot, number_of);
        bytes.put_varint(reset.stamp.0);
        bytes.put_varint(reset.until.0);
    }
    bytes.put_varint(state.counts.len() as u64);
    for count in &state.counts {
        put_dot(bytes, &count.dot, number_of);
        // An entry most often hides as long as it lives.
        let hides_longer = count.until.since(count.expires).0;
        for number in [count.series.0, count.stamp.0, count.until.0, hides_longer] {
            bytes.put_varint(number);
        }
        bytes.extend_from_slice(&count.total.billionths().to_le_bytes());
    }
    bytes.put_varint(state.touches.len() as u64);
    for touch in &state.touches {
        put_touch(bytes, touch, number_of);
    }
}

/// Reads a state. What it says is merged with what is here, so that its order and what it repeats do not matter.
pub fn decode_state(reader: &mut Reader<'_>, origins: &[Origin], format: StateFormat) -> Result<KeyState, DecodeError> {
    let mut state = KeyState::default();
    let mut read = KeyState::default();
    for _ in 0..parts(reader)? {
        read.writes.push(read_write(reader, origins, format)?);
    }
    if read.writes.iter().map(|write| write.folded.len()).sum::<usize>() > CACHE_PARTS_MAX {
        return Err("a key has too many parts");
    }
    for _ in 0..parts(reader)? {
        let dot = read_dot(reader, origins)?;
        read.resets.push(Reset { dot, stamp: Stamp(reader.varint()?), until: Millis(reader.varint()?) });
    }
    for _ in 0..parts(reader)? {
        let dot = read_dot(reader, origins)?;
        let (series, stamp) = (Sequence(reader.varint()?), Stamp(reader.varint()?));
        let until = Millis(reader.varint()?);
        let expires = if format == StateFormat::First { Millis(0) } else { until.before(Millis(reader.varint()?)) };
        read.counts.push(Count { dot, series, stamp, expires, until, total: read_amount(reader)? });
    }
    if format != StateFormat::First {
        for _ in 0..parts(reader)? {
            read.touches.push(read_touch(reader, origins)?);
        }
        if read.touches.len() > CACHE_TOUCHES_MAX {
            return Err("a key has too many parts");
        }
    }
    if read.writes.len() == 1 && read.resets.is_empty() && read.counts.is_empty() && read.touches.is_empty() {
        return Ok(read);
    }
    state.merge(read);
    Ok(state)
}

impl KeyState {
    /// Whether a node that keeps the rules may have made it: whoever takes it from a peer asks.
    pub fn is_plausible(&self) -> bool {
        // A node whose clock is off makes ends that are off by as much; its stamps tell by how much.
        let latest = |stamp: Stamp| stamp.millis() + Millis(2 * CACHE_TTL_MILLIS_MAX);
        let of_writes = self.writes.iter().all(|write| {
            write.expires <= write.until && write.reset <= write.stamp && write.until <= latest(write.stamp)
        });
        let of_counts = self.counts.iter().all(|count| {
            let is_bounded = count.expires <= count.until && count.until <= latest(count.stamp);
            is_bounded && count.series <= count.dot.sequence && count.total.is_countable()
        });
        let of_touches = self.touches.iter().all(|touch| {
            touch.from <= touch.expires
                && touch.expires <= touch.until
                && touch.of_stamp < touch.stamp
                && touch.until <= latest(touch.stamp)
        });
        let of_resets = self.resets.iter().all(|reset| reset.until <= latest(reset.stamp));
        of_writes && of_counts && of_touches && of_resets && self.writes.iter().all(Write::has_sound_content)
    }
}

impl Write {
    fn has_sound_content(&self) -> bool {
        let Some(content) = &self.content else { return true };
        let is_sound = match &content.media {
            Media::Json => serde_json::from_slice::<&serde_json::value::RawValue>(&content.bytes).is_ok(),
            Media::Raw(name) => is_media_name(name),
        };
        is_sound && content.hash() == self.content_hash
    }
}

/// Whether a text can stand in a header as a content type.
fn is_media_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= CACHE_MEDIA_BYTES_MAX && name.bytes().all(|byte| (0x20..0x7f).contains(&byte))
}

impl Media {
    /// The media of a content type that a client names; `None` for one that cannot be kept.
    pub fn of_content_type(name: &str) -> Option<Self> {
        is_media_name(name).then(|| Self::Raw(name.to_owned()))
    }
}

fn read_write(reader: &mut Reader<'_>, origins: &[Origin], format: StateFormat) -> Result<Write, DecodeError> {
    let dot = read_dot(reader, origins)?;
    let (stamp, reset) = (Stamp(reader.varint()?), Stamp(reader.varint()?));
    let (created, expires, until) = (Millis(reader.varint()?), Millis(reader.varint()?), Millis(reader.varint()?));
    let content_hash = reader.u64()?;
    let content = read_content(reader)?;
    let mut folded = Vec::new();
    for _ in 0..parts(reader)? {
        let origin = origin_at(reader, origins)?;
        let series = Sequence(reader.varint()?);
        let through = if format == StateFormat::First { Sequence(0) } else { Sequence(reader.varint()?) };
        folded.push(Folded { origin, series, through, total: read_amount(reader)? });
    }
    Ok(Write { dot, stamp, reset, created, expires, until, content, content_hash, folded })
}

fn put_touch(bytes: &mut Vec<u8>, touch: &Touch, number_of: &mut dyn FnMut(&Origin) -> u64) {
    put_dot(bytes, &touch.dot, number_of);
    put_dot(bytes, &touch.of, number_of);
    let later = touch.stamp.0.wrapping_sub(touch.of_stamp.0);
    let (lives, hides_longer) = (touch.expires.since(touch.from).0, touch.until.since(touch.expires).0);
    for number in [touch.of_stamp.0, later, touch.from.0, lives, hides_longer] {
        bytes.put_varint(number);
    }
    bytes.push(u8::from(touch.counter != 0));
    if touch.counter != 0 {
        bytes.extend_from_slice(&touch.counter.to_le_bytes());
    }
}

fn read_touch(reader: &mut Reader<'_>, origins: &[Origin]) -> Result<Touch, DecodeError> {
    let (dot, of) = (read_dot(reader, origins)?, read_dot(reader, origins)?);
    let (of_stamp, later) = (Stamp(reader.varint()?), reader.varint()?);
    let from = Millis(reader.varint()?);
    let expires = from + Millis(reader.varint()?);
    let until = expires + Millis(reader.varint()?);
    let counter = if reader.u8()? == 0 { 0 } else { reader.u64()? };
    Ok(Touch { dot, stamp: Stamp(of_stamp.0.wrapping_add(later)), of, of_stamp, counter, from, expires, until })
}

fn put_content(bytes: &mut Vec<u8>, content: Option<&Content>) {
    match content {
        None => bytes.push(NO_CONTENT),
        Some(Content { media: Media::Json, bytes: value }) => {
            bytes.push(JSON);
            bytes.put_bytes(value);
        }
        Some(Content { media: Media::Raw(name), bytes: value }) => {
            bytes.push(RAW);
            bytes.put_bytes(name.as_bytes());
            bytes.put_bytes(value);
        }
    }
}

fn read_content(reader: &mut Reader<'_>) -> Result<Option<Content>, DecodeError> {
    let media = match reader.u8()? {
        NO_CONTENT => return Ok(None),
        JSON => Media::Json,
        RAW => Media::Raw(reader.text()?.to_owned()),
        _ => return Err("a value is of a kind that is not known"),
    };
    let bytes = reader.bytes()?;
    if bytes.len() > CACHE_VALUE_BYTES_MAX {
        return Err("a value is too large");
    }
    Ok(Some(Content { media, bytes: bytes.to_vec() }))
}

fn put_dot(bytes: &mut Vec<u8>, dot: &Dot, number_of: &mut dyn FnMut(&Origin) -> u64) {
    bytes.put_varint(number_of(&dot.origin));
    bytes.put_varint(dot.sequence.0);
}

fn read_dot(reader: &mut Reader<'_>, origins: &[Origin]) -> Result<Dot, DecodeError> {
    Ok(Dot { origin: origin_at(reader, origins)?, sequence: Sequence(reader.varint()?) })
}

fn origin_at(reader: &mut Reader<'_>, origins: &[Origin]) -> Result<Origin, DecodeError> {
    let number = usize::try_from(reader.varint()?).map_err(|_| "an origin is not known")?;
    origins.get(number).cloned().ok_or("an origin is not known")
}

fn read_amount(reader: &mut Reader<'_>) -> Result<Amount, DecodeError> {
    reader.u128().map(|bits| Amount::from_billionths(bits.cast_signed()))
}

fn parts(reader: &mut Reader<'_>) -> Result<usize, DecodeError> {
    let count = reader.count(2)?;
    if count > CACHE_PARTS_MAX { Err("a key has too many parts") } else { Ok(count) }
}

/// Appends a key.
pub fn put_key(bytes: &mut Vec<u8>, key: &CacheKey) {
    bytes.put_bytes(key.as_str().as_bytes());
}

/// Reads a key.
pub fn read_key(reader: &mut Reader<'_>) -> Result<CacheKey, DecodeError> {
    CacheKey::parse(reader.text()?).map_err(|_| "a key is not valid")
}
