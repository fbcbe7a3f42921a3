//! A new end for an entry, as a part of its own: the write that it concerns keeps its value, its rank and its name.
//!
//! ```text
//!   write     stamp ──────────► expires
//!   touch            stamp ─────────────────► expires      the latest one decides …
//!   touch          stamp ────────────────────────► expires … beside one that it did not know, and that reaches further
//! ```
//!
//! A touch concerns the one write that it saw. Where that has given way to another, the touch has no effect, and what is
//! left of it says so for as long as it would have lasted: whoever brings the write with the touch later brings it to
//! nobody. What was counted beside the write lasts as long as the write does, whether or not the touch knew of it. Two
//! nodes that both begin a counter write a zero each; these stand for one another, and so a touch of one counts for both.
//!
//! Must stay true: a touch outlasts whatever it says is over, and keeps what it lengthens. Deliberately absent: a memory
//! of who overwrote what, kept on the chance of a touch that nobody has heard of yet. So a write that ended while a touch
//! was on its way comes with the touch, and with it everything that others have kept beside it.

use xxhash_rust::xxh3::Xxh3Default;

use crate::cache::state::{Content, Count, KeyState, Write};
use crate::stamp::Stamp;
use crate::time::Millis;
use crate::vector::Dot;

/// A new end for what one write shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touch {
    /// Who touched it and as which of its writes to the cache.
    pub dot: Dot,
    /// When, and its rank among touches of the same write.
    pub stamp: Stamp,
    /// The write …
    pub of: Dot,
    /// … with its stamp.
    pub of_stamp: Stamp,
    /// Names the counter that the write has begun, alike on every node; zero for a write that has begun none.
    pub counter: u64,
    /// Since when touches have kept the write: what was counted beside it and lasted until then lasts on.
    pub from: Millis,
    /// What the write shows ends here.
    pub expires: Millis,
    /// It matters before this.
    pub until: Millis,
}

impl Touch {
    fn rank(&self) -> (Stamp, &Dot) {
        (self.stamp, &self.dot)
    }

    fn concerns(&self, write: &Write) -> bool {
        let is_of_same_counter = || self.counter == write.counter() && write.until > self.from;
        self.of == write.dot || (self.counter != 0 && is_of_same_counter())
    }

    /// Whether something else has taken the place of the write, and hides it for as long as this could matter.
    fn is_over(&self, writes: &[Write]) -> bool {
        writes.iter().any(|write| write.rank() > (self.of_stamp, &self.of) && write.until >= self.until)
    }
}

impl Write {
    /// Whether it deletes.
    pub(super) fn is_deletion(&self) -> bool {
        self.expires == Millis(0)
    }

    /// Whether it holds a value that can be let go of. The zero of a counter stays: a touch of the same counter elsewhere
    /// brings another zero.
    pub(super) fn holds_value(&self) -> bool {
        self.content.as_ref().is_some_and(|content| self.reset >= self.stamp || content.bytes != b"0")
    }

    /// See [`Touch::counter`].
    pub(super) fn counter(&self) -> u64 {
        // What a client sets resets at its own stamp.
        if self.reset >= self.stamp || self.content_hash != Content::json("0").hash() {
            return 0;
        }
        let mut hash = Xxh3Default::new();
        hash.update(&self.reset.0.to_le_bytes());
        for folded in &self.folded {
            hash.update(folded.origin.node.as_str().as_bytes());
            hash.update(&folded.origin.incarnation.to_le_bytes());
            hash.update(&folded.through.0.to_le_bytes());
        }
        hash.digest().max(1)
    }

    /// Whether it knew of the newest addition of a count.
    fn has_seen(&self, count: &Count) -> bool {
        let of_count = self.folded.iter().find(|folded| folded.is_of(count));
        of_count.is_some_and(|folded| folded.through >= count.dot.sequence)
    }

    /// Whether a count is shown in spite of this deletion, which is kept until a moment: it was added to what lived, and
    /// the deletion did not know. What is added later has no deletion to be spared by, for that may have been let go of.
    pub(super) fn spares(&self, count: &Count, kept_until: Millis) -> bool {
        let is_in_time = count.expires > self.created && count.stamp.millis() < kept_until;
        is_in_time && self.reset < count.stamp && !self.has_seen(count)
    }
}

/// When what a write shows ends, and by which touch.
pub(super) struct End<'a> {
    pub(super) expires: Millis,
    pub(super) touch: Option<&'a Touch>,
}

/// How long touches make counts last: what is reset by what they concern, since when they keep it, until when.
pub(super) struct Lengthened(Vec<(Stamp, Millis, Millis)>);

impl Lengthened {
    /// How long a count lasts.
    pub(super) fn count_lasts(&self, count: &Count) -> Millis {
        let goes_with = |reset: Stamp, from: Millis| reset < count.stamp && from < count.until;
        let by_touch = self.0.iter().filter(|(reset, from, _)| goes_with(*reset, *from)).map(|(.., until)| *until);
        by_touch.max().map_or(count.until, |until| until.max(count.until))
    }
}

impl KeyState {
    /// Takes touches in whose writes are here, or have been.
    pub(super) fn take_touches(&mut self, touches: impl IntoIterator<Item = Touch>) {
        self.touches.extend(touches);
        self.settle_touches();
    }

    /// Puts touches in the place of those that are here, and lets go of what has ended: repeats a change that concerned
    /// nothing else.
    pub fn retouch(&mut self, touches: Vec<Touch>, now: Millis) {
        self.touches = touches;
        self.let_go(now);
    }

    /// Whether it differs from another in its touches at most.
    pub fn is_equal_but_for_touches(&self, other: &Self) -> bool {
        self.writes == other.writes && self.counts == other.counts && self.resets == other.resets
    }

    /// Leaves out touches that later ones contain, and those that are over.
    pub(super) fn settle_touches(&mut self) {
        let mut all = std::mem::take(&mut self.touches);
        all.sort_by(|left, right| right.rank().cmp(&left.rank()));
        for touch in all {
            let is_contained = self.touches.iter().any(|later| later.of == touch.of && later.until >= touch.until);
            if !is_contained && !touch.is_over(&self.writes) {
                self.touches.push(touch);
            }
        }
    }

    /// Writes that are known to have given way, because something touched them and they are not here.
    pub(super) fn gone(&self) -> Vec<Dot> {
        let is_gone = |touch: &&Touch| !self.writes.iter().any(|write| write.dot == touch.of);
        self.touches.iter().filter(is_gone).map(|touch| touch.of.clone()).collect()
    }

    /// See [`Lengthened`].
    pub(super) fn lengthened(&self) -> Lengthened {
        if self.touches.is_empty() || self.counts.is_empty() {
            return Lengthened(Vec::new());
        }
        let of_touch = |touch: &Touch| {
            let writes = self.writes.iter().filter(|write| touch.concerns(write));
            Some((writes.map(|write| write.reset).min()?, touch.from, touch.until))
        };
        Lengthened(self.touches.iter().filter_map(of_touch).collect())
    }

    fn touched_until(&self, write: &Write) -> Option<Millis> {
        self.touches.iter().filter(|touch| touch.concerns(write)).map(|touch| touch.until).max()
    }

    /// How long a write lasts: as long as it hides anything, as touches of it and, where it deletes, as what it spares.
    pub(super) fn write_lasts(&self, write: &Write, lengthened: &Lengthened) -> Millis {
        let spared = self.spared_by(write).map(|count| lengthened.count_lasts(count));
        spared.max().unwrap_or_default().max(self.kept_until(write))
    }

    /// How long a write lasts by itself and by touches.
    pub(super) fn kept_until(&self, write: &Write) -> Millis {
        if self.touches.is_empty() {
            return write.until;
        }
        self.touched_until(write).unwrap_or_default().max(write.until)
    }

    /// What a deletion spares; nothing where a value is written.
    fn spared_by(&self, write: &Write) -> impl Iterator<Item = &Count> {
        let kept_until = self.kept_until(write);
        let counts = if write.is_deletion() { self.counts.as_slice() } else { &[] };
        counts.iter().filter(move |count| write.spares(count, kept_until))
    }

    /// Since when touches have kept a write.
    pub(super) fn kept_since(&self, write: &Write) -> Option<Millis> {
        self.touches.iter().filter(|touch| touch.concerns(write)).map(|touch| touch.from).min()
    }

    /// When what a write shows ends.
    pub(super) fn end_of(&self, write: &Write) -> End<'_> {
        let (mut expires, mut until) = (write.expires, write.until);
        for count in self.spared_by(write) {
            (expires, until) = (expires.max(count.expires), until.max(count.until));
        }
        if self.touches.is_empty() {
            return End { expires, touch: None };
        }
        // The greatest rank first; a later one counts only if it reaches further than what those above it knew.
        let mut candidates = vec![(write.rank(), expires, until, None)];
        let touches = self.touches.iter().filter(|touch| touch.concerns(write));
        candidates.extend(touches.map(|touch| (touch.rank(), touch.expires, touch.until, Some(touch))));
        candidates.sort_by(|left, right| right.0.cmp(&left.0));
        let mut reach = None;
        let mut end = End { expires: Millis(0), touch: None };
        for (_, expires, until, touch) in candidates {
            if reach.is_none_or(|reach| until > reach) {
                reach = Some(until);
                if expires > end.expires {
                    end = End { expires, touch };
                }
            }
        }
        end
    }

    /// Whether it holds something that others may have let go of in good faith, although they know of all its parts: what
    /// lasts because of a part that they have not got from here.
    pub fn holds_more_than_its_parts(&self) -> bool {
        let lengthened = self.lengthened();
        let is_without_effect = |touch: &Touch| !self.writes.iter().any(|write| touch.concerns(write));
        let spares = |write: &Write| self.spared_by(write).any(|count| count.until > write.until);
        self.touches.iter().any(is_without_effect)
            || self.counts.iter().any(|count| lengthened.count_lasts(count) > count.until)
            || self.writes.iter().any(spares)
    }
}
