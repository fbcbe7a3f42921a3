//! What a node knows of one key, how two nodes' knowledge is put together, and what is shown of it.
//!
//! ```text
//!   write     stamp ─────────────► expires ········► until
//!                    it is shown             it hides what it overwrote
//! ```
//!
//! A write that overwrites another hides it for as long as that one could have been shown, its *until*: so whoever
//! lets go of a write whose until has passed can never be shown an older one by a late message. Of two writes that did
//! not know of each other the one with the greater stamp is shown, and when it has ended, the other, if that lives on.
//! A write gives way for good once another with a greater stamp hides at least as long.
//!
//! What was added to a number stands beside the writes, by who added it. A write says what it knew of that: what it did
//! not know is added to what it wrote, and to a zero where it deleted. New ends are parts too: see [`Touch`].

use std::borrow::Cow;

use xxhash_rust::xxh3::Xxh3Default;

use crate::cache::CacheKey;
use crate::cache::touch::Touch;
use crate::counter::Amount;
use crate::digest::Digest;
use crate::stamp::Stamp;
use crate::time::Millis;
use crate::vector::{Dot, Origin, Sequence, Vector};

/// What the bytes of a value are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Media {
    /// A JSON value, as compact text.
    Json,
    /// Anything else, with the content type that its writer named.
    Raw(String),
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// What the bytes are.
    pub media: Media,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Content {
    /// A JSON value by its compact text.
    pub fn json(text: impl Into<Vec<u8>>) -> Self {
        Self { media: Media::Json, bytes: text.into() }
    }

    /// Tells values apart, after one was let go too.
    pub fn hash(&self) -> u64 {
        let mut hash = Xxh3Default::new();
        if let Media::Raw(name) = &self.media {
            hash.update(name.as_bytes());
            hash.update(&[0]);
        }
        hash.update(&self.bytes);
        hash.digest()
    }
}

/// What one origin has counted, when a write took it into its value or overwrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folded {
    /// Who counted.
    pub origin: Origin,
    /// Which of its series; see [`Count::series`].
    pub series: Sequence,
    /// Its newest addition that is; zero where an earlier format did not say.
    pub through: Sequence,
    /// How much of it is in the value.
    pub total: Amount,
}

/// One write of a key: a value or a deletion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Who wrote it and as which of its writes to the cache.
    pub dot: Dot,
    /// When, and its rank among concurrent ones.
    pub stamp: Stamp,
    /// Counts up to this stamp are not added to it.
    pub reset: Stamp,
    /// When the entry was made; a write over one that lives keeps it.
    pub created: Millis,
    /// It is shown before this; zero for a deletion.
    pub expires: Millis,
    /// It hides what it knew of before this.
    pub until: Millis,
    /// The value; `None` for a deletion, and once it has been let go after it had ended.
    pub content: Option<Content>,
    /// See [`Content::hash`]; zero for a deletion.
    pub content_hash: u64,
    /// Counts that it knew of: they are in the value already, or were overwritten.
    pub folded: Vec<Folded>,
}

/// Counts up to a stamp are not added, before a moment: all that is left of a write that gave way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reset {
    /// The write.
    pub dot: Dot,
    /// The stamp.
    pub stamp: Stamp,
    /// The moment.
    pub until: Millis,
}

/// All that one origin has added to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// Its newest addition: who, and as which of its writes to the cache.
    pub dot: Dot,
    /// Its first addition: a later series begins from zero.
    pub series: Sequence,
    /// The stamp of the newest.
    pub stamp: Stamp,
    /// When the entry ended to which it was added; zero where an earlier format did not say.
    pub expires: Millis,
    /// It counts before this.
    pub until: Millis,
    /// All additions of the series.
    pub total: Amount,
}

/// What is known of one key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyState {
    /// Writes that none with a greater stamp hides for good: the greatest stamp first, each later one ends later.
    pub writes: Vec<Write>,
    /// Resets of writes that gave way, beyond those of `writes`.
    pub resets: Vec<Reset>,
    /// Counts, by origin.
    pub counts: Vec<Count>,
    /// Touches that no later one of the same write contains, the latest first.
    pub touches: Vec<Touch>,
}

/// An entry as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown<'a> {
    /// The value, counts added.
    pub content: Cow<'a, Content>,
    /// When, until when, and at which version.
    pub times: Times,
}

/// When an entry was made, changed and ends, and its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// When it was made.
    pub created: Millis,
    /// When it was last changed.
    pub updated: Millis,
    /// When it ends.
    pub expires: Millis,
    /// Changes whenever what is shown changes.
    pub version: u128,
}

impl Times {
    /// The version as clients see it: 32 hexadecimal digits.
    pub fn version_text(&self) -> String {
        // A version goes into every answer: the formatting machinery would cost more than finding the entry.
        let digits = (0..32).rev().map(|place| u32::try_from((self.version >> (4 * place)) & 0xf).unwrap_or_default());
        digits.filter_map(|digit| char::from_digit(digit, 16)).collect()
    }
}

impl Folded {
    pub(super) fn is_of(&self, count: &Count) -> bool {
        self.origin == count.dot.origin && self.series == count.series
    }
}

impl Write {
    pub(super) fn rank(&self) -> (Stamp, &Dot) {
        (self.stamp, &self.dot)
    }

    fn as_reset(&self) -> Reset {
        Reset { dot: self.dot.clone(), stamp: self.reset, until: self.until }
    }
}

impl KeyState {
    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.counts.is_empty() && self.touches.is_empty()
    }

    /// Puts together what is known here and what another node knows.
    pub fn merge(&mut self, other: Self) {
        let gone = [self.gone(), other.gone()].concat();
        let mut writes = std::mem::take(&mut self.writes);
        for write in other.writes {
            match writes.iter_mut().find(|known| known.dot == write.dot) {
                // It may have been let go of here before a touch was heard of.
                Some(known) if known.content.is_none() => known.content = write.content,
                Some(_) => {}
                None => writes.push(write),
            }
        }
        writes.sort_by(|left, right| right.rank().cmp(&left.rank()));
        self.resets.extend(other.resets);
        let mut latest_end = None;
        for write in writes {
            if gone.contains(&write.dot) || latest_end.is_some_and(|end| write.until <= end) {
                self.resets.push(write.as_reset());
            } else {
                latest_end = Some(write.until);
                self.writes.push(write);
            }
        }
        self.take_touches(other.touches);
        for count in other.counts {
            self.take_count(count);
        }
        self.settle_resets();
    }

    /// Takes one addition's count in.
    pub(super) fn take_count(&mut self, count: Count) {
        match self.counts.binary_search_by(|known| known.dot.origin.cmp(&count.dot.origin)) {
            Ok(place) => {
                if let Some(known) = self.counts.get_mut(place)
                    && known.dot.sequence < count.dot.sequence
                {
                    *known = count;
                }
            }
            Err(place) => self.counts.insert(place, count),
        }
    }

    /// Leaves out resets that others contain, and counts that can never be added again.
    fn settle_resets(&mut self) {
        let of_writes = |state: &Self| state.writes.iter().map(Write::as_reset).collect::<Vec<_>>();
        let mut all = of_writes(self);
        all.extend(std::mem::take(&mut self.resets));
        self.counts.retain(|count| !all.iter().any(|reset| reset.stamp >= count.stamp && reset.until >= count.until));
        let mut kept = of_writes(self);
        all.sort_by(|left, right| (right.stamp, right.until, &right.dot).cmp(&(left.stamp, left.until, &left.dot)));
        for reset in all {
            let contains = |other: &Reset| other.stamp >= reset.stamp && other.until >= reset.until;
            if reset.stamp > Stamp::default() && !kept.iter().any(contains) {
                kept.push(reset.clone());
                self.resets.push(reset);
            }
        }
    }

    /// The write that decides at a moment.
    pub(super) fn base(&self, now: Millis) -> Option<&Write> {
        let lengthened = self.lengthened();
        self.writes.iter().find(|write| self.write_lasts(write, &lengthened) > now)
    }

    /// What is shown at a moment.
    pub fn shown(&self, now: Millis) -> Option<Shown<'_>> {
        let write = self.base(now)?;
        let end = self.end_of(write);
        if end.expires <= now {
            return None;
        }
        let mut version = Xxh3Default::new();
        hash_dot(&mut version, &write.dot);
        // A write that a crash has taken back leaves its number to another, and not its version.
        version.update(&write.stamp.0.to_le_bytes());
        version.update(&write.content_hash.to_le_bytes());
        let mut updated = write.stamp;
        if let Some(touch) = end.touch {
            hash_dot(&mut version, &touch.dot);
            version.update(&touch.stamp.0.to_le_bytes());
            updated = updated.max(touch.stamp);
        }
        let mut sum: Option<Amount> = None;
        let kept_until = self.kept_until(write);
        for count in self.counted(now).filter(|count| !write.is_deletion() || write.spares(count, kept_until)) {
            hash_dot(&mut version, &count.dot);
            version.update(&count.stamp.0.to_le_bytes());
            updated = updated.max(count.stamp);
            sum = Some(sum.unwrap_or_default() + count.total + -write.folded_of(count));
        }
        let content = match (sum, &write.content) {
            (Some(sum), None) if write.is_deletion() => Cow::Owned(Content::json("0").plus(sum)?),
            (_, None) => return None,
            (None, Some(content)) => Cow::Borrowed(content),
            (Some(sum), Some(content)) => content.plus(sum).map_or(Cow::Borrowed(content), Cow::Owned),
        };
        let times = Times {
            created: write.created,
            updated: updated.millis(),
            expires: end.expires,
            version: version.digest128(),
        };
        Some(Shown { content, times })
    }

    /// What is shown at a moment, without copying the value.
    pub fn into_shown(mut self, now: Millis) -> Option<Shown<'static>> {
        let Shown { content, times } = self.shown(now)?;
        let counted = if let Cow::Owned(content) = content { Some(content) } else { None };
        let content = match counted {
            Some(content) => content,
            None => {
                let dot = self.base(now)?.dot.clone();
                self.writes.iter_mut().find(|write| write.dot == dot)?.content.take()?
            }
        };
        Some(Shown { content: Cow::Owned(content), times })
    }

    /// Counts that are added at a moment.
    pub(super) fn counted(&self, now: Millis) -> impl Iterator<Item = &Count> {
        let lengthened = self.lengthened();
        let reset = if self.counts.is_empty() { Stamp::default() } else { self.reset_at(now) };
        self.counts.iter().filter(move |count| count.stamp > reset && lengthened.count_lasts(count) > now)
    }

    /// The greatest stamp up to which counts are not added at a moment.
    pub(super) fn reset_at(&self, now: Millis) -> Stamp {
        let lengthened = self.lengthened();
        let of_writes = self.writes.iter().filter(|write| self.write_lasts(write, &lengthened) > now);
        let of_others = self.resets.iter().filter(|reset| reset.until > now).map(|reset| reset.stamp);
        of_writes.map(|write| write.reset).chain(of_others).max().unwrap_or_default()
    }

    /// The latest stamp in it.
    pub fn latest_stamp(&self) -> Stamp {
        let of_writes = self.writes.iter().map(|write| write.stamp);
        let of_touches = self.touches.iter().map(|touch| touch.stamp);
        of_writes.chain(of_touches).chain(self.counts.iter().map(|count| count.stamp)).max().unwrap_or_default()
    }

    /// The latest moment before which something of it still matters.
    pub fn until(&self) -> Millis {
        let of_writes = self.writes.iter().map(|write| write.until);
        let of_touches = self.touches.iter().map(|touch| touch.until);
        of_writes.chain(of_touches).chain(self.counts.iter().map(|count| count.until)).max().unwrap_or_default()
    }

    /// When something of it can next be let go; `None` for nothing.
    pub fn next_end(&self) -> Option<Millis> {
        let lengthened = self.lengthened();
        let values = self.writes.iter().filter(|write| write.holds_value());
        let writes = self.writes.iter().map(|write| self.write_lasts(write, &lengthened));
        let counts = self.counts.iter().map(|count| lengthened.count_lasts(count));
        let touches = self.touches.iter().map(|touch| touch.until);
        values.map(|write| self.end_of(write).expires).chain(writes).chain(counts).chain(touches).min()
    }

    /// Lets go of what has ended. Changes nothing that is shown, at this moment or later.
    pub fn let_go(&mut self, now: Millis) {
        self.resets.retain(|reset| reset.until > now);
        if self.next_end().is_some_and(|end| end <= now) {
            let before = self.without_values();
            let lengthened = before.lengthened();
            self.writes.retain(|write| before.write_lasts(write, &lengthened) > now);
            self.counts.retain(|count| lengthened.count_lasts(count) > now);
            self.touches.retain(|touch| touch.until > now);
            let has_ended = |write: &Write| write.holds_value() && before.end_of(write).expires <= now;
            for write in self.writes.iter_mut().filter(|write| has_ended(write)) {
                write.content = None;
            }
        }
        if self.is_empty() {
            self.resets.clear();
        }
    }

    fn without_values(&self) -> Self {
        let of_write =
            |write: &Write| Write { dot: write.dot.clone(), content: None, folded: write.folded.clone(), ..*write };
        Self {
            writes: self.writes.iter().map(of_write).collect(),
            resets: Vec::new(),
            counts: self.counts.clone(),
            touches: self.touches.clone(),
        }
    }

    /// Whether whoever knows `vector` has merged all of it.
    pub fn is_known_to(&self, vector: &Vector) -> bool {
        self.dots().all(|dot| vector.covers(dot)) && !self.holds_more_than_its_parts()
    }

    /// When it was last written to or added to.
    pub fn changed(&self) -> Option<Millis> {
        let stamps = self.writes.iter().map(|write| write.stamp).chain(self.counts.iter().map(|count| count.stamp));
        stamps.max().map(Stamp::millis)
    }

    /// The writes, additions and touches that are in it.
    pub fn dots(&self) -> impl Iterator<Item = &Dot> {
        let of_writes = self.writes.iter().map(|write| &write.dot).chain(self.resets.iter().map(|reset| &reset.dot));
        let of_touches = self.touches.iter().map(|touch| &touch.dot);
        of_writes.chain(self.counts.iter().map(|count| &count.dot)).chain(of_touches)
    }

    /// The part of each thing in it of a digest, with the moment up to which two nodes that know the same both hold it.
    pub fn digests(&self, key: &CacheKey) -> impl Iterator<Item = (Millis, Digest)> {
        let lengthened = self.lengthened();
        let counts = self.counts.iter().map(move |count| {
            let mut hash = begin_digest(key, &count.dot);
            hash.update(&count.total.billionths().to_le_bytes());
            (lengthened.count_lasts(count), Digest(hash.digest128()))
        });
        let lengthened = self.lengthened();
        let writes = self.writes.iter().map(move |write| {
            let mut hash = begin_digest(key, &write.dot);
            for number in [write.stamp.0, write.expires.0, write.until.0, write.content_hash] {
                hash.update(&number.to_le_bytes());
            }
            (self.write_lasts(write, &lengthened), Digest(hash.digest128()))
        });
        let touches = self.touches.iter().map(move |touch| {
            let mut hash = begin_digest(key, &touch.dot);
            for number in [touch.stamp.0, touch.expires.0, touch.until.0] {
                hash.update(&number.to_le_bytes());
            }
            (touch.until, Digest(hash.digest128()))
        });
        writes.chain(counts).chain(touches)
    }

    /// Bytes of the values that it holds.
    pub fn content_bytes(&self) -> usize {
        self.writes.iter().filter_map(|write| write.content.as_ref()).map(|content| content.bytes.len()).sum()
    }
}

impl Write {
    /// How much of a count is in the value already.
    fn folded_of(&self, count: &Count) -> Amount {
        self.folded.iter().find(|folded| folded.is_of(count)).map_or_else(Amount::default, |folded| folded.total)
    }
}

impl Content {
    /// The number that it is, if it is one that can be added to exactly.
    pub(super) fn amount(&self) -> Option<Amount> {
        Amount::of_number(&self.number()?)
    }

    /// The number that it is, with more added; `None` when it is no number.
    fn plus(&self, amount: Amount) -> Option<Self> {
        let sum = amount.added_to(&serde_json::Value::Number(self.number()?))?;
        Some(Self::json(sum.to_string()))
    }

    fn number(&self) -> Option<serde_json::Number> {
        if self.media == Media::Json { serde_json::from_slice(&self.bytes).ok() } else { None }
    }
}

fn hash_dot(hash: &mut Xxh3Default, dot: &Dot) {
    hash.update(dot.origin.node.as_str().as_bytes());
    hash.update(&dot.origin.incarnation.to_le_bytes());
    hash.update(&dot.sequence.0.to_le_bytes());
}

fn begin_digest(key: &CacheKey, dot: &Dot) -> Xxh3Default {
    let mut hash = Xxh3Default::new();
    hash.update(&(key.as_str().len() as u64).to_le_bytes());
    hash.update(key.as_str().as_bytes());
    hash_dot(&mut hash, dot);
    hash
}
