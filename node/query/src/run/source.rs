//! Where rows come from: documents by a scan or by their ids, and what the node tells about itself.

use std::ops::Bound;

use holdfast_core::id::{CollectionName, DocumentId};
use holdfast_core::index::range::KeyRange;
use holdfast_storage::finder::DocumentFinder;
use holdfast_storage::indexes::IndexScan;
use holdfast_storage::scan::{Direction, DocumentScan};
use holdfast_storage::view::ReadView;

use crate::budget::Budget;
use crate::failure::Failure;
use crate::plan::index::IndexAccess;
use crate::plan::{Access, IdRange, System};
use crate::run::row::Body;
use crate::run::select::Views;
use crate::run::system::{MadeRow, Stretches};

/// Documents of one source on their way past.
// There is one for each source of a query.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub(crate) enum Rows<'view> {
    /// By a walk over the store.
    Scan {
        scan: DocumentScan,
        /// Records that the budget knows of.
        told: u64,
    },
    /// One after the other by id.
    Ids { finder: DocumentFinder<'view>, ids: std::vec::IntoIter<DocumentId> },
    /// By entries of an index, in their order.
    Entries {
        view: &'view ReadView,
        finder: DocumentFinder<'view>,
        access: IndexAccess,
        /// The stretches that are still to be walked, the next one last.
        ranges: Vec<KeyRange>,
        scan: Option<IndexScan>,
        /// The entry of the last document.
        at: Vec<u8>,
    },
    /// What the node tells about itself.
    Made { stretches: Stretches<'view>, rows: std::vec::IntoIter<MadeRow> },
}

impl<'view> Rows<'view> {
    /// Opens an access, after an id if the answer goes on there.
    pub(crate) fn open(
        view: &'view ReadView,
        collection: &CollectionName,
        access: &Access,
        from: Option<&[u8]>,
        budget: &mut Budget<'_>,
    ) -> Result<Self, Failure> {
        let scan = |start: Bound<&[u8]>, end: Bound<&[u8]>, direction: Direction| -> Result<Self, Failure> {
            // The row where the answer goes on is looked at again, for it may have had several rows.
            let (start, end) = match (from, direction) {
                (Some(from), Direction::Forward) => (later(start, from), end),
                (Some(from), Direction::Backward) => (start, earlier(end, from)),
                (None, _) => (start, end),
            };
            Ok(Self::Scan { scan: view.scan(collection, (start, end), direction)?, told: 0 })
        };
        match access {
            Access::Everything(direction) => scan(Bound::Unbounded, Bound::Unbounded, *direction),
            Access::IdRange(IdRange { start, end }, direction) => {
                scan(start.as_ref().map(Vec::as_slice), end.as_ref().map(Vec::as_slice), *direction)
            }
            Access::Index(access) if access.is_plain() => Ok(Self::entries(view, collection, access, from)),
            Access::Index(access) => {
                let ids = ids_of(view, access, budget)?;
                Self::open(view, collection, &Access::Ids(ids, Direction::Forward), from, budget)
            }
            Access::Ids(ids, direction) => {
                let mut ids: Vec<DocumentId> = ids.clone();
                if *direction == Direction::Backward {
                    ids.reverse();
                }
                if let Some(from) = from {
                    ids.retain(|id| match direction {
                        Direction::Forward => id.as_str().as_bytes() >= from,
                        Direction::Backward => id.as_str().as_bytes() <= from,
                    });
                }
                Ok(Self::Ids { finder: view.finder(collection), ids: ids.into_iter() })
            }
        }
    }

    /// Opens an index in the order of its entries, at one of them if the answer goes on there.
    fn entries(view: &'view ReadView, collection: &CollectionName, access: &IndexAccess, from: Option<&[u8]>) -> Self {
        let mut ranges = access.ranges.clone();
        if let Some(from) = from {
            for range in &mut ranges {
                match access.direction {
                    Direction::Forward => range.start = from.to_vec().max(std::mem::take(&mut range.start)),
                    // The first place behind an entry is that entry and a zero byte.
                    Direction::Backward => range.end = [from, &[0]].concat().min(std::mem::take(&mut range.end)),
                }
            }
            ranges.retain(|range| !range.is_empty());
        }
        if access.direction == Direction::Forward {
            ranges.reverse();
        }
        // Documents are hoped to lie as their entries do: many are indexed by what rises with their ids.
        let finder = view.finder(collection);
        Self::Entries { view, finder, access: access.clone(), ranges, scan: None, at: Vec::new() }
    }

    /// The entry of the last document, for whoever goes on there.
    pub(crate) fn entry(&self) -> Option<&[u8]> {
        match self {
            Self::Entries { at, .. } => Some(at),
            _ => None,
        }
    }

    /// Opens what the node tells about itself.
    pub(crate) fn open_system(system: System, views: Views<'view>) -> Result<Self, Failure> {
        Ok(Self::Made { stretches: Stretches::new(system, views)?, rows: Vec::new().into_iter() })
    }

    /// The next document.
    pub(crate) fn next(&mut self, budget: &mut Budget<'_>) -> Result<Option<Body>, Failure> {
        match self {
            Self::Scan { scan, told } => {
                let document = scan.next_document()?;
                // Deleted documents that were passed over count as well.
                while *told + 1 < scan.looked_at() {
                    *told += 1;
                    budget.examine(0)?;
                }
                let Some(document) = document else { return Ok(None) };
                *told += 1;
                budget.examine(document.text().len())?;
                Ok(Some(Body::Stored(document)))
            }
            Self::Ids { finder, ids } => {
                for id in ids {
                    budget.examine(0)?;
                    if let Some(document) = finder.find(id.as_str().as_bytes())? {
                        return Ok(Some(Body::Stored(document)));
                    }
                }
                Ok(None)
            }
            Self::Entries { view, finder, access, ranges, scan, at } => loop {
                if scan.is_none() {
                    let Some(range) = ranges.pop() else { return Ok(None) };
                    *scan = Some(view.index_scan(&access.index, &range, access.direction, None)?);
                }
                let Some(entry) = scan.as_mut().map(IndexScan::next_entry).transpose()?.flatten() else {
                    *scan = None;
                    continue;
                };
                budget.examine(0)?;
                at.clear();
                at.extend_from_slice(entry.cursor());
                if let Some(document) = finder.find(entry.id()?.as_bytes())? {
                    return Ok(Some(Body::Stored(document)));
                }
            },
            Self::Made { stretches, rows } => {
                let next = match rows.next() {
                    Some(row) => Some(row),
                    None => {
                        *rows = stretches.next()?.into_iter();
                        rows.next()
                    }
                };
                let Some((id, text)) = next else { return Ok(None) };
                budget.examine(text.len())?;
                Ok(Some(Body::Made { id, text }))
            }
        }
    }
}

/// The ids that an index finds, sorted, each once.
pub(crate) fn ids_of(
    view: &ReadView,
    access: &IndexAccess,
    budget: &mut Budget<'_>,
) -> Result<Vec<DocumentId>, Failure> {
    let mut ids = Vec::new();
    for range in &access.ranges {
        let mut scan = view.index_scan(&access.index, range, access.direction, None)?;
        while let Some(entry) = scan.next_entry()? {
            budget.examine(0)?;
            let id = entry.document_id()?;
            budget.hold(id.as_str().len() + ID_BYTES)?;
            ids.push(id);
        }
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// What an id takes beside its text, roughly.
const ID_BYTES: usize = 40;

/// How many entries the stretches of an index have.
pub(crate) fn count_entries(view: &ReadView, access: &IndexAccess, budget: &mut Budget<'_>) -> Result<u64, Failure> {
    let mut count = 0;
    for range in &access.ranges {
        let mut scan = view.index_scan(&access.index, range, Direction::Forward, None)?;
        while scan.next_entry()?.is_some() {
            budget.examine(0)?;
            count += 1;
        }
    }
    Ok(count)
}

fn later<'bound>(start: Bound<&'bound [u8]>, from: &'bound [u8]) -> Bound<&'bound [u8]> {
    match start {
        Bound::Included(bound) | Bound::Excluded(bound) if bound >= from => start,
        _ => Bound::Included(from),
    }
}

fn earlier<'bound>(end: Bound<&'bound [u8]>, from: &'bound [u8]) -> Bound<&'bound [u8]> {
    match end {
        Bound::Included(bound) | Bound::Excluded(bound) if bound <= from => end,
        _ => Bound::Included(from),
    }
}
