//! Leases: how long members have been silent, counted only while this node could tell.
//!
//! ```text
//!   heard ─────────────► not a word for a while ─────────► silent ─────────► its lease has run out
//!                                                          counted in contact with a majority alone
//! ```
//!
//! Members that do not talk to this node are heard of through those that do, who tell how long ago they heard them. Such an
//! *age* grows with every hop, by the time that the answer took and by the time that it lay at each node on its way. So it
//! is never less than the truth, and word of who has gone dies out everywhere at once, however often it is passed on. That
//! is the one way in which members are heard of: what they have written says nothing of when they were there.
//!
//! Must stay true: of two halves of a cluster that cannot see each other at most one counts the other out. A node that is
//! alone counts nothing.
//!
//! What it does not do: it counts nobody out. That is an operation in the log, which the caller writes.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::NodeName;
use crate::members::Members;
use crate::sync::echo::Echoes;
use crate::time::Millis;
use crate::vector::{Origin, Vector};

/// When members of one database were last heard, and how long they have been silent for the purposes of their lease.
#[derive(Debug, Clone, Default)]
pub struct Leases {
    seen: BTreeMap<Origin, Seen>,
    /// Silence that was counted before the start, until the member is first looked at.
    restored: BTreeMap<Origin, Millis>,
    /// How old questions may be that tell of members.
    pub echoes: Echoes,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    last: Millis,
    /// Whether it was, rather than being given the benefit of the doubt after a start.
    is_known: bool,
    /// Silence that counts.
    silent_for: Millis,
}

/// What is agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How often nodes look at their peers.
    pub sweep: Millis,
    /// After so much silence that counts, its lease has run out.
    pub lease: Millis,
}

/// Sweeps without a word after which a node that talks to us itself counts as silent: one of them may be lost.
pub const SILENT_SWEEPS: u32 = 2;

impl Terms {
    /// Without a word for longer than this, one of so many members counts as silent: word of it comes through all others
    /// at worst, lies with each of them for up to a sweep, and may be lost once.
    pub fn silent_after(self, members: usize) -> Millis {
        let hops_and_a_loss = u64::try_from(members).unwrap_or(u64::MAX);
        Millis(self.sweep.0.saturating_mul(hops_and_a_loss.max(u64::from(SILENT_SWEEPS))))
    }
}

impl Leases {
    /// Notes that a member was heard, by itself.
    pub fn hear(&mut self, now: Millis, member: &Origin) {
        self.restored.remove(member);
        self.seen.insert(member.clone(), Seen { last: now, is_known: true, silent_for: Millis(0) });
    }

    /// Notes that another node heard a member so long ago: who is quiet behind others is silent only here.
    pub fn hear_of(&mut self, now: Millis, member: &Origin, ago: Millis) {
        let last = now.before(ago);
        match self.seen.get_mut(member) {
            Some(seen) if last > seen.last => {
                // It was not silent before that, whatever was counted here.
                *seen = Seen { last, is_known: true, silent_for: seen.silent_for.min(ago) };
            }
            Some(_) => {}
            None => {
                let counted = self.restored.remove(member).unwrap_or_default();
                self.seen.insert(member.clone(), Seen { last, is_known: true, silent_for: counted.min(ago) });
            }
        }
    }

    /// How long ago members were heard, as far as this node knows.
    pub fn heard(&self, now: Millis) -> BTreeMap<Origin, Millis> {
        let known = self.seen.iter().filter(|(_, seen)| seen.is_known);
        known.map(|(member, seen)| (member.clone(), now.since(seen.last))).collect()
    }

    /// Goes on from silence that was counted before, unless the member was heard since.
    pub fn restore(&mut self, member: &Origin, silent_for: Millis) {
        self.restored.insert(member.clone(), silent_for);
    }

    /// How much silence counts against a member's lease.
    pub fn silent_for(&self, member: &Origin) -> Millis {
        let counted = self.seen.get(member).map(|seen| seen.silent_for);
        counted.or_else(|| self.restored.get(member).copied()).unwrap_or_default()
    }

    /// How long ago a member was heard; `None` when it was not since the start.
    pub fn silent_since(&self, now: Millis, member: &Origin) -> Option<Millis> {
        self.seen.get(member).map(|seen| now.since(seen.last))
    }

    /// Counts `elapsed` for those that are silent, if we are in contact with a majority. Gives those whose lease has run
    /// out. `vector` is what this node, `me`, knows.
    pub fn count(
        &mut self,
        (now, elapsed): (Millis, Millis),
        (members, vector): (&Members, &Vector),
        me: &Origin,
        terms: Terms,
    ) -> Vec<Origin> {
        let others: Vec<&Origin> = members.counted(vector, me).collect();
        // A node may be there in two lives for a while, and counts once.
        let names: BTreeSet<&NodeName> =
            others.iter().map(|member| &member.node).filter(|name| **name != me.node).collect();
        let silent_after = terms.silent_after(names.len() + 1);
        let is_silent = |seen: &Seen| now.since(seen.last) > silent_after;
        let is_heard =
            |member: &&&Origin| self.seen.get(**member).is_some_and(|seen| seen.is_known && !is_silent(seen));
        let heard = others.iter().filter(is_heard).map(|member| &member.node);
        let heard: BTreeSet<&NodeName> = heard.filter(|name| **name != me.node).collect();
        // This node and those it hears, against all of them.
        let is_majority = (heard.len() + 1) * 2 > names.len() + 1;
        let mut lapsed = Vec::new();
        for member in others {
            let seen = self.seen.entry(member.clone()).or_insert_with(|| Seen {
                last: now.before(silent_after),
                is_known: false,
                silent_for: self.restored.remove(member).unwrap_or_default(),
            });
            if is_majority && is_silent(seen) {
                seen.silent_for = seen.silent_for + elapsed;
                if seen.silent_for > terms.lease {
                    lapsed.push(member.clone());
                }
            }
        }
        lapsed
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::id::NodeName;
    use crate::members::Membership;
    use crate::stamp::Stamp;
    use crate::vector::{Dot, Sequence};

    /// Three members are silent after 60.
    const TERMS: Terms = Terms { sweep: Millis(20), lease: Millis(100) };

    fn origin(name: &str) -> Origin {
        Origin { node: NodeName::parse(name).unwrap(), incarnation: 1 }
    }

    fn members(names: &[&str]) -> Members {
        let mut members = Members::new();
        for name in names {
            let by = Dot { origin: origin("a"), sequence: Sequence(1) };
            members.set(&origin(name), Membership { fenced: None, stamp: Stamp(1), by });
        }
        members
    }

    fn count(leases: &mut Leases, now: u64, elapsed: u64, names: &[&str]) -> Vec<Origin> {
        leases.count((Millis(now), Millis(elapsed)), (&members(names), &Vector::new()), &origin("a"), TERMS)
    }

    #[test]
    fn silence_counts_only_in_contact_with_a_majority() {
        let mut leases = Leases::default();
        assert!(count(&mut leases, 1_000, 500, &["a", "b", "c"]).is_empty(), "alone, one of three");
        leases.hear(Millis(1_000), &origin("b"));
        leases.hear(Millis(1_000), &origin("c"));
        leases.hear(Millis(1_070), &origin("b"));
        assert!(count(&mut leases, 1_060, 500, &["a", "b", "c"]).is_empty(), "not silent for long enough");
        assert_eq!(count(&mut leases, 1_070, 101, &["a", "b", "c"]), [origin("c")]);
        assert!(count(&mut leases, 1_070, 500, &["a", "c"]).is_empty(), "one of two is no majority");
    }

    #[test]
    fn who_is_heard_by_others_is_not_silent() {
        let mut leases = Leases::default();
        for now in [1_000, 1_090, 1_180, 1_270, 1_360] {
            leases.hear(Millis(now), &origin("b"));
            leases.hear_of(Millis(now), &origin("c"), Millis(50));
            assert!(count(&mut leases, now, 90, &["a", "b", "c"]).is_empty());
        }
        assert_eq!(leases.heard(Millis(1_370)).get(&origin("c")), Some(&Millis(60)));
        // What the others heard becomes older with every telling, and older word is no news.
        leases.hear_of(Millis(1_400), &origin("c"), Millis(200));
        assert_eq!(leases.silent_since(Millis(1_400), &origin("c")), Some(Millis(90)));
        for now in [1_450, 1_540] {
            leases.hear(Millis(now), &origin("b"));
            leases.hear_of(Millis(now), &origin("c"), Millis(now - 1_310));
            assert_eq!(count(&mut leases, now, 90, &["a", "b", "c"]).is_empty(), now == 1_450);
        }
    }

    #[test]
    fn a_node_in_two_lives_is_heard_once() {
        let mut leases = Leases::default();
        let lives = [1, 2].map(|incarnation| Origin { incarnation, ..origin("b") });
        let mut known = members(&["a", "c", "d"]);
        for life in &lives {
            let by = Dot { origin: origin("a"), sequence: Sequence(1) };
            known.set(life, Membership { fenced: None, stamp: Stamp(1), by });
        }
        for now in [1_000, 1_090, 1_180, 1_270] {
            for life in &lives {
                leases.hear(Millis(now), life);
            }
            let lapsed = leases.count((Millis(now), Millis(90)), (&known, &Vector::new()), &origin("a"), TERMS);
            assert!(lapsed.is_empty(), "a and b are two of four, and no majority");
        }
    }

    #[test]
    fn the_more_members_there_are_the_longer_word_may_be_under_way() {
        let names = ["a", "b", "c", "d", "e"];
        let mut leases = Leases::default();
        for now in [1_000, 1_100, 1_200] {
            leases.hear(Millis(now), &origin("b"));
            for (hops, name) in names.iter().enumerate().skip(2) {
                leases.hear_of(Millis(now), &origin(name), Millis(25 * hops as u64));
            }
            assert!(count(&mut leases, now, 101, &names).is_empty(), "four hops, and one word lost");
        }
        assert_eq!(leases.silent_for(&origin("e")), Millis(0));
    }

    #[test]
    fn a_word_ends_the_silence_and_what_was_counted_of_it() {
        let mut leases = Leases::default();
        for now in [1_000, 1_090, 1_180] {
            leases.hear(Millis(now), &origin("b"));
            assert!(count(&mut leases, now, 90, &["a", "b", "c"]).is_empty() || now == 1_180);
        }
        leases.hear(Millis(1_200), &origin("c"));
        assert_eq!(leases.silent_since(Millis(1_250), &origin("c")), Some(Millis(50)));
        leases.hear(Millis(1_270), &origin("b"));
        assert!(count(&mut leases, 1_270, 90, &["a", "b", "c"]).is_empty(), "it begins anew");
    }

    #[test]
    fn silence_before_a_restart_counts_with_silence_after_it() {
        let mut leases = Leases::default();
        leases.restore(&origin("b"), Millis(90));
        leases.restore(&origin("c"), Millis(90));
        assert_eq!(leases.silent_for(&origin("c")), Millis(90));
        leases.hear(Millis(1_000), &origin("b"));
        assert_eq!(leases.silent_for(&origin("b")), Millis(0), "heard is heard");
        assert!(count(&mut leases, 1_000, 0, &["a", "b", "c"]).is_empty());
        leases.hear(Millis(1_001), &origin("b"));
        assert_eq!(count(&mut leases, 1_001, 11, &["a", "b", "c"]), [origin("c")]);
    }

    #[test]
    fn who_was_never_heard_is_silent_from_the_first_look_on() {
        let mut leases = Leases::default();
        leases.hear(Millis(1_000), &origin("b"));
        assert!(count(&mut leases, 1_000, 500, &["a", "b", "c"]).is_empty());
        assert_eq!(leases.silent_since(Millis(1_000), &origin("d")), None);
        leases.hear(Millis(1_001), &origin("b"));
        assert_eq!(count(&mut leases, 1_001, 101, &["a", "b", "c"]), [origin("c")]);
    }
}
