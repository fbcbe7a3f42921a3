//! What is said on a connection that is turned around: the node that was called asks, the caller answers.
//!
//! A node below the caller's floor takes states, and states are asked for. One that has no address of the caller asks
//! over the connection that the caller has opened:
//!
//! ```text
//!   caller                                        called
//!     nothing                             ───►      decides that it needs states
//!                             ◄─── Conversation, a question
//!     Conversation, the answer            ───►      takes it in
//!                             ◄─── Conversation, the next question … or how it ended
//! ```
//!
//! An answer with neither question nor end means that the called node is at work: the caller asks again.

use serde::{Deserialize, Serialize};

use crate::error::Refusal;
use crate::sync::message::parse_hex;
use crate::sync::states::{BranchRequest, StatesRequest};

/// What the called node answers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TurnedAnswer {
    /// The conversation, 16 hexadecimal digits; named with the answer to the question.
    #[serde(alias = "conversation")]
    pub conversation: String,
    /// What the called node asks, unless it has ended or is at work.
    #[serde(alias = "question", default, skip_serializing_if = "Option::is_none")]
    pub question: Option<Question>,
    /// How it has ended, when it has.
    #[serde(alias = "end", default, skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
}

/// A question of the called node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub enum Question {
    /// For a page of states; answered in the form of `/api/replication/states`.
    States(StatesRequest),
    /// Which operations of an origin the caller has; answered as by `/api/replication/branch`.
    Branch(BranchRequest),
}

/// How a conversation has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct End {
    /// Why nothing came of it; absent when all is well.
    #[serde(alias = "error", default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl TurnedAnswer {
    /// The conversation, checked.
    pub fn conversation(&self) -> Result<u64, Refusal> {
        parse_hex(&self.conversation)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn questions_and_ends_survive_the_way() {
        let branch = BranchRequest { origin: "a@0000000000000001".to_owned(), sequences: vec![4] };
        let conversation = format!("{:016x}", 7);
        for (question, end) in [
            (Some(Question::Branch(branch)), None),
            (None, Some(End { error: Some("it is full".to_owned()) })),
            (None, Some(End { error: None })),
            (None, None),
        ] {
            let sent = TurnedAnswer { conversation: conversation.clone(), question, end };
            let read: TurnedAnswer = serde_json::from_str(&serde_json::to_string(&sent).unwrap()).unwrap();
            assert_eq!((read.conversation().unwrap(), read), (7, sent));
        }
        assert!(TurnedAnswer { conversation: "x".to_owned(), ..TurnedAnswer::default() }.conversation().is_err());
    }
}
