//! What must be true of a world when it has come to rest. One file is one truth.
//!
//! | file | truth |
//! |---|---|
//! | `convergence` | all nodes hold and show the same |
//! | `durability` | what was answered with success is everywhere, and stands unless something covers it |
//! | `exactly_once` | no operation is in a log twice, and no log has a hole |
//! | `counters` | increments add up, each once |
//! | `resurrection` | what was deleted, knowingly and last, stays deleted |
//! | `replay` | the data is what the log makes of it |
//! | `transfers` | nothing is sent to the one who wrote it |
//! | `groups` | nobody ever sees a part of a transaction |
//! | `causality` | what an operation had seen of its document is before it in every log |
//! | `digests` | digests and counts are those of the documents that are there |
//! | `sameness` | whoever knows the same shows the same, at every moment |
//! | `accounts` | the same as `durability`, where logs are pruned and nodes change their names |
//! | `status` | who says `InSync` of a peer is right, and in the end all say so |
//! | `letters` | what is not understood is parked everywhere, as it came, until it is settled |
//! | `identity` | no two nodes write as one origin, and all mean the same operations by the same dots |
//! | `leases` | nobody counts a member out without hearing a majority |
//! | `policies` | no policy has anything left to say of any conflict |
//! | `findings` | nothing else was seen that should never be seen |
//!
//! The checkers look at an [`Ending`]: plain data, read from the nodes' own databases. They do their own sums with
//! operations and contexts and use nothing of the code that they check.

pub mod accounts;
pub mod causality;
pub mod convergence;
pub mod counters;
pub mod digests;
pub mod durability;
pub mod exactly_once;
pub mod groups;
pub mod history;
pub mod identity;
pub mod leases;
pub mod letters;
pub mod lineage;
pub mod policies;
pub mod replay;
pub mod resurrection;
pub mod sameness;
pub mod status;
pub mod transfers;

use std::collections::BTreeMap;

use holdfast_core::chain::Chains;
use holdfast_core::digest::Digest;
use holdfast_core::document::DocumentState;
use holdfast_core::id::{CollectionName, DocumentId, OperationId};
use holdfast_core::json::JsonText;
use holdfast_core::members::Members;
use holdfast_core::operation::{Operation, OperationKind};
use holdfast_core::time::Millis;
use holdfast_core::vector::{Dot, Origin, Vector};
use holdfast_storage::database::Database;
use holdfast_storage::integrity::{Report, verify};
use holdfast_storage::log::ReadLimit;
use holdfast_storage::record::operation::Logged;
use holdfast_storage::record::progress::CollectionState;
use redb::backends::InMemoryBackend;

use crate::checkers::history::History;
use crate::checkers::lineage::Knowledge;
use crate::disk::DiskImage;

/// Which document: its collection and its id.
pub type Place = (CollectionName, DocumentId);

/// What a world holds when it has come to rest.
#[derive(Debug)]
pub struct Ending {
    /// Each node.
    pub nodes: Vec<NodeEnding>,
    /// Operations whose writers were answered with success.
    pub acknowledged: Vec<Logged>,
    /// How often each operation was sent to each node.
    pub transfers: BTreeMap<(Dot, usize), Times>,
    /// All that ever happened.
    pub history: History,
    /// Whether nodes forget: logs do not hold everything, and tombstones go.
    pub forgets: bool,
    /// Whether logs have notes between their operations.
    pub has_notes: bool,
    /// What was seen on the way that should never be seen.
    pub findings: Vec<Finding>,
    /// Who does not say `InSync` of whom.
    pub unproven: Vec<String>,
    /// Conflicts that some node's policy would settle.
    pub unsettled: Vec<String>,
    /// How often what worlds are made for has happened.
    pub seen: BTreeMap<&'static str, u64>,
    /// The hash of everything that happened, for comparing two runs.
    pub trace: u64,
    /// The last events, oldest first.
    pub recent: Vec<String>,
    /// How long the world lasted, by its own clock.
    pub virtual_time: Millis,
    /// What is on the disk of each node.
    pub images: Vec<DiskImage>,
}

/// Operations on a document. Where nodes are copied, a dot may name two.
pub type Operations<'a> = BTreeMap<(Dot, OperationId), &'a Operation>;

/// Something that should never be seen, and was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The checker that looks for it.
    pub checker: &'static str,
    /// What was seen.
    pub what: String,
}

impl Finding {
    /// Two nodes of which one says that they differ, after the same operations.
    pub fn difference(what: String) -> Self {
        Self { checker: "difference", what }
    }

    /// A message between sound nodes that was refused.
    pub fn refusal(what: String) -> Self {
        Self { checker: "refusal", what }
    }
}

/// How often an operation was sent to one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Times {
    /// Unasked.
    pub pushed: u64,
    /// In answer to a question.
    pub pulled: u64,
}

/// What one node holds.
#[derive(Debug)]
pub struct NodeEnding {
    /// Who it is.
    pub origin: Origin,
    /// What it knows.
    pub vector: Vector,
    /// Which branch it knows of each origin.
    pub chains: Chains,
    /// Whom it counts with.
    pub members: Members,
    /// The digest that it would tell its peers.
    pub digest: Digest,
    /// Its collections.
    pub collections: BTreeMap<CollectionName, CollectionState>,
    /// Its whole log.
    pub log: Vec<Logged>,
    /// Its documents, deleted ones included.
    pub documents: BTreeMap<Place, Shown>,
    /// Operations that it has parked.
    pub letters: Vec<Dot>,
    /// What `verify` says.
    pub verified: Report,
}

/// A document at one node.
#[derive(Debug)]
pub struct Shown {
    /// Its state.
    pub state: DocumentState,
    /// What a reader gets; nothing when it is deleted.
    pub text: Option<String>,
}

/// A truth, and how to see that it holds.
pub type Checker = (&'static str, fn(&Ending) -> Result<(), String>);

/// All of them, the plainest first.
pub const ALL: [Checker; 17] = [
    ("findings", findings),
    ("groups", groups::check),
    ("exactly_once", exactly_once::check),
    ("durability", durability::check),
    ("convergence", convergence::check),
    ("counters", counters::check),
    ("resurrection", resurrection::check),
    ("replay", replay::check),
    ("transfers", transfers::check),
    ("causality", causality::check),
    ("digests", digests::check),
    ("sameness", sameness::check),
    ("status", status::check),
    ("policies", policies::check),
    ("letters", letters::check),
    ("leases", leases::check),
    ("identity", identity::check),
];

/// Reports the first thing that was seen on the way, whoever looks for it.
pub fn findings(end: &Ending) -> Result<(), String> {
    end.findings.first().map_or(Ok(()), |finding| Err(format!("{}: {}", finding.checker, finding.what)))
}

impl NodeEnding {
    /// Reads everything from a node's database.
    pub fn read(database: &Database, origin: Origin) -> Self {
        let log = database.log().expect("a healthy log");
        let everything = ReadLimit { operations: usize::MAX, bytes: usize::MAX };
        let start = holdfast_core::vector::Position::START;
        let log = log.read(start, &Vector::new(), everything).expect("a healthy log").operations;
        let view = database.view().expect("healthy data");
        let mut documents = BTreeMap::new();
        for one in view.states_after(start, everything).expect("healthy data").states {
            let document = view.document(&one.collection, &one.document).expect("healthy data");
            let text = document.and_then(|document| document.text);
            let text = text.map(|text| String::from_utf8(text).expect("documents are UTF-8"));
            documents.insert((one.collection, one.document), Shown { state: one.state, text });
        }
        let state = view.state().expect("healthy data");
        Self {
            origin,
            vector: state.vector,
            chains: state.chains,
            members: state.members,
            digest: view.digest().expect("healthy data"),
            collections: view.collections().expect("healthy data").into_iter().collect(),
            log,
            documents,
            letters: letters::read(database).into_keys().collect(),
            verified: verify(database, InMemoryBackend::new()).expect("a database that can be read"),
        }
    }
}

impl Ending {
    /// Reports what was seen on the way by one checker.
    pub fn found_by(&self, checker: &str) -> Result<(), String> {
        let found = self.findings.iter().find(|finding| finding.checker == checker);
        found.map_or(Ok(()), |finding| Err(finding.what.clone()))
    }

    /// An operation as its author wrote it, if that is known.
    pub fn as_written(&self, held: &Operation) -> Option<&Operation> {
        let Operation { dot, id, .. } = held;
        let author = self.nodes.iter().find(|node| node.origin == dot.origin);
        let logged = self.acknowledged.iter().chain(author.into_iter().flat_map(|author| &author.log));
        logged
            .map(|logged| &logged.operation)
            .find(|operation| operation.dot == *dot && (operation.id == *id || !self.history.lineage.is_branched()))
    }

    /// Whether an operation has another in its context.
    pub fn has_seen(&self, by: &Operation, operation: &Operation) -> bool {
        self.history.has_seen(by, operation)
    }

    /// Whether every node knows an operation.
    pub fn is_known(&self, operation: &Operation) -> bool {
        self.nodes.iter().all(|node| {
            // Copying what is known is for worlds alone in which a dot may mean two operations.
            node.vector.covers(&operation.dot)
                && (!self.history.lineage.is_branched() || {
                    let known = Knowledge { vector: node.vector.clone(), chains: node.chains.clone() };
                    self.history.lineage.is_among(&known, operation)
                })
        })
    }

    /// Every operation that any node ever held, or whose writer was answered, by document; each once.
    pub fn operations(&self) -> BTreeMap<Place, Operations<'_>> {
        let acknowledged = self.acknowledged.iter().map(|logged| &logged.operation);
        let logged = self.nodes.iter().flat_map(|node| &node.log).map(|logged| &logged.operation);
        let mut operations: BTreeMap<Place, Operations<'_>> = BTreeMap::new();
        for operation in self.history.operations.values().chain(logged).chain(acknowledged) {
            let Some(id) = &operation.document else { continue };
            // What is parked is not part of any document.
            if matches!(operation.kind, OperationKind::Unknown { .. }) {
                continue;
            }
            let place = (operation.collection.clone(), id.clone());
            operations.entry(place).or_default().insert((operation.dot.clone(), operation.id), operation);
        }
        operations
    }

    /// The operations that no other one covers: what stands.
    ///
    /// A whole write covers whole writes that it has seen. An increment gives way to a put or a delete that has seen it,
    /// and to patches that have seen it and write its fields.
    pub fn standing<'a>(operations: &Operations<'a>) -> Vec<&'a Operation> {
        let stands = |operation: &&Operation| {
            let mut seen_by = operations.values().filter(|other| other.context.covers(&operation.dot));
            match &operation.kind {
                OperationKind::Increment(increment) => {
                    let ends = |other: &Operation, path: &[String]| match &other.kind {
                        OperationKind::Put { .. }
                        | OperationKind::Delete
                        | OperationKind::Resolve { body: None, .. } => true,
                        OperationKind::Patch { patch, .. } | OperationKind::Resolve { patch, .. } => {
                            has_field(patch, path)
                        }
                        _ => false,
                    };
                    let seen_by: Vec<_> = seen_by.collect();
                    increment.0.iter().any(|(path, _)| !seen_by.iter().any(|other| ends(other, path)))
                }
                _ => !seen_by.any(|other| other.kind.is_whole()),
            }
        };
        operations.values().copied().filter(stands).collect()
    }
}

/// Whether a patch names the field; the workload increments fields at the top of documents alone.
fn has_field(patch: &JsonText, path: &[String]) -> bool {
    path.first().is_some_and(|key| patch.to_object().contains_key(key))
}
