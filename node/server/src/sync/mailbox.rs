//! What others have to say to a session while it is busy: kept in one place, so that nothing of it is lost or piles up.
//!
//! What the peer is known to know is read from here at the last moment before something is sent.

use std::sync::{Mutex, PoisonError};

use std::time::{Duration, Instant};

use holdfast_core::sync::forwarding::{Filter, Forwarding};
use holdfast_core::sync::session::Event;
use holdfast_core::time::Millis;
use holdfast_core::vector::{Position, Vector};
use tokio::sync::Notify;

/// A peer that is heard after so long a silence is back. One that is heard all the time, and cannot be reached all the
/// same, is tried no more often for that.
const SILENCE: Duration = Duration::from_secs(3);

/// Between a session's task and the rest of the node.
#[derive(Debug, Default)]
pub struct Mailbox {
    letters: Mutex<Letters>,
    arrived: Notify,
    given_up: Notify,
}

#[derive(Debug, Default)]
struct Letters {
    is_called: bool,
    heard: Option<(Option<u64>, Vector)>,
    brought: Option<Brought>,
    answered: Option<Event>,
    /// What the session says of itself: what the peer is to be sent now, and what later.
    forwarding: Forwarding,
    /// What the peer was told that we know.
    told: Vector,
    /// When the peer last called us, on whatever way.
    last_contact: Option<Instant>,
    /// Whether the session waits after a failure.
    is_waiting: bool,
}

/// A stretch of the peer's log.
#[derive(Debug, Clone, Copy)]
struct Brought {
    log_id: u64,
    after: Position,
    through: Position,
}

impl Mailbox {
    /// The peer has something, or somebody wants an exchange.
    pub fn call(&self) {
        self.letters(|letters| letters.is_called = true);
        self.arrived.notify_one();
    }

    /// The peer has called us. Ends the wait after a failure, when it was silent before.
    pub fn contacted(&self, now: Instant) {
        let is_back = self.letters(|letters| {
            let was_silent = letters.last_contact.is_none_or(|last| now.saturating_duration_since(last) >= SILENCE);
            letters.last_contact = Some(now);
            let is_back = letters.is_waiting && was_silent;
            letters.is_called |= is_back;
            is_back
        });
        if is_back {
            self.arrived.notify_one();
        }
    }

    /// The peer is known to know this. Wakes nobody: it only spares sending. Answers whether that is more than waits
    /// here to be read.
    pub fn heard(&self, vector: &Vector, log_id: Option<u64>) -> bool {
        self.letters(|letters| match &mut letters.heard {
            Some((of, known)) if *of == log_id => {
                let is_news = !known.covers_all(vector);
                known.merge(vector);
                is_news
            }
            other => {
                *other = Some((log_id, vector.clone()));
                true
            }
        })
    }

    /// What was heard of a log of the peer, or of whichever it has now, since the session last looked.
    pub fn unread(&self, peer_log_id: Option<u64>) -> Option<Vector> {
        self.letters(|letters| {
            let (log_id, vector) = letters.heard.as_ref()?;
            (log_id.is_none() || peer_log_id.is_none() || *log_id == peer_log_id).then(|| vector.clone())
        })
    }

    /// The peer has brought this stretch of its log, and it was taken in. Wakes nobody: it only spares asking.
    pub fn brought(&self, log_id: u64, after: Position, through: Position) {
        self.letters(|letters| match &mut letters.brought {
            Some(so_far) if so_far.log_id == log_id && (so_far.after..=so_far.through).contains(&after) => {
                so_far.through = so_far.through.max(through);
            }
            other => *other = Some(Brought { log_id, after, through }),
        });
    }

    /// The peer has asked for our log after a position and was answered.
    pub fn answered(&self, after: Position, has_any: bool, has_more: bool) {
        self.letters(|letters| letters.answered = Some(Event::Answered { after, has_any, has_more }));
        self.arrived.notify_one();
    }

    /// The peer was told that we know this.
    pub fn told(&self, vector: &Vector) {
        self.letters(|letters| letters.told.merge(vector));
    }

    /// Whether the peer was told everything of this, our own operations aside: those it gets from us.
    pub fn was_told(&self, vector: &Vector, local: &holdfast_core::vector::Origin) -> bool {
        self.letters(|letters| {
            vector.iter().all(|(origin, sequence)| origin == local || letters.told.get(origin) >= sequence)
        })
    }

    /// Gives the exchange up that waits for the peer's answer at this moment, if one does.
    pub fn give_up(&self) {
        self.given_up.notify_waiters();
    }

    /// Waits until the exchange is given up.
    pub async fn given_up(&self) {
        self.given_up.notified().await;
    }

    /// Waits until there is something to take.
    pub async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Everything that has arrived, in the order in which it is best handled.
    pub fn take(&self) -> Vec<Event> {
        self.letters(|letters| {
            let heard = letters.heard.take().map(|(log_id, vector)| Event::Heard { vector, log_id });
            let brought = letters.brought.take();
            let brought = brought.map(|Brought { log_id, after, through }| Event::Brought { log_id, after, through });
            let called = std::mem::take(&mut letters.is_called).then_some(Event::Called);
            heard.into_iter().chain(brought).chain(letters.answered.take()).chain(called).collect()
        })
    }

    /// Lets a filter know what has been heard since it was made.
    pub fn refresh(&self, filter: &mut Filter, peer_log_id: Option<u64>) {
        self.letters(|letters| {
            if let Some((log_id, vector)) = &letters.heard
                && (log_id.is_none() || *log_id == peer_log_id)
            {
                filter.learn(vector);
            }
        });
    }

    /// Keeps what the session says of itself.
    pub fn show(&self, forwarding: &Forwarding, is_waiting: bool) {
        self.letters(|letters| {
            letters.forwarding.clone_from(forwarding);
            letters.is_waiting = is_waiting;
        });
    }

    /// What is left out of an answer to the peer.
    pub fn filter_for_answer(&self, now: Millis, known: Vector) -> Filter {
        self.letters(|letters| letters.forwarding.clone()).for_answer(now, known)
    }

    fn letters<T>(&self, look: impl FnOnce(&mut Letters) -> T) -> T {
        look(&mut self.letters.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use holdfast_core::id::NodeName;
    use holdfast_core::vector::{Origin, Sequence};

    use super::*;

    #[test]
    fn what_was_heard_is_known_before_the_session_reads_it_and_of_its_own_log_alone() {
        let mailbox = Mailbox::default();
        let origin = Origin { node: NodeName::parse("b").unwrap(), incarnation: 1 };
        let vector = |known| -> Vector { [(origin.clone(), Sequence(known))].into_iter().collect() };
        assert!(mailbox.heard(&vector(1), Some(7)) && !mailbox.heard(&vector(1), Some(7)), "said once");
        assert!(mailbox.heard(&vector(2), Some(7)));
        assert_eq!((mailbox.unread(Some(7)), mailbox.unread(None)), (Some(vector(2)), Some(vector(2))));
        assert_eq!(mailbox.unread(Some(8)), None, "it has begun anew since");
        mailbox.take();
        assert_eq!(mailbox.unread(Some(7)), None);
    }

    #[test]
    fn a_peer_that_is_back_ends_the_wait_and_one_that_was_never_gone_does_not() {
        let (mailbox, begin) = (Mailbox::default(), Instant::now());
        let after = |seconds| begin + Duration::from_secs(seconds);
        let is_called = || mailbox.take().iter().any(|event| matches!(event, Event::Called));
        mailbox.show(&Forwarding::default(), false);
        mailbox.contacted(after(0));
        assert!(!is_called(), "nothing waits");
        mailbox.show(&Forwarding::default(), true);
        mailbox.contacted(after(1));
        mailbox.contacted(after(2));
        assert!(!is_called(), "it was heard all the time");
        mailbox.contacted(after(20));
        assert!(is_called(), "it was away");
        mailbox.contacted(after(20));
        assert!(!is_called(), "once");
    }
}
