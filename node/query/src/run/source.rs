//! Where rows come from: documents by a scan or by their ids, and what the node tells about itself.

use std::ops::Bound;

use holdfast_core::id::{CollectionName, DocumentId};
use holdfast_storage::scan::{Direction, DocumentScan};
use holdfast_storage::view::ReadView;

use crate::budget::Budget;
use crate::failure::Failure;
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
    Ids { view: &'view ReadView, collection: CollectionName, ids: std::vec::IntoIter<DocumentId> },
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
                Ok(Self::Ids { view, collection: collection.clone(), ids: ids.into_iter() })
            }
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
            Self::Ids { view, collection, ids } => {
                for id in ids {
                    budget.examine(0)?;
                    if let Some(document) = view.scanned(collection, &id)? {
                        return Ok(Some(Body::Stored(document)));
                    }
                }
                Ok(None)
            }
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
