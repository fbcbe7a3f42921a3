//! The origins that a database knows, each under a small number that records use in its place.
//!
//! The list only grows, lives in the log file and is synced with the first block that uses a new entry, so
//! a number never changes its meaning.

use std::sync::Arc;

use arc_swap::ArcSwap;
use holdfast_core::vector::Origin;

use crate::encoding::DecodeError;

/// Number of an origin within one database.
pub type OriginIndex = u32;

/// All origins of a database; cheap to share with readers.
#[derive(Debug, Default)]
pub struct Origins {
    list: ArcSwap<Vec<Origin>>,
}

impl Origins {
    /// The list as it stands in the log file.
    pub fn new(list: Vec<Origin>) -> Self {
        Self { list: ArcSwap::from_pointee(list) }
    }

    /// The list as it is now.
    pub fn snapshot(&self) -> Arc<Vec<Origin>> {
        self.list.load_full()
    }

    /// The number of an origin, adding it at the end when it is new.
    pub fn index_of(&self, origin: &Origin) -> OriginIndex {
        let list = self.list.load();
        let found = list.iter().position(|known| known == origin);
        let index = found.unwrap_or_else(|| {
            let mut longer = Vec::clone(&list);
            longer.push(origin.clone());
            self.list.store(Arc::new(longer));
            list.len()
        });
        u32::try_from(index).unwrap_or(u32::MAX)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.load().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets those from `len` on: the transaction that added them was given up.
    pub fn truncate(&self, len: usize) {
        let mut list = Vec::clone(&self.list.load());
        list.truncate(len);
        self.list.store(Arc::new(list));
    }
}

/// The origin behind a number that was read from a record.
pub fn origin_at(list: &[Origin], index: u64) -> Result<Origin, DecodeError> {
    usize::try_from(index).ok().and_then(|index| list.get(index)).cloned().ok_or("an origin number is unknown")
}
