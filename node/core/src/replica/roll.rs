//! Calling the roll: what two nodes of a group tell each other of the members of a database.
//!
//! ```text
//!   leader ── roll: what members are known to know, how long ago they were heard ──► follower
//!   leader ◄── the same of the follower, and of whoever follows it in turn ───────── follower
//! ```
//!
//! A follower is a member like a peer: nothing that it has not acknowledged is given up anywhere, and what every member
//! knows is given up by followers too. Everything here is untrusted until [`Roll::parse`] has accepted it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::Refusal;
use crate::id::DatabaseName;
use crate::limits::VECTOR_ORIGINS_MAX;
use crate::sync::message::vector_record;
use crate::sync::survey::{Memory, parse_acknowledged, parse_heard};
use crate::vector::Origin;

/// One side's word, of one database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Roll {
    /// The database.
    pub database: String,
    /// The sender, as the database knows it: `node@incarnation`.
    pub origin: String,
    /// The sender's wall clock, which comes back with the receiver's next roll.
    pub word: u64,
    /// The newest word of the receiver's that the sender had when it wrote this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub echo: Option<u64>,
    /// What members are known to know: a vector by origin, the sender's own among them.
    pub acknowledged: BTreeMap<String, BTreeMap<String, u64>>,
    /// How long ago members were heard.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub heard_millis_ago: BTreeMap<String, u64>,
    /// Who follows the sender, at once or through others, and was let in there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub followers: Vec<String>,
}

/// A roll that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The database.
    pub database: DatabaseName,
    /// The sender.
    pub origin: Origin,
    /// Its word.
    pub word: u64,
    /// The word of ours that it had.
    pub echo: Option<u64>,
    /// What it knows of members, and when it heard them.
    pub memory: Memory,
    /// Who follows it.
    pub followers: Vec<Origin>,
}

impl Roll {
    /// What a node tells.
    pub fn new(
        database: &DatabaseName,
        origin: &Origin,
        (word, echo): (u64, Option<u64>),
        memory: &Memory,
        followers: &[Origin],
    ) -> Self {
        let acknowledged = memory.acknowledged.iter();
        Self {
            database: database.to_string(),
            origin: origin.to_string(),
            word,
            echo,
            acknowledged: acknowledged.map(|(of, vector)| (of.to_string(), vector_record(vector))).collect(),
            heard_millis_ago: memory.heard.iter().map(|(of, ago)| (of.to_string(), ago.0)).collect(),
            followers: followers.iter().take(VECTOR_ORIGINS_MAX).map(Origin::to_string).collect(),
        }
    }

    /// Checks it.
    pub fn parse(self) -> Result<Told, Refusal> {
        if self.followers.len() > VECTOR_ORIGINS_MAX {
            let reason = format!("A roll names more than {VECTOR_ORIGINS_MAX} followers.");
            return Err(Refusal::invalid("invalid-roll", reason));
        }
        let memory = Memory {
            acknowledged: parse_acknowledged(&self.acknowledged)?,
            heard: parse_heard(&self.heard_millis_ago)?,
            ..Memory::default()
        };
        Ok(Told {
            database: DatabaseName::parse(&self.database)?,
            origin: self.origin.parse()?,
            word: self.word,
            echo: self.echo,
            memory,
            followers: self.followers.iter().map(|origin| origin.parse()).collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::id::NodeName;
    use crate::replica::message;
    use crate::time::Millis;
    use crate::vector::Sequence;

    fn origin(name: &str) -> Origin {
        Origin { node: NodeName::parse(name).unwrap(), incarnation: 7 }
    }

    #[test]
    fn a_roll_says_at_the_other_side_what_it_said_here() {
        let database = DatabaseName::parse("shop").unwrap();
        let knows = [(origin("a"), Sequence(5))].into_iter().collect();
        let memory = Memory {
            acknowledged: BTreeMap::from([(origin("b"), knows)]),
            heard: BTreeMap::from([(origin("c"), Millis(40))]),
            ..Memory::default()
        };
        let roll = Roll::new(&database, &origin("b"), (9, Some(8)), &memory, &[origin("c")]);
        let told = message::read::<Roll>(&message::write(&roll)).unwrap().parse().unwrap();
        let followers = vec![origin("c")];
        assert_eq!(told, Told { database, origin: origin("b"), word: 9, echo: Some(8), memory, followers });
    }

    #[test]
    fn a_roll_that_names_too_many_or_nobody_is_refused() {
        let database = DatabaseName::parse("shop").unwrap();
        let roll = Roll::new(&database, &origin("b"), (9, None), &Memory::default(), &[]);
        let many = vec![origin("c").to_string(); VECTOR_ORIGINS_MAX + 1];
        for wrong in [
            Roll { followers: many, ..roll.clone() },
            Roll { followers: vec!["c".to_owned()], ..roll.clone() },
            Roll { origin: String::new(), ..roll.clone() },
            Roll { database: "no name".to_owned(), ..roll.clone() },
            Roll { heard_millis_ago: BTreeMap::from([("x".to_owned(), 1)]), ..roll.clone() },
        ] {
            wrong.parse().unwrap_err();
        }
        roll.parse().unwrap();
    }
}
