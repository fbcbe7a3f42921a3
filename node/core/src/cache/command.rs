//! What clients do to an entry, whatever door they come through.

use thiserror::Error;

use crate::cache::state::{Content, Count, Folded, KeyState, Times, Write};
use crate::cache::touch::Touch;
use crate::counter::Amount;
use crate::limits::CACHE_TTL_MILLIS_MAX;
use crate::stamp::Stamp;
use crate::time::Millis;
use crate::vector::Dot;

/// How long an entry is to live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// So long from now.
    For(Millis),
    /// As long as the entry that is there; so long from now where there is none.
    KeepOr(Millis),
}

/// What must hold of an entry before it is changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum When {
    /// Nothing.
    #[default]
    Always,
    /// There is none (`nx`).
    Absent,
    /// There is one (`xx`).
    Present,
    /// It is at one of these versions (`If-Match`).
    At(Vec<String>),
}

/// One change of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheCommand {
    /// Write a value.
    Set {
        /// The value.
        content: Content,
        /// How long it lives.
        lifetime: Lifetime,
    },
    /// Add to a number; an entry that is not there begins at zero. The entry's end stays as it is.
    Add {
        /// How much.
        amount: Amount,
        /// How long an entry lives that is not there yet.
        lifetime: Millis,
    },
    /// Let it end at another time. What somebody else writes meanwhile stays what it is.
    Touch {
        /// How long from now it lives.
        lifetime: Millis,
    },
    /// Delete it.
    Delete,
}

/// Why a change was refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CacheRefusal {
    /// It was to be absent.
    #[error("there is an entry already, at version '{current}'")]
    Present {
        /// The version.
        current: String,
    },
    /// It was to be there.
    #[error("there is no entry")]
    Absent,
    /// It is at another version.
    #[error("the entry is at version '{current}'")]
    OtherVersion {
        /// The version; `<null>` where there is no entry.
        current: String,
    },
    /// What is there is no number that can be added to exactly.
    #[error("the entry is no number that can be added to")]
    NotANumber,
    /// The entries would take more room than they may.
    #[error("the cache is full: it holds {bytes} bytes and may hold {limit}")]
    Full {
        /// Bytes of what is kept.
        bytes: u64,
        /// The setting.
        limit: u64,
    },
}

/// What a change came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheOutcome {
    /// When it was done, by this node's clock.
    pub at: Millis,
    /// The entry before it.
    pub before: Option<Times>,
    /// Its value, if it was asked for.
    pub value_before: Option<Content>,
    /// The entry after it.
    pub after: Option<Times>,
    /// The number after an addition.
    pub sum: Option<Content>,
    /// The name of what was written; `None` when nothing was: deleting what is not there writes nothing.
    pub written: Option<Dot>,
}

/// The time and the names for what a change writes.
#[derive(Debug, Clone)]
pub struct Minted {
    /// The wall clock.
    pub now: Millis,
    /// A fresh stamp of this node.
    pub stamp: Stamp,
    /// The next name of this node in the cache.
    pub dot: Dot,
}

/// Carries a change out on what is known of its key. The value that was there before is given on request only.
pub fn perform(
    state: &mut KeyState,
    command: CacheCommand,
    when: &When,
    wants_value: bool,
    minted: Minted,
) -> Result<CacheOutcome, CacheRefusal> {
    let now = minted.now;
    let shown = state.shown(now);
    let before = shown.as_ref().map(|shown| shown.times);
    check(when, before)?;
    let is_needed = wants_value || matches!(command, CacheCommand::Add { .. });
    let value = shown.filter(|_| is_needed).map(|shown| shown.content.into_owned());
    let mut written = Some(minted.dot.clone());
    let mut sum = None;
    match command {
        CacheCommand::Set { content, lifetime } => {
            let expires = match (lifetime, before) {
                (Lifetime::KeepOr(_), Some(before)) => before.expires,
                (Lifetime::For(span) | Lifetime::KeepOr(span), _) => end_of(now, span),
            };
            let created = before.map_or(now, |before| before.created);
            overwrite(state, minted, Over { created, expires, content: Some(content) });
        }
        CacheCommand::Add { amount, lifetime } => {
            let before = value.as_ref().zip(before.map(|before| before.expires));
            add(state, before, amount, lifetime, minted)?;
            sum = state.shown(now).map(|shown| shown.content.into_owned());
        }
        CacheCommand::Touch { lifetime } => {
            let base = state.base(now).filter(|_| before.is_some()).ok_or(CacheRefusal::Absent)?;
            let touch = touch(state, base, end_of(now, lifetime), minted);
            state.take_touches([touch]);
        }
        CacheCommand::Delete if before.is_none() => written = None,
        CacheCommand::Delete => {
            overwrite(state, minted, Over { created: now, expires: Millis(0), content: None });
        }
    }
    let after = state.shown(now).map(|shown| shown.times);
    Ok(CacheOutcome { at: now, before, value_before: value.filter(|_| wants_value), after, sum, written })
}

fn check(when: &When, before: Option<Times>) -> Result<(), CacheRefusal> {
    match (when, before) {
        (When::Always, _) | (When::Absent, None) | (When::Present, Some(_)) => Ok(()),
        (When::Absent, Some(before)) => Err(CacheRefusal::Present { current: before.version_text() }),
        (When::Present, None) => Err(CacheRefusal::Absent),
        (When::At(_), None) => Err(CacheRefusal::OtherVersion { current: "<null>".to_owned() }),
        (When::At(versions), Some(before)) => {
            let current = before.version_text();
            if versions.contains(&current) { Ok(()) } else { Err(CacheRefusal::OtherVersion { current }) }
        }
    }
}

fn end_of(now: Millis, span: Millis) -> Millis {
    now + span.min(Millis(CACHE_TTL_MILLIS_MAX))
}

/// What a write puts in the place of what is known.
struct Over {
    created: Millis,
    expires: Millis,
    content: Option<Content>,
}

/// A stamp above all that is known of the key: a clock that ran ahead elsewhere wins no argument with a later write.
fn stamp_above(state: &KeyState, stamp: Stamp) -> Stamp {
    stamp.max(Stamp(state.latest_stamp().0.saturating_add(1)))
}

/// A new end for what a write shows. It lasts as long as all that is known: who brings an earlier one later is late.
fn touch(state: &KeyState, write: &Write, expires: Millis, minted: Minted) -> Touch {
    Touch {
        dot: minted.dot,
        stamp: stamp_above(state, minted.stamp),
        of: write.dot.clone(),
        of_stamp: write.stamp,
        counter: write.counter(),
        from: state.kept_since(write).unwrap_or(minted.now),
        expires,
        until: state.until().max(expires),
    }
}

/// Writes over all that is known.
fn overwrite(state: &mut KeyState, minted: Minted, over: Over) {
    let now = minted.now;
    let stamp = stamp_above(state, minted.stamp);
    // What was added to an entry unseen by its deletion stays; a value ends what was added before it.
    let reset = if over.content.is_some() { stamp } else { state.reset_at(now) };
    let write = Write {
        dot: minted.dot,
        stamp,
        reset,
        created: over.created,
        expires: over.expires,
        until: state.until().max(over.expires),
        content_hash: over.content.as_ref().map_or(0, Content::hash),
        content: over.content,
        folded: folded(state, now),
    };
    state.merge(KeyState { writes: vec![write], ..KeyState::default() });
}

/// What has been counted so far; whoever goes on with one of these counts adds what is new in it.
fn folded(state: &KeyState, now: Millis) -> Vec<Folded> {
    let folded = |count: &Count| {
        let (origin, through) = (count.dot.origin.clone(), count.dot.sequence);
        Folded { origin, series: count.series, through, total: count.total }
    };
    state.counted(now).map(folded).collect()
}

/// Adds to a number.
///
/// An entry that is not there becomes a zero beside which the amount is counted: two nodes that both begin it count
/// together.
fn add(
    state: &mut KeyState,
    before: Option<(&Content, Millis)>,
    amount: Amount,
    lifetime: Millis,
    minted: Minted,
) -> Result<(), CacheRefusal> {
    let now = minted.now;
    let zero = Content::json("0");
    // What is there must be a number, and stay one, that can be added to exactly.
    let is_exact = |number: &Content| number.amount().is_some_and(|base| (base + amount).is_countable());
    if before.is_some_and(|(number, _)| !is_exact(number)) {
        return Err(CacheRefusal::NotANumber);
    }
    let dot = minted.dot.clone();
    let fresh = minted.stamp;
    let expires = before.map_or_else(|| end_of(now, lifetime), |(_, expires)| expires);
    if before.is_none() {
        let write = Write {
            dot: minted.dot,
            stamp: stamp_above(state, fresh),
            // What was added to an entry that has ended is over with it, however long its record is kept: it is known.
            reset: state.reset_at(now),
            folded: folded(state, now),
            created: now,
            expires,
            until: state.until().max(expires),
            content_hash: zero.hash(),
            content: Some(zero),
        };
        state.merge(KeyState { writes: vec![write], ..KeyState::default() });
    }
    let lengthened = state.lengthened();
    let until = state.base(now).map_or(now, |write| state.write_lasts(write, &lengthened));
    // It takes the place of what this node has counted before, and must outlive that: else that comes back by a message
    // that is late.
    let replaced = state.counts.iter().find(|count| count.dot.origin == dot.origin);
    let until = replaced.map_or(until, |replaced| until.max(lengthened.count_lasts(replaced)));
    let stamp = stamp_above(state, fresh);
    let known = state.counted(now).find(|count| count.dot.origin == dot.origin);
    let (series, total) = known.map_or((dot.sequence, amount), |known| (known.series, known.total + amount));
    state.take_count(Count { dot, series, stamp, expires, until, total });
    Ok(())
}
