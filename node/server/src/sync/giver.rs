//! Where a node asks for states: at a peer's address, or over a connection that the peer has opened and turned around.
//!
//! ```text
//!   look ─► Giver ──Dialled──► POST /api/replication/states, /branch at the peer
//!                └──Turned───► question ─► answer to POST /api/replication/turned ─► the caller ─► its next request
//! ```
//!
//! Must stay true: a database has one turned conversation at a time, and a caller that falls silent ends its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use holdfast_core::id::{DatabaseName, NodeName};
use holdfast_core::limits::EXCHANGE_BYTES_MAX;
use holdfast_core::sync::admission::Cause;
use holdfast_core::sync::message::parse_hex;
use holdfast_core::sync::states::{BranchRequest, BranchResponse, StatesRequest};
use holdfast_core::sync::turned::{End, Question, TurnedAnswer};
use holdfast_core::vector::Origin;
use holdfast_storage::error::StorageError;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::databases::{Asker, OpenDatabase};
use crate::entropy;
use crate::sync::Sync;
use crate::sync::peer_client::{PeerClient, PeerError, Turn};
use crate::sync::registry::Peer;
use crate::sync::states::{self, page_for_peer};

/// Where conversations are turned around.
pub const TURNED_PATH: &str = "/api/replication/turned";
/// The problem of a caller whose states the called node asks for by itself.
pub const ASKS_BY_ITSELF: &str = "asks-by-itself";
/// What is told of a peer that takes our states by itself, which it does a moment later.
pub const TAKES_BY_ITSELF: &str = "lacks what our log no longer holds: it takes our states when it next asks us";
/// What a caller is told whose states would bring back what was deleted.
const YOURS_FIRST: &str = "deletes were forgotten here that it has not seen: it takes the states of this node first";
/// The problem of a caller that names a conversation which is over.
pub const CONVERSATION_OVER: &str = "conversation-over";

/// How long a caller may take to bring an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// The same, where the connection itself ends when nothing comes: as long as a slow line takes for what goes before.
const ANSWER_OVER_LINE_WITHIN: Duration = Duration::from_secs(600);
/// How long a caller waits for the next question before it is told to ask again: less than it waits for any answer.
const QUESTION_WITHIN: Duration = Duration::from_secs(20);

/// A node that gives its states.
#[derive(Debug)]
pub struct Giver {
    /// Its name.
    pub node: NodeName,
    /// As whom it gives them: a peer is not heard where this node follows a leader, the leader is.
    pub asker: Asker,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Dialled { base_url: String },
    Turned(tokio::sync::Mutex<Asking>),
}

/// The asking end of a turned conversation.
#[derive(Debug)]
struct Asking {
    questions: mpsc::Sender<Said>,
    answers: mpsc::Receiver<Vec<u8>>,
    within: Duration,
}

/// What goes to the caller.
#[derive(Debug)]
enum Said {
    Question(Question),
    End(End),
}

impl From<&Peer> for Giver {
    fn from(peer: &Peer) -> Self {
        Self { node: peer.node.clone(), asker: Asker::Peer, way: Way::Dialled { base_url: peer.base_url.clone() } }
    }
}

/// The answering end of a conversation that goes over somebody else's connection.
#[derive(Debug)]
pub struct Asked {
    questions: mpsc::Receiver<Said>,
    /// Where answers go.
    pub answers: mpsc::Sender<Vec<u8>>,
}

impl Asked {
    /// The next question; `None` when nobody asks any more.
    pub async fn question(&mut self) -> Option<Question> {
        match self.questions.recv().await? {
            Said::Question(question) => Some(question),
            Said::End(_) => None,
        }
    }
}

impl Giver {
    /// A node of this node's group, asked over a connection which the caller looks after.
    pub fn over(node: NodeName) -> (Self, Asked) {
        let (questions, asked) = mpsc::channel(1);
        let (answers, answered) = mpsc::channel(1);
        let asking = Asking { questions, answers: answered, within: ANSWER_OVER_LINE_WITHIN };
        let asking = tokio::sync::Mutex::new(asking);
        (Self { node, asker: Asker::Node, way: Way::Turned(asking) }, Asked { questions: asked, answers })
    }

    /// Asks for a page of states; the answer is not looked into.
    pub async fn states(
        &self,
        client: &PeerClient,
        database: &DatabaseName,
        request: &StatesRequest,
    ) -> Result<Vec<u8>, PeerError> {
        match &self.way {
            Way::Dialled { base_url } => client.states(base_url, database, request, EXCHANGE_BYTES_MAX).await,
            Way::Turned(asking) => asking.lock().await.ask(Question::States(request.clone())).await,
        }
    }

    /// Asks which operations of an origin it holds.
    pub async fn branch(
        &self,
        client: &PeerClient,
        database: &DatabaseName,
        request: &BranchRequest,
    ) -> Result<BranchResponse, PeerError> {
        match &self.way {
            Way::Dialled { base_url } => client.branch(base_url, database, request).await,
            Way::Turned(asking) => {
                let body = asking.lock().await.ask(Question::Branch(request.clone())).await?;
                serde_json::from_slice(&body).map_err(|error| PeerError::Nonsense(error.to_string()))
            }
        }
    }
}

impl Asking {
    async fn ask(&mut self, question: Question) -> Result<Vec<u8>, PeerError> {
        let gone = || PeerError::Unreachable("the caller that brought its states has gone".to_owned());
        self.questions.send(Said::Question(question)).await.map_err(|_| gone())?;
        timeout(self.within, self.answers.recv()).await.ok().flatten().ok_or_else(gone)
    }
}

/// The conversations that callers have turned around, one per database at most.
#[derive(Debug, Default)]
pub struct Turned {
    open: Mutex<BTreeMap<DatabaseName, Conversation>>,
}

/// The caller's end of one.
#[derive(Debug, Clone)]
struct Conversation {
    id: u64,
    with: NodeName,
    questions: Arc<tokio::sync::Mutex<mpsc::Receiver<Said>>>,
    answers: mpsc::Sender<Vec<u8>>,
}

/// Why a caller's offer of its states is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TurnedError {
    /// The conversation is not there, or not with this caller.
    #[error("this conversation is over: begin another")]
    Over,
    /// Another node's states are being taken.
    #[error("another node's states are being taken right now")]
    Busy,
}

impl Turned {
    /// Begins to take the states of a caller, if they are needed. One with the same caller before it is over.
    pub fn begin(&self, sync: &Arc<Sync>, database: &Arc<OpenDatabase>, caller: &NodeName) -> Result<u64, TurnedError> {
        let (questions, asked) = mpsc::channel(1);
        let (answers, answered) = mpsc::channel(1);
        let id = entropy::random_u64();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.get(database.name()).is_some_and(|other| other.with != *caller && !other.answers.is_closed()) {
            return Err(TurnedError::Busy);
        }
        let asked = Arc::new(tokio::sync::Mutex::new(asked));
        let conversation = Conversation { id, with: caller.clone(), questions: asked, answers };
        open.insert(database.name().clone(), conversation);
        drop(open);
        let asking = Asking { questions: questions.clone(), answers: answered, within: ANSWER_WITHIN };
        let asking = tokio::sync::Mutex::new(asking);
        let giver = Giver { node: caller.clone(), asker: Asker::Peer, way: Way::Turned(asking) };
        let (taking, database) = (Arc::clone(sync), Arc::clone(database));
        sync.tasks.spawn(async move {
            let stop = taking.stop().clone();
            tokio::select! {
                () = stop.cancelled() => {}
                () = questions.closed() => {}
                looked = states::look(&taking, &giver, &database, Cause::Asked) => {
                    let looked = match looked {
                        Ok(states::Outcome::TheirTurn) => Err(YOURS_FIRST.to_owned()),
                        looked => looked,
                    };
                    if let Err(error) = &looked {
                        tracing::warn!(peer = %giver.node, database = %database.name(), error, "the states that the peer brought were not taken");
                    }
                    // A caller that has gone learns it when it comes again.
                    drop(questions.send(Said::End(End { error: looked.err() })).await);
                }
            }
        });
        Ok(id)
    }

    /// Hands over a caller's answer, empty when it only waits on, and gives what it is to do next.
    pub async fn next(
        &self,
        database: &DatabaseName,
        caller: &NodeName,
        id: u64,
        answer: Vec<u8>,
    ) -> Result<TurnedAnswer, TurnedError> {
        let conversation = {
            let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.get(database).filter(|one| one.id == id && one.with == *caller).cloned()
        };
        let conversation = conversation.ok_or(TurnedError::Over)?;
        if !answer.is_empty() {
            conversation.answers.try_send(answer).map_err(|_| TurnedError::Over)?;
        }
        let mut questions = conversation.questions.lock().await;
        let mut told = TurnedAnswer { conversation: format!("{id:016x}"), ..TurnedAnswer::default() };
        match timeout(QUESTION_WITHIN, questions.recv()).await {
            Ok(Some(Said::Question(question))) => told.question = Some(question),
            Ok(Some(Said::End(end))) => {
                told.end = Some(end);
                let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
                if open.get(database).is_some_and(|one| one.id == id) {
                    open.remove(database);
                }
            }
            Ok(None) => return Err(TurnedError::Over),
            Err(_) => {}
        }
        Ok(told)
    }
}

/// Brings a peer our states over connections of our own, answering what it asks until it has ended.
pub async fn give(
    sync: &Sync,
    peer: &Peer,
    database: &Arc<OpenDatabase>,
    branch: Option<&Origin>,
) -> Result<(), String> {
    let (mut conversation, mut answer) = (None, Vec::new());
    tracing::info!(peer = %peer.node, database = %database.name(), "the peer is below what our log holds: it is brought our states");
    loop {
        let turn = Turn { caller: &sync.origin().node, conversation, branch };
        let asked = sync.client.turned(&peer.base_url, database.name(), turn, answer).await;
        let said = match asked {
            Err(PeerError::Refused { code, .. }) if code == ASKS_BY_ITSELF => {
                return Err(TAKES_BY_ITSELF.to_owned());
            }
            Err(PeerError::Refused { status: 404, code, .. }) if code == "unknown-route" => {
                return Err(format!(
                    "lacks what our log no longer holds, and its version takes states from nodes alone that it calls: \
                     run 'holdfast peers add {} URL-OF-THIS-NODE' there",
                    sync.origin().node
                ));
            }
            said => said.map_err(|error| error.to_string())?,
        };
        if let Some(End { error }) = said.end {
            return error.map_or(Ok(()), |error| Err(format!("did not take our states: {error}")));
        }
        conversation = Some(parse_hex(&said.conversation).map_err(|refusal| refusal.to_string())?);
        let (asking, of) = (said.question, Arc::clone(database));
        let standing = sync.standing(database).map_err(|error| error.to_string())?;
        let answering = tokio::task::spawn_blocking(move || match asking {
            None => Ok(Vec::new()),
            Some(question) => answer_to(&of, standing, question),
        });
        answer = answering.await.map_err(|error| error.to_string())??;
    }
}

/// The answer to a question, as the routes that are asked directly give it.
pub fn answer_to(
    database: &OpenDatabase,
    standing: holdfast_core::sync::message::Standing,
    question: Question,
) -> Result<Vec<u8>, String> {
    let failed = |error: StorageError| error.to_string();
    match question {
        Question::States(request) => {
            let after = request.after(standing.log_id).map_err(|refusal| refusal.to_string())?;
            page_for_peer(database, standing, &request, after).map_err(failed)
        }
        Question::Branch(request) => {
            let (origin, sequences) = request.parse().map_err(|refusal| refusal.to_string())?;
            let found = database.log().and_then(|log| log.told_of(&origin, &sequences)).map_err(failed)?;
            serde_json::to_vec(&BranchResponse::from(&found)).map_err(|error| error.to_string())
        }
    }
}
