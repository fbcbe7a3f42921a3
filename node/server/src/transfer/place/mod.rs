//! Where documents go to or come from: a running node, or a data directory that no node has open.

mod directory;
mod node;
mod selection;

use serde_json::value::RawValue;
use thiserror::Error;

use super::document_id::Document;
use super::read::BadRow;

pub(crate) use directory::{DirectoryLoader, DirectoryPages, open_directory, recorded_or};
pub(crate) use node::{NodeClient, NodeLoader, NodePages, encoded, told};
pub(crate) use selection::{Place, PlaceArguments};

/// What became of the documents that were handed over so far.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// Documents that are written, durably.
    pub(crate) written: u64,
    /// Documents that were there already, equal to the last digit.
    pub(crate) unchanged: u64,
    /// Documents that were refused.
    pub(crate) refused: Vec<BadRow>,
}

/// Why nothing more can be written or read.
#[derive(Debug, Error)]
#[error("{0}")]
pub(crate) struct PlaceError(pub(crate) String);

impl PlaceError {
    /// The reason and what to do.
    pub(crate) fn new(reason: impl ToString) -> Self {
        Self(reason.to_string())
    }
}

/// Where an import writes.
pub(crate) enum Loader {
    /// Into a data directory.
    Directory(Box<DirectoryLoader>),
    /// Through a running node.
    Node(Box<NodeLoader>),
}

impl Loader {
    /// Writes some documents; answers with what has become known since the last call.
    pub(crate) fn write(&mut self, batch: Vec<Document>) -> Result<Loaded, PlaceError> {
        match self {
            Self::Directory(directory) => directory.write(batch),
            Self::Node(node) => node.write(batch),
        }
    }

    /// Waits for everything that is under way.
    pub(crate) fn finish(&mut self) -> Result<Loaded, PlaceError> {
        match self {
            Self::Directory(directory) => directory.finish(),
            Self::Node(node) => node.finish(),
        }
    }
}

/// Where an export reads.
pub(crate) enum Pages {
    /// From a data directory.
    Directory(Box<DirectoryPages>),
    /// From a running node.
    Node(Box<NodePages>),
}

impl Pages {
    /// The next documents, in the order of their ids; none at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<Box<RawValue>>>, PlaceError> {
        match self {
            Self::Directory(directory) => directory.next(),
            Self::Node(node) => node.next(),
        }
    }
}
