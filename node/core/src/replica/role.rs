//! Who leads: a follower that hears nothing, asks for votes; who sees a greater epoch, gives its own up.
//!
//! ```text
//!            lead                     silence            most votes
//!   Alone ─────────► Leader    Follower ────► a ballot ─────────────► Leader
//!     │     follow     │  ▲        ▲             │ too few, or too late    │
//!     └────────────────┼──┼────────┘◄────────────┘                         │
//!                      │  └── fails back ── offered to another             │
//!                      └───────────────── a greater epoch ◄────────────────┘
//! ```
//!
//! After Raft (Ongaro, Ousterhout 2014), with three differences. What an old leader alone holds is not cut off but merged,
//! as everything between nodes is, so an election decides who writes, never what is kept. With fewer than three voters
//! there is no majority to be had: the follower takes over alone, and says that it cannot rule out a split. And a leader
//! that is cut off goes on writing in its own epoch; it gives way as soon as it hears of a greater one.
//!
//! Must stay true:
//! * What [`Action::Keep`] asks for is on disk before anything else that was decided with it happens.
//! * A node votes for one leader per number, itself included, and never below an epoch that it knows.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::id::NodeName;
use crate::limits::REPLICA_VOTERS_MAX;
use crate::replica::epoch::Epoch;
use crate::time::Millis;

/// How long a follower that has just begun is not disquieted by silence.
pub const GRACE: Millis = Millis(3_000);
/// How long the others may take to vote.
pub const BALLOT_WITHIN: Millis = Millis(500);
/// The shortest pause before another ballot; up to as much again is added by chance.
const PAUSE: u64 = 150;
/// A voter that has heard its leader within this does not vote against it, if it watches for nothing itself.
const IN_TOUCH: Millis = Millis(1_000);
/// Voters from which on a majority of them is asked for.
pub const MAJORITY_FROM: usize = 3;

/// What a node is in its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// It has none.
    #[serde(rename = "none")]
    Alone,
    /// It writes, and others follow.
    Leader,
    /// It follows.
    Follower,
}

impl Role {
    /// The word for it in settings and status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alone => "none",
            Self::Leader => "leader",
            Self::Follower => "follower",
        }
    }
}

/// How far a node is. Of two that have what one leader began with, that one is further that has more of what this leader
/// wrote itself; what else they know, from before or from elsewhere, was promised to nobody by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rank {
    /// Number of the last epoch whose beginning it has all of, see [`super::heritage`].
    pub epoch: u64,
    /// Drops of databases that it knows of: whoever knows of more is ahead, though it holds less for it.
    #[serde(default)]
    pub drops: u64,
    /// Operations of that epoch's leader that it knows.
    #[serde(default)]
    pub led: u64,
    /// Operations that it knows, of all databases together.
    pub operations: u64,
}

/// What a node must not forget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What it is.
    pub role: Role,
    /// The greatest epoch that it knows of.
    pub epoch: Option<Epoch>,
    /// The greatest that it has voted for, or offered to another.
    pub promised: Option<Epoch>,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Write down what [`Replica::kept`] says. If that fails, nothing that follows is done.
    Keep,
    /// Ask these nodes for their votes.
    Ask {
        /// For which epoch.
        epoch: Epoch,
        /// Whom.
        voters: BTreeSet<NodeName>,
        /// Whether it is only asked if they would: nobody promises anything.
        is_trial: bool,
    },
    /// Lead from now on.
    Lead(Epoch),
    /// Write no more: another leads.
    StepDown(Epoch),
    /// There are too few voters to rule out that two lead.
    WarnOfSplit {
        /// How many there are, with this node.
        voters: usize,
    },
}

/// Why something is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Denied {
    /// It leads already.
    #[error("this node leads already")]
    IsLeader,
    /// It does not.
    #[error("this node is no leader")]
    IsNoLeader,
    /// It follows nobody.
    #[error("this node is no follower")]
    IsNoFollower,
    /// The leader is there.
    #[error("the leader was heard {0} ms ago: hand over there ('/replication/handover'), or force it")]
    LeaderIsThere(u64),
    /// It is behind.
    #[error("this node lacks {0} operations that the leader had: promote one that has them, or force it")]
    Behind(u64),
    /// Another epoch is greater.
    #[error("epoch {known} is known here, and {given} is not above it")]
    OldEpoch {
        /// What is known.
        known: Epoch,
        /// What was given.
        given: Epoch,
    },
    /// It has voted for another.
    #[error("this node has voted for epoch {0}: it takes nothing from an earlier one until that is settled")]
    Promised(Epoch),
    /// Somebody else's epoch.
    #[error("epoch {0} is not of this node")]
    NotMine(Epoch),
    /// A handover is under way.
    #[error("a handover is under way")]
    HandingOver,
    /// The candidate is behind.
    #[error("the candidate knows less than this node")]
    CandidateBehind,
    /// Another node knows better.
    #[error("'{node}' is against it: {reason}; force it if you know better")]
    Opposed {
        /// Who.
        node: NodeName,
        /// Why.
        reason: String,
    },
    /// Too few of the voters were reached.
    #[error(
        "{reached} of {voters} voters were reached, and a majority of them might follow another by now: bring them back, have \
         those that are gone for good forgotten where a leader is ('/replication/forget'), or force it"
    )]
    NoMajority {
        /// How many, this node included.
        reached: usize,
        /// How many there are.
        voters: usize,
    },
    /// It was never in touch with a leader.
    #[error("this node has never followed anybody: it may be empty")]
    NeverFollowed,
}

impl Denied {
    /// The stable word.
    pub fn code(&self) -> &'static str {
        match self {
            Self::IsLeader => "is-leader",
            Self::IsNoLeader => "not-the-leader",
            Self::IsNoFollower => "not-a-follower",
            Self::LeaderIsThere(_) => "leader-is-there",
            Self::Behind(_) => "behind-the-leader",
            Self::OldEpoch { .. } => "old-epoch",
            Self::Promised(_) => "promised",
            Self::NotMine(_) => "not-mine",
            Self::HandingOver => "handing-over",
            Self::CandidateBehind => "candidate-behind",
            Self::NeverFollowed => "never-followed",
            Self::Opposed { .. } => "opposed",
            Self::NoMajority { .. } => "no-majority",
        }
    }
}

/// An election that this node asks for.
#[derive(Debug, Clone)]
struct Ballot {
    epoch: Epoch,
    /// Nobody promises anything: whoever has lost its leader alone disturbs no one (Ongaro's pre-vote).
    is_trial: bool,
    voters: usize,
    votes: BTreeSet<NodeName>,
    refusals: BTreeSet<NodeName>,
    ends: Millis,
}

impl Ballot {
    fn is_won(&self) -> bool {
        self.votes.len() > self.voters / 2
    }

    fn is_lost(&self) -> bool {
        self.voters - self.refusals.len() <= self.voters / 2
    }
}

/// One node of a group of leader and followers.
#[derive(Debug, Clone)]
pub struct Replica {
    me: NodeName,
    kept: Kept,
    /// How long a leader may be silent, where that is watched.
    watched: Option<Millis>,
    /// Since when this node is what it is.
    since: Millis,
    heard: Option<Millis>,
    /// Who votes, as the leader has last said; this node or not.
    voters: BTreeSet<NodeName>,
    ballot: Option<Ballot>,
    not_before: Millis,
    /// Whether the leader had been silent for too long when this was last looked at.
    is_disquieted: bool,
    offered: Option<Epoch>,
    /// The greatest number that others are known to have promised.
    outdone: u64,
    was_elected: bool,
    /// What came of the last ballot, where it was not won.
    unelected: Option<Unelected>,
}

/// A ballot that was not won.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unelected {
    /// Votes for this node, its own included.
    pub votes: usize,
    /// Voters, this node included: more than half of them are needed.
    pub voters: usize,
}

impl Unelected {
    /// How many votes would have been enough.
    pub fn needed(self) -> usize {
        self.voters / 2 + 1
    }
}

impl Replica {
    /// A node as it remembers itself.
    pub fn new(me: NodeName, kept: Kept, now: Millis) -> Self {
        Self {
            me,
            kept,
            watched: None,
            since: now,
            heard: None,
            voters: BTreeSet::new(),
            ballot: None,
            not_before: now,
            is_disquieted: false,
            offered: None,
            outdone: 0,
            was_elected: false,
            unelected: None,
        }
    }

    /// What must be on disk.
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// What it is.
    pub fn role(&self) -> Role {
        self.kept.role
    }

    /// The greatest epoch that it knows of; its own when it leads.
    pub fn epoch(&self) -> Option<&Epoch> {
        self.kept.epoch.as_ref()
    }

    /// When its leader was last heard.
    pub fn heard_at(&self) -> Option<Millis> {
        self.heard
    }

    /// How long a leader may be silent before this node takes over; `None` when it never does.
    pub fn watched(&self) -> Option<Millis> {
        self.watched
    }

    /// Whether anything happens as time passes.
    pub fn is_watching(&self) -> bool {
        self.ballot.is_some() || (self.watched.is_some() && self.kept.role == Role::Follower)
    }

    /// Whether it leads because an old leader fell silent.
    pub fn was_elected(&self) -> bool {
        self.was_elected
    }

    /// What came of the last ballot, while the leader is missed.
    pub fn unelected(&self) -> Option<Unelected> {
        self.unelected
    }

    /// Whether it may write: it leads, and has not offered that to another.
    pub fn may_write(&self) -> bool {
        match self.kept.role {
            Role::Alone => true,
            Role::Leader => self.offered.is_none(),
            Role::Follower => false,
        }
    }

    /// Who votes, as far as is known here.
    pub fn voters(&self) -> &BTreeSet<NodeName> {
        &self.voters
    }

    /// Takes over the voters that were known before a restart, or that a leader counts.
    pub fn know_voters(&mut self, voters: impl IntoIterator<Item = NodeName>) {
        self.voters = voters.into_iter().take(REPLICA_VOTERS_MAX).collect();
    }

    /// Leads from now on, because an operator or the settings say so.
    pub fn lead(&mut self, now: Millis) -> Result<Vec<Action>, Denied> {
        if self.kept.role == Role::Leader {
            return Err(Denied::IsLeader);
        }
        Ok(self.become_leader(now, self.next_epoch()))
    }

    /// Leads on after a restart, in the epoch that it had: nobody else had it.
    pub fn lead_on(&mut self, now: Millis) -> Vec<Action> {
        match &self.kept.epoch {
            Some(epoch) if epoch.leader == self.me => {
                let epoch = epoch.clone();
                self.become_leader(now, epoch)
            }
            _ => self.become_leader(now, self.next_epoch()),
        }
    }

    /// Joins a group: what it knew and promised of another's epochs says nothing there.
    pub fn join(&mut self) -> Vec<Action> {
        self.kept.epoch = None;
        self.kept.promised = None;
        self.voters.clear();
        self.ballot = None;
        self.heard = None;
        self.outdone = 0;
        vec![Action::Keep]
    }

    /// Follows from now on.
    pub fn follow(&mut self, now: Millis) -> Vec<Action> {
        self.settle_as(Role::Follower, now);
        vec![Action::Keep]
    }

    /// Neither leads nor follows any more.
    pub fn stop(&mut self, now: Millis) -> Vec<Action> {
        self.watched = None;
        self.settle_as(Role::Alone, now);
        vec![Action::Keep]
    }

    /// Takes over when the leader is silent for so long; `None` to leave that to others.
    pub fn watch(&mut self, silence: Option<Millis>, now: Millis) {
        self.watched = silence;
        self.ballot = None;
        self.not_before = now;
    }

    /// The leader was heard, in its epoch. Who has voted for another hears it no more: what it took in now, the one that it
    /// voted for may lack. The leader that is told so asks for votes itself, see [`Self::outbid`].
    pub fn hear(&mut self, now: Millis, epoch: &Epoch) -> Result<Vec<Action>, Denied> {
        let known = self.kept.epoch.as_ref();
        if let Some(known) = known.filter(|known| *known > epoch) {
            return Err(Denied::OldEpoch { known: known.clone(), given: epoch.clone() });
        }
        let promised = self.kept.promised.as_ref().filter(|promised| *promised > epoch);
        if let Some(promised) = promised.filter(|promised| promised.leader != epoch.leader) {
            return Err(Denied::Promised(promised.clone()));
        }
        let actions = self.see(now, epoch);
        if self.kept.role == Role::Follower {
            self.heard = Some(now);
            self.ballot = None;
            self.unelected = None;
        }
        Ok(actions)
    }

    /// Whether what came from the leader may be confirmed to it: not once this node has voted for another. What is confirmed
    /// after a vote, the one that was voted for may lack.
    pub fn may_confirm(&self) -> Result<(), Denied> {
        let known = self.kept.epoch.as_ref();
        let promised = self.kept.promised.as_ref().filter(|promised| known.is_none_or(|known| *promised > known));
        match promised.filter(|promised| known.is_none_or(|known| promised.leader != known.leader)) {
            Some(promised) => Err(Denied::Promised(promised.clone())),
            None => Ok(()),
        }
    }

    /// A follower has voted for an epoch that nobody may ever lead: this leader asks for votes above it, and goes on in its
    /// own epoch until it has them.
    pub fn outbid(&mut self, now: Millis, promised: &Epoch) -> Vec<Action> {
        self.outdone_by(promised);
        let is_open = self.ballot.as_ref().is_some_and(|ballot| now < ballot.ends) || now < self.not_before;
        if self.kept.role != Role::Leader || self.offered.is_some() || is_open {
            return Vec::new();
        }
        self.not_before = Millis(now.0 + BALLOT_WITHIN.0 + PAUSE);
        let epoch = self.next_epoch();
        self.ask(now, epoch, false)
    }

    /// Somebody knows of this epoch, or has promised it: the next that this node asks for is above it.
    pub fn outdone_by(&mut self, epoch: &Epoch) {
        self.outdone = self.outdone.max(epoch.number);
    }

    /// An epoch was seen, wherever: the greatest holds.
    pub fn see(&mut self, now: Millis, epoch: &Epoch) -> Vec<Action> {
        if self.kept.epoch.as_ref().is_some_and(|known| known >= epoch) {
            return Vec::new();
        }
        self.kept.epoch = Some(epoch.clone());
        self.ballot = None;
        if self.kept.role == Role::Leader {
            self.settle_as(Role::Follower, now);
            return vec![Action::Keep, Action::StepDown(epoch.clone())];
        }
        vec![Action::Keep]
    }

    /// Time has passed. `random` spreads ballots.
    pub fn tick(&mut self, now: Millis, random: u64) -> Vec<Action> {
        if self.ballot.as_ref().is_some_and(|ballot| now >= ballot.ends) {
            self.lose();
            self.not_before = Millis(now.0 + PAUSE + random % PAUSE);
        }
        let is_silent = self.is_silent(now);
        let was_silent = std::mem::replace(&mut self.is_disquieted, is_silent);
        if self.is_disquieted && !was_silent {
            // Others hear the same silence: they do not all ask at one moment.
            self.not_before = self.not_before.max(Millis(now.0 + random % PAUSE));
        }
        if self.ballot.is_some() || !self.is_disquieted || now < self.not_before {
            return Vec::new();
        }
        let epoch = self.next_epoch();
        self.ask(now, epoch, true)
    }

    /// Asks all voters, or takes the lead where they are too few to be asked.
    fn ask(&mut self, now: Millis, epoch: Epoch, is_trial: bool) -> Vec<Action> {
        let mut voters = self.voters.clone();
        voters.insert(self.me.clone());
        let count = voters.len();
        if count < MAJORITY_FROM {
            self.kept.promised = Some(epoch.clone());
            self.was_elected = true;
            let mut actions = vec![Action::WarnOfSplit { voters: count }];
            actions.extend(self.elected(now, epoch));
            return actions;
        }
        let votes = BTreeSet::from([self.me.clone()]);
        let ends = Millis(now.0 + BALLOT_WITHIN.0);
        let refusals = BTreeSet::new();
        self.ballot = Some(Ballot { epoch: epoch.clone(), is_trial, voters: count, votes, refusals, ends });
        voters.remove(&self.me);
        if is_trial {
            return vec![Action::Ask { epoch, voters, is_trial }];
        }
        self.kept.promised = Some(epoch.clone());
        vec![Action::Keep, Action::Ask { epoch, voters, is_trial }]
    }

    /// Somebody asks for this node's vote. What is to be kept is kept before the answer goes out.
    ///
    /// In a trial nothing is promised: it is answered as it would be.
    pub fn asked(
        &mut self,
        now: Millis,
        epoch: &Epoch,
        (theirs, ours): (Rank, Rank),
        is_trial: bool,
    ) -> Result<Vec<Action>, Denied> {
        if self.kept.role == Role::Leader {
            self.outdone_by(epoch);
            return Err(Denied::IsLeader);
        }
        for known in [&self.kept.epoch, &self.kept.promised].into_iter().flatten() {
            // One vote per number: a second leader of the same number would not be asked for again otherwise.
            if known.number >= epoch.number && known != epoch {
                return Err(Denied::OldEpoch { known: known.clone(), given: epoch.clone() });
            }
        }
        let patience = self.watched.map_or(IN_TOUCH, |silence| Millis(silence.0 / 2));
        let is_leader = self.kept.epoch.as_ref().is_some_and(|known| known.leader == epoch.leader);
        let heard = self.heard.filter(|heard| !is_leader && now.0.saturating_sub(heard.0) < patience.0);
        if let Some(heard) = heard {
            return Err(Denied::LeaderIsThere(now.0.saturating_sub(heard.0)));
        }
        if theirs < ours {
            return Err(Denied::CandidateBehind);
        }
        if is_trial {
            return Ok(Vec::new());
        }
        self.kept.promised = Some(epoch.clone());
        self.ballot = None;
        // Whoever was voted for gets the time to win and to be heard.
        self.not_before = Millis(now.0 + 2 * BALLOT_WITHIN.0);
        Ok(vec![Action::Keep])
    }

    /// A vote has come.
    pub fn voted(&mut self, now: Millis, voter: &NodeName, epoch: &Epoch, is_trial: bool) -> Vec<Action> {
        let Some(ballot) = &mut self.ballot else { return Vec::new() };
        if ballot.epoch != *epoch || ballot.is_trial != is_trial || now >= ballot.ends || !self.voters.contains(voter) {
            return Vec::new();
        }
        ballot.votes.insert(voter.clone());
        if !ballot.is_won() {
            return Vec::new();
        }
        if is_trial {
            let epoch = self.next_epoch();
            return self.ask(now, epoch, false);
        }
        self.was_elected = true;
        self.elected(now, epoch.clone())
    }

    /// A vote was refused, by somebody who knows of this epoch. A ballot that cannot be won any more ends.
    pub fn refused(&mut self, now: Millis, voter: &NodeName, epoch: &Epoch, known: Option<&Epoch>, random: u64) {
        if let Some(known) = known {
            self.outdone_by(known);
        }
        let Some(ballot) = &mut self.ballot else { return };
        if ballot.epoch != *epoch || !self.voters.contains(voter) {
            return;
        }
        ballot.refusals.insert(voter.clone());
        if ballot.is_lost() {
            self.lose();
            self.not_before = Millis(now.0 + PAUSE + random % PAUSE);
        }
    }

    /// An operator promotes this node. `behind` is how many operations it is known to lack.
    pub fn promote(&mut self, now: Millis, behind: u64, is_forced: bool) -> Result<Vec<Action>, Denied> {
        match self.kept.role {
            Role::Leader => return Err(Denied::IsLeader),
            Role::Alone => {}
            Role::Follower if is_forced => {}
            Role::Follower => {
                let patience = self.watched.unwrap_or(IN_TOUCH).0.min(GRACE.0);
                let silent = self.heard.map(|heard| now.0.saturating_sub(heard.0));
                if let Some(silent) = silent.filter(|silent| *silent < patience) {
                    return Err(Denied::LeaderIsThere(silent));
                }
                if self.kept.epoch.is_none() {
                    return Err(Denied::NeverFollowed);
                }
                if behind > 0 {
                    return Err(Denied::Behind(behind));
                }
            }
        }
        Ok(self.become_leader(now, self.next_epoch()))
    }

    /// Offers the lead to a follower: nothing is written here until that has ended, one way or the other.
    pub fn offer(&mut self, to: &NodeName) -> Result<(Epoch, Vec<Action>), Denied> {
        if self.kept.role != Role::Leader {
            return Err(Denied::IsNoLeader);
        }
        if self.offered.is_some() {
            return Err(Denied::HandingOver);
        }
        let epoch = Epoch { leader: to.clone(), ..self.next_epoch() };
        self.kept.promised = Some(epoch.clone());
        self.offered = Some(epoch.clone());
        Ok((epoch, vec![Action::Keep]))
    }

    /// The lead was offered to this node, and it takes it.
    pub fn take_over(&mut self, now: Millis, epoch: &Epoch) -> Result<Vec<Action>, Denied> {
        if epoch.leader != self.me {
            return Err(Denied::NotMine(epoch.clone()));
        }
        if self.kept.role != Role::Follower {
            return Err(Denied::IsNoFollower);
        }
        for known in [&self.kept.epoch, &self.kept.promised].into_iter().flatten() {
            if known >= epoch {
                return Err(Denied::OldEpoch { known: known.clone(), given: epoch.clone() });
            }
        }
        Ok(self.become_leader(now, epoch.clone()))
    }

    /// The offer came to nothing, or nobody knows what came of it: this node leads again, in an epoch above the one that it
    /// had offered.
    pub fn fail_back(&mut self, now: Millis) -> Result<Vec<Action>, Denied> {
        if self.kept.role != Role::Leader || self.offered.is_none() {
            return Err(Denied::IsNoLeader);
        }
        Ok(self.become_leader(now, self.next_epoch()))
    }

    /// The epoch above all that this node knows, as its own.
    fn next_epoch(&self) -> Epoch {
        let known = Epoch::after([&self.kept.epoch, &self.kept.promised].into_iter().flatten(), self.me.clone());
        Epoch { number: known.number.max(self.outdone.saturating_add(1)), ..known }
    }

    /// Whether its leader has been silent for longer than it may be.
    fn is_silent(&self, now: Millis) -> bool {
        let Some(silence) = self.watched.filter(|_| self.kept.role == Role::Follower) else { return false };
        let last = self.heard.unwrap_or(self.since).max(self.since);
        // Whoever was never in touch with a leader may be empty, and is no successor to anybody.
        let has_followed = self.kept.epoch.is_some();
        has_followed && now.0 >= self.since.0 + GRACE.0 && now.0.saturating_sub(last.0) >= silence.0
    }

    /// The ballot was not won.
    fn lose(&mut self) {
        if let Some(ballot) = self.ballot.take() {
            self.unelected = Some(Unelected { votes: ballot.votes.len(), voters: ballot.voters });
        }
    }

    fn elected(&mut self, now: Millis, epoch: Epoch) -> Vec<Action> {
        let was_elected = self.was_elected;
        let actions = self.become_leader(now, epoch);
        self.was_elected = was_elected;
        actions
    }

    fn become_leader(&mut self, now: Millis, epoch: Epoch) -> Vec<Action> {
        self.settle_as(Role::Leader, now);
        self.kept.epoch = Some(epoch.clone());
        vec![Action::Keep, Action::Lead(epoch)]
    }

    fn settle_as(&mut self, role: Role, now: Millis) {
        self.kept.role = role;
        self.since = now;
        self.heard = None;
        self.ballot = None;
        self.offered = None;
        self.was_elected = false;
        self.unelected = None;
        self.not_before = now;
        self.is_disquieted = false;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn name(text: &str) -> NodeName {
        NodeName::parse(text).unwrap()
    }

    fn epoch(text: &str) -> Epoch {
        Epoch::parse(text).unwrap()
    }

    fn node(me: &str) -> Replica {
        Replica::new(name(me), Kept { role: Role::Alone, epoch: None, promised: None }, Millis(0))
    }

    fn follower(me: &str, of: &str, voters: &[&str]) -> Replica {
        let mut node = node(me);
        node.follow(Millis(0));
        node.hear(Millis(0), &epoch(of)).unwrap();
        node.know_voters(voters.iter().map(|voter| name(voter)));
        node
    }

    fn leads(actions: &[Action]) -> Option<String> {
        actions.iter().find_map(|action| match action {
            Action::Lead(epoch) => Some(epoch.to_string()),
            _ => None,
        })
    }

    #[test]
    fn alone_with_its_leader_a_follower_takes_over_and_says_what_that_means() {
        let mut node = follower("b", "1@a", &["a", "b"]);
        assert_eq!(node.tick(Millis(60_000), 0), [], "nobody watches");
        node.watch(Some(Millis(2_000)), Millis(0));
        assert_eq!(node.tick(Millis(2_500), 0), [], "within the grace");
        let actions = node.tick(Millis(3_000), 0);
        assert_eq!(leads(&actions).unwrap(), "2@b");
        assert!(actions.contains(&Action::WarnOfSplit { voters: 2 }));
        assert!(node.was_elected() && node.may_write());
    }

    #[test]
    fn of_three_a_majority_is_needed() {
        let mut node = follower("b", "1@a", &["a", "b", "c"]);
        node.watch(Some(Millis(1_000)), Millis(0));
        let asked = node.tick(Millis(3_000), 0);
        assert!(matches!(asked.as_slice(), [Action::Ask { voters, is_trial: true, .. }] if voters.len() == 2));
        assert_eq!(node.kept().promised, None, "a trial promises nothing");
        let ballot = epoch("2@b");
        assert_eq!(node.voted(Millis(3_010), &name("x"), &ballot, true), [], "no voter");
        assert_eq!(node.voted(Millis(3_010), &name("c"), &epoch("1@b"), true), [], "another ballot");
        let asked = node.voted(Millis(3_010), &name("c"), &ballot, true);
        assert!(matches!(asked.as_slice(), [Action::Keep, Action::Ask { is_trial: false, .. }]));
        assert_eq!(node.voted(Millis(3_020), &name("c"), &ballot, true), [], "what was said in the trial");
        assert_eq!(leads(&node.voted(Millis(3_020), &name("c"), &ballot, false)).unwrap(), "2@b");
    }

    #[test]
    fn a_ballot_that_is_not_won_in_time_is_asked_anew_with_a_greater_number() {
        let mut node = follower("b", "1@a", &["a", "b", "c"]);
        node.watch(Some(Millis(1_000)), Millis(0));
        node.tick(Millis(3_000), 0);
        node.voted(Millis(3_010), &name("c"), &epoch("2@b"), true);
        assert_eq!(node.tick(Millis(3_510), 0), [], "a pause");
        let again = node.tick(Millis(3_700), 0);
        assert!(matches!(again.first(), Some(Action::Ask { epoch, .. }) if epoch.number == 3));
        assert_eq!(node.voted(Millis(3_710), &name("c"), &epoch("2@b"), false), [], "too late");
    }

    #[test]
    fn a_ballot_that_cannot_be_won_any_more_ends_at_once() {
        let mut node = follower("b", "1@a", &["a", "b", "c"]);
        node.watch(Some(Millis(1_000)), Millis(0));
        node.tick(Millis(3_000), 0);
        let ballot = epoch("2@b");
        node.refused(Millis(3_010), &name("c"), &ballot, Some(&epoch("7@c")), 0);
        assert!(node.ballot.is_some(), "the other may still vote");
        node.refused(Millis(3_020), &name("a"), &ballot, None, 0);
        assert!(node.ballot.is_none());
        let unelected = node.unelected().unwrap();
        assert_eq!((unelected.votes, unelected.voters, unelected.needed()), (1, 3, 2));
        let again = node.tick(Millis(3_020 + PAUSE), 0);
        assert!(matches!(again.first(), Some(Action::Ask { epoch, .. }) if epoch.number == 8));
    }

    #[test]
    fn a_voter_votes_once_per_number_for_whoever_knows_as_much() {
        let ours = Rank { epoch: 1, drops: 1, led: 0, operations: 10 };
        let mut voter = follower("c", "1@a", &[]);
        let now = Millis(10_000);
        assert_eq!(
            voter.asked(now, &epoch("2@b"), (Rank { operations: 9, ..ours }, ours), false),
            Err(Denied::CandidateBehind)
        );
        assert_eq!(
            voter.asked(now, &epoch("2@b"), (Rank { drops: 0, operations: 1_000, ..ours }, ours), false),
            Err(Denied::CandidateBehind),
            "it holds much that was dropped"
        );
        voter.asked(now, &epoch("2@b"), (ours, ours), false).unwrap();
        voter.asked(now, &epoch("2@b"), (ours, ours), false).unwrap();
        assert!(matches!(voter.asked(now, &epoch("2@d"), (ours, ours), false), Err(Denied::OldEpoch { .. })));
        voter.asked(now, &epoch("3@d"), (Rank { epoch: 2, drops: 0, led: 0, operations: 1 }, ours), false).unwrap();
    }

    #[test]
    fn what_the_leader_wrote_counts_more_than_what_nobody_was_promised() {
        let led = Rank { epoch: 2, drops: 0, led: 5, operations: 10 };
        let surplus = Rank { epoch: 2, drops: 0, led: 1, operations: 100 };
        assert!(led > surplus && surplus > Rank { epoch: 1, drops: 0, led: 9, operations: 200 });
        let mut voter = follower("c", "1@a", &[]);
        let asked = voter.asked(Millis(10_000), &epoch("2@b"), (surplus, led), false);
        assert_eq!(asked, Err(Denied::CandidateBehind));
    }

    #[test]
    fn nothing_is_confirmed_to_a_leader_after_a_vote_for_another() {
        let mut voter = follower("c", "1@a", &[]);
        assert_eq!(voter.may_confirm(), Ok(()));
        voter.asked(Millis(10_000), &epoch("2@b"), (Rank::default(), Rank::default()), false).unwrap();
        assert_eq!(voter.may_confirm(), Err(Denied::Promised(epoch("2@b"))));
        voter.hear(Millis(10_100), &epoch("2@b")).unwrap();
        assert_eq!(voter.may_confirm(), Ok(()), "it has won");
        voter.asked(Millis(20_000), &epoch("3@b"), (Rank::default(), Rank::default()), false).unwrap();
        assert_eq!(voter.may_confirm(), Ok(()), "its own leader has asked");
    }

    #[test]
    fn nobody_votes_against_a_leader_that_it_hears() {
        let mut voter = follower("c", "1@a", &[]);
        voter.hear(Millis(9_500), &epoch("1@a")).unwrap();
        let asked = voter.asked(Millis(10_000), &epoch("2@b"), (Rank::default(), Rank::default()), false);
        assert_eq!(asked, Err(Denied::LeaderIsThere(500)));
        let mut leader = node("a");
        leader.lead(Millis(0)).unwrap();
        let asked = leader.asked(Millis(10_000), &epoch("2@b"), (Rank::default(), Rank::default()), false);
        assert_eq!(asked, Err(Denied::IsLeader));
    }

    #[test]
    fn whoever_sees_a_greater_epoch_stops_writing() {
        let mut leader = node("a");
        leader.lead(Millis(0)).unwrap();
        assert_eq!(leader.see(Millis(1), &epoch("1@a")), []);
        assert_eq!(leader.see(Millis(1), &epoch("2@b")), [Action::Keep, Action::StepDown(epoch("2@b"))]);
        assert!(!leader.may_write());
        assert!(matches!(leader.hear(Millis(2), &epoch("1@z")), Err(Denied::OldEpoch { .. })));
        // Two with the same number: the greater name.
        let mut other = node("b");
        other.lead(Millis(0)).unwrap();
        assert_eq!(other.see(Millis(1), &epoch("1@a")), []);
        assert_eq!(other.see(Millis(1), &epoch("1@c")).len(), 2);
    }

    #[test]
    fn a_handover_ends_with_one_of_both() {
        let (mut old, mut new) = (node("a"), follower("b", "1@a", &[]));
        old.lead(Millis(0)).unwrap();
        let (offered, _) = old.offer(&name("b")).unwrap();
        assert!(!old.may_write());
        assert_eq!(old.offer(&name("b")).unwrap_err(), Denied::HandingOver);
        assert_eq!(leads(&new.take_over(Millis(1), &offered).unwrap()).unwrap(), "2@b");
        assert_eq!(old.see(Millis(2), &offered).len(), 2);
        // Or nobody knows: the old one leads above what it had offered, and who took that gives way.
        let (mut old, mut new) = (node("a"), follower("b", "1@a", &[]));
        old.lead(Millis(0)).unwrap();
        let (offered, _) = old.offer(&name("b")).unwrap();
        new.take_over(Millis(1), &offered).unwrap();
        assert_eq!(leads(&old.fail_back(Millis(2)).unwrap()).unwrap(), "3@a");
        assert_eq!(new.see(Millis(3), &epoch("3@a")).len(), 2);
        assert!(matches!(new.take_over(Millis(4), &offered), Err(Denied::OldEpoch { .. })));
    }

    #[test]
    fn promotion_by_hand_looks_first_unless_forced() {
        let mut node = follower("b", "1@a", &[]);
        assert_eq!(node.promote(Millis(100), 0, false), Err(Denied::LeaderIsThere(100)));
        assert_eq!(node.promote(Millis(9_000), 4, false), Err(Denied::Behind(4)));
        assert_eq!(leads(&node.promote(Millis(9_000), 4, true).unwrap()).unwrap(), "2@b");
        assert_eq!(node.promote(Millis(9_000), 0, true), Err(Denied::IsLeader));
        let mut fresh = Replica::new(name("c"), Kept { role: Role::Follower, epoch: None, promised: None }, Millis(0));
        assert_eq!(fresh.promote(Millis(9_000), 0, false), Err(Denied::NeverFollowed));
        fresh.watch(Some(Millis(1_000)), Millis(0));
        assert_eq!(fresh.tick(Millis(60_000), 0), [], "an empty node takes over from nobody");
    }

    #[test]
    fn who_joins_another_group_hears_its_leader_whatever_epochs_there_were_before() {
        let mut node = follower("b", "7@x", &["b", "x", "y"]);
        assert!(matches!(node.hear(Millis(1), &epoch("1@a")), Err(Denied::OldEpoch { .. })));
        assert_eq!(node.join(), [Action::Keep]);
        node.hear(Millis(1), &epoch("1@a")).unwrap();
        assert_eq!((node.epoch(), node.voters().len()), (Some(&epoch("1@a")), 0));
    }

    #[test]
    fn a_leader_that_starts_again_leads_on_in_its_epoch() {
        let mut leader = node("a");
        leader.lead(Millis(0)).unwrap();
        let mut again = Replica::new(name("a"), leader.kept().clone(), Millis(9));
        assert_eq!(leads(&again.lead_on(Millis(9))).unwrap(), "1@a");
        let kept = Kept { role: Role::Leader, epoch: Some(epoch("4@b")), promised: Some(epoch("6@c")) };
        assert_eq!(leads(&Replica::new(name("a"), kept, Millis(9)).lead_on(Millis(9))).unwrap(), "7@a");
    }
}
