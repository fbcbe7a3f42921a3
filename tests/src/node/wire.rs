//! What the nodes of a world send each other: the product's own messages.

use std::collections::BTreeMap;

use holdfast_core::chain::Chains;
use holdfast_core::error::Refusal;
use holdfast_core::id::NodeName;
use holdfast_core::members::Members;
use holdfast_core::operation::Operation;
use holdfast_core::sync::admission::{self, Admission, Cause};
use holdfast_core::sync::branches::Told;
use holdfast_core::sync::message::{
    OperationRecord, PROTOCOL, PullRequest, PullResponse, PushRequest, PushResponse, Standing, StandingRecord,
    parse_hex, parse_vector, vector_record,
};
use holdfast_core::sync::stated::{parse_stated, stated_record};
use holdfast_core::sync::survey::{SurveyRequest, SurveyResponse};
use holdfast_core::trail::Stated;
use holdfast_core::vector::{Origin, Position, Sequence, Vector};
use holdfast_storage::log::Stretch;
use holdfast_storage::record::note::Adoption;
use holdfast_storage::request::{Misfit, Receipt, Received};

/// A message under way.
#[derive(Debug, Clone)]
pub struct Message {
    /// Who sends it.
    pub from: usize,
    /// Who shall get it.
    pub to: usize,
    /// The exchange that it belongs to: a number that its starter gave it.
    pub exchange: u64,
    /// What it says.
    pub body: Body,
    /// How its sender stood when it was sent, if it counts members.
    pub side: Option<Box<Side>>,
    /// For a message that arrives broken, the number that decides how.
    pub garbled: Option<u64>,
}

/// How a node stands: what its peers need to know before they exchange operations with it.
#[derive(Debug, Clone)]
pub struct Side {
    /// Who it is.
    pub origin: Origin,
    /// Its log.
    pub log_id: u64,
    /// What it knows.
    pub vector: Vector,
    /// Which branch of each origin, where branches are looked for.
    pub chains: Chains,
    /// Where it has passed them, there as well.
    pub passed: Stated,
    /// Below this it may have removed tombstones.
    pub graves: Vector,
    /// Its log holds every operation above this.
    pub floor: Vector,
    /// Whom it counts with.
    pub members: Members,
}

impl Side {
    /// As the core judges it.
    pub fn as_admission(&self) -> admission::Side<'_> {
        admission::Side { origin: &self.origin, vector: &self.vector, graves: &self.graves, floor: &self.floor }
    }
}

/// What a message says.
#[derive(Debug, Clone)]
pub enum Body {
    /// Operations, offered.
    Push(PushRequest),
    /// What became of them.
    Pushed(PushResponse),
    /// A question for operations.
    Pull(PullRequest),
    /// Operations, asked for.
    Pulled(PullResponse),
    /// There is something new.
    Hint,
    /// An exchange was turned away: the sender shall look at the other's states, for this cause.
    Turned(Admission, Cause),
    /// The log no longer holds what the other one lacks, or it holds another branch of an origin: it shall take states.
    TakeStates(Option<Origin>),
    /// The log ends before the position that was asked for.
    Beyond,
    /// A question for states after a position.
    AskStates {
        /// After this position …
        after: Position,
        /// … of this log.
        log_id: Option<u64>,
    },
    /// A page of states.
    States {
        /// The page, as it crosses the wire.
        page: Vec<u8>,
        /// What else there is to take over, with the last page.
        adoption: Option<Box<Adoption>>,
    },
    /// The question for the ids of an origin's operations.
    AskBranch {
        /// The origin.
        origin: Origin,
        /// Which of them.
        sequences: Vec<Sequence>,
    },
    /// Those that the log holds.
    Branch(BTreeMap<Sequence, Told>),
    /// What the sender knows.
    Standing(StandingRecord),
    /// A question for how the data compares.
    Survey(Box<SurveyRequest>),
    /// The answer to it.
    Surveyed(Box<SurveyResponse>),
}

impl Body {
    /// The operations that it carries.
    pub fn operations(&self) -> &[OperationRecord] {
        match self {
            Self::Push(request) => &request.operations,
            Self::Pulled(response) => &response.operations,
            _ => &[],
        }
    }

    /// One line for the trace.
    pub fn line(&self) -> String {
        match self {
            Self::Push(push) => {
                let (after, through) = (push.after_log_sequence, push.through_log_sequence);
                format!("push ({after}, {through}] {} operations", push.operations.len())
            }
            Self::Pushed(answer) => {
                let (through, gap) = (answer.last_processed_log_sequence, answer.gap.as_deref().unwrap_or("no gap"));
                format!("confirms {through}, {} new, {gap}", answer.accepted_count)
            }
            Self::Pull(pull) => format!("pull after {}", pull.after_log_sequence),
            Self::Pulled(answer) => {
                let (after, through) = (answer.after_log_sequence, answer.through_log_sequence);
                format!("answers ({after}, {through}] {} operations", answer.operations.len())
            }
            Self::Hint => "hint".to_owned(),
            Self::Turned(admission, cause) => format!("turned away: {admission:?}, {cause:?}"),
            Self::TakeStates(_) => "has only states of what is lacked".to_owned(),
            Self::Beyond => "the log does not go that far".to_owned(),
            Self::AskStates { after, .. } => format!("asks for states after {after}"),
            Self::States { adoption, .. } => {
                format!("states{}", if adoption.is_some() { ", the last of them" } else { "" })
            }
            Self::AskBranch { origin, sequences } => format!("asks for {} of {origin}", sequences.len()),
            Self::Branch(found) => format!("tells {} of them", found.len()),
            Self::Standing(standing) => format!("knows {:?}", standing.vector),
            Self::Survey(survey) => format!("shows {}, and you?", survey.survey.digest),
            Self::Surveyed(answer) => format!("shows {} itself", answer.survey.digest),
        }
    }
}

/// The offer of a stretch.
pub fn push_request(stretch: &Stretch, after: Position, ours: &Standing, stated: &Stated) -> PushRequest {
    PushRequest {
        protocol: PROTOCOL,
        source_node_id: ours.origin.node.to_string(),
        source_incarnation: format!("{:016x}", ours.origin.incarnation),
        log_id: format!("{:016x}", ours.log_id),
        after_log_sequence: after.0,
        through_log_sequence: stretch.through.0,
        vector: vector_record(&ours.vector),
        waymarks: stated_record(stated),
        operations: records(stretch, ours),
    }
}

/// What became of an offer.
pub fn push_response(receipt: &Receipt, ours: &Standing) -> PushResponse {
    PushResponse {
        protocol: PROTOCOL,
        processed_count: receipt.processed,
        accepted_count: receipt.accepted,
        last_processed_log_sequence: receipt.through.0,
        gap: receipt.gap.as_ref().map(ToString::to_string),
        stranger: receipt.stranger.as_ref().map(|stranger| stranger.dot.to_string()),
        is_forgotten: receipt.stranger.as_ref().is_some_and(|stranger| stranger.misfit == Misfit::Writer),
        standing: StandingRecord::from(ours),
    }
}

/// The question for what we lack.
pub fn pull_request(after: Position, log_id: Option<u64>, batch: usize, ours: &Standing) -> PullRequest {
    PullRequest {
        protocol: PROTOCOL,
        requesting_node_id: ours.origin.node.to_string(),
        after_log_sequence: after.0,
        log_id: log_id.map(|log_id| format!("{log_id:016x}")),
        batch_size: i64::try_from(batch).ok(),
        vector: vector_record(&ours.vector),
        requesting_log_id: Some(format!("{:016x}", ours.log_id)),
    }
}

/// The answer with a stretch.
pub fn pull_response(stretch: &Stretch, after: Position, ours: &Standing, stated: &Stated) -> PullResponse {
    PullResponse {
        protocol: PROTOCOL,
        operations: records(stretch, ours),
        after_log_sequence: after.0,
        through_log_sequence: stretch.through.0,
        has_more: stretch.has_more,
        waymarks: stated_record(stated),
        standing: StandingRecord::from(ours),
    }
}

/// An offer, as the writer takes it.
pub fn received_push(request: PushRequest) -> Result<Received, Refusal> {
    Ok(Received {
        source: NodeName::parse(&request.source_node_id)?,
        source_log_id: parse_hex(&request.log_id)?,
        after: Position(request.after_log_sequence),
        through: Position(request.through_log_sequence),
        source_vector: parse_vector(&request.vector)?,
        stated: parse_stated(&request.waymarks)?,
        operations: operations(request.operations)?,
    })
}

/// An answer, as the writer takes it.
pub fn received_pull(response: PullResponse, peer: &Standing) -> Result<Received, Refusal> {
    Ok(Received {
        source: peer.origin.node.clone(),
        source_log_id: peer.log_id,
        after: Position(response.after_log_sequence),
        through: Position(response.through_log_sequence),
        source_vector: peer.vector.clone(),
        stated: parse_stated(&response.waymarks)?,
        operations: operations(response.operations)?,
    })
}

fn records(stretch: &Stretch, ours: &Standing) -> Vec<OperationRecord> {
    let record = |logged: &holdfast_storage::record::operation::Logged| {
        OperationRecord::new(&logged.operation, logged.position, &ours.origin)
    };
    stretch.operations.iter().map(record).collect()
}

/// As the server takes them: what does not hold is parked.
fn operations(records: Vec<OperationRecord>) -> Result<Vec<(Position, Operation)>, Refusal> {
    records.into_iter().map(OperationRecord::into_arrived).collect()
}
