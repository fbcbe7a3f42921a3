//! Finding many documents of a collection one after the other by their ids, as an index names them.
//!
//! ```text
//!   ids that an index names   ... s1  s2 ┐ two rose: a walk begins behind s2
//!                                  s3  ┤ the walk's next record is s3: no search from the root
//!                                  s4  ┘
//!                                  k9    is elsewhere: searched for; after a few of these the walk ends
//! ```
//!
//! Documents are often written in the order of what they are indexed by: dates, serial numbers, anything beside an id that
//! rises with time. A walk over neighbours costs a fraction of a search for each.
//!
//! **What stays true.** What is found is what a search would find. Where the guess is wrong, it costs little, and each time
//! it was wrong more has to speak for it.

use holdfast_core::id::CollectionName;
use redb::AccessGuard;

use crate::error::StorageError;
use crate::scan::{Direction, ScannedDocument};
use crate::view::{ReadView, collection_range};

/// Steps in one direction after which a walk begins, at first.
const FOLLOWING_MIN: u32 = 2;
/// And at most, after walks that led nowhere.
const FOLLOWING_MAX: u32 = 64;
/// Records that a walk passes over on its way to the one that is wanted: others of the collection lie between.
const PASSED_MAX: u32 = 2;
/// Ids in a row that are not where the walk is before it ends.
const MISSES_MAX: u32 = 2;

type Guard = AccessGuard<'static, &'static [u8]>;
type Walk = redb::Range<'static, &'static [u8], &'static [u8]>;

/// Finds documents by id, neighbours faster than others.
pub struct DocumentFinder<'view> {
    view: &'view ReadView,
    /// Which way the ids go, or the walk.
    direction: Direction,
    /// The collection's part of a key, and behind it the last id.
    key: Vec<u8>,
    id_start: usize,
    walk: Option<Walk>,
    /// A record that the walk has reached and nobody wanted yet.
    reached: Option<(Guard, Guard)>,
    /// Steps that went in this direction.
    following: u32,
    /// How many have to.
    wanted: u32,
    misses: u32,
}

impl ReadView {
    /// A finder of documents, whose ids may come in any order but are hoped to follow each other, whichever way.
    pub fn finder(&self, collection: &CollectionName) -> DocumentFinder<'_> {
        let (key, _) = collection_range(collection);
        DocumentFinder {
            view: self,
            direction: Direction::Forward,
            id_start: key.len(),
            key,
            walk: None,
            reached: None,
            following: 0,
            wanted: FOLLOWING_MIN,
            misses: 0,
        }
    }
}

impl DocumentFinder<'_> {
    /// The document with an id, which need be no valid one; `None` when nothing is shown under it.
    pub fn find(&mut self, id: &[u8]) -> Result<Option<ScannedDocument>, StorageError> {
        let last = self.key.get(self.id_start..).unwrap_or_default();
        let (is_first, direction) = (last.is_empty(), if id < last { Direction::Backward } else { Direction::Forward });
        if direction != self.direction && self.walk.is_none() {
            (self.direction, self.following) = (direction, 0);
        }
        let follows = !is_first && direction == self.direction;
        self.following = if follows { self.following.saturating_add(1) } else { 0 };
        self.key.truncate(self.id_start);
        self.key.extend_from_slice(id);
        if follows {
            if self.walk.is_none() && self.following >= self.wanted {
                // From here on, and with this one: the record after it is then where the walk goes on.
                self.walk = Some(self.begin()?);
                self.misses = 0;
            }
            if let Some((key, record)) = self.walk_to()? {
                self.misses = 0;
                return ScannedDocument::at(key, record, self.id_start);
            }
        }
        if self.walk.is_some() {
            self.miss();
        }
        match self.view.documents().get(self.key.as_slice())? {
            Some(record) => ScannedDocument::owned(self.key.clone(), record, self.id_start),
            None => Ok(None),
        }
    }

    fn begin(&self) -> Result<Walk, StorageError> {
        let here = self.key.as_slice();
        let documents = self.view.documents();
        Ok(match self.direction {
            Direction::Forward => documents.range::<&[u8]>(here..)?,
            Direction::Backward => documents.range::<&[u8]>(..=here)?,
        })
    }

    /// The record of the key, if the walk is there or nearly.
    fn walk_to(&mut self) -> Result<Option<(Guard, Guard)>, StorageError> {
        let Some(walk) = &mut self.walk else { return Ok(None) };
        let mut passed = 0;
        loop {
            let next = match self.reached.take() {
                Some(reached) => Some(reached),
                None => match self.direction {
                    Direction::Forward => walk.next().transpose()?,
                    Direction::Backward => walk.next_back().transpose()?,
                },
            };
            let Some((key, record)) = next else { return Ok(None) };
            if key.value() == self.key {
                return Ok(Some((key, record)));
            }
            let is_behind = (key.value() > self.key.as_slice()) == (self.direction == Direction::Forward);
            if is_behind {
                self.reached = Some((key, record));
                return Ok(None);
            }
            if passed == PASSED_MAX {
                return Ok(None);
            }
            passed += 1;
        }
    }

    /// The document was not where the walk is.
    fn miss(&mut self) {
        self.misses += 1;
        if self.misses < MISSES_MAX {
            return;
        }
        (self.walk, self.reached) = (None, None);
        self.following = 0;
        self.wanted = (2 * self.wanted).min(FOLLOWING_MAX);
    }
}

impl std::fmt::Debug for DocumentFinder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DocumentFinder").field("walks", &self.walk.is_some()).finish_non_exhaustive()
    }
}
