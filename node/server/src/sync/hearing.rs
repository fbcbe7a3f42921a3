//! When a peer was last heard, and when what is known of it is doubted.
//!
//! ```text
//!   heard ── a health check unanswered for Node:ReplicationSignalAckTimeoutMilliseconds ─┐
//!     │      the WebSocket was lost ─────────────────────────────────────────────────────┼─► doubted
//!     │      nothing heard for a sweep and that timeout, where no WebSocket passes ──────┘      │
//!     └──────────────────────────── an exchange or a comparison succeeds ◄──────────────────────┘
//! ```
//!
//! Must stay true: a doubt ends with an exchange alone. A word over the WebSocket shows that the peer lives, and nothing
//! of what was written there meanwhile.

use std::time::{Duration, Instant};

/// How often a quiet WebSocket is tried, if sweeps are not more frequent.
const HEALTH_CHECK_EVERY: Duration = Duration::from_secs(5);

/// How long silence may last before it counts.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// How often every peer is looked at.
    pub sweep: Duration,
    /// How long an answer may take.
    pub answer: Duration,
}

/// When a peer was heard, in one database.
#[derive(Debug, Clone, Copy, Default)]
pub struct Heard {
    /// When an exchange or a comparison last succeeded.
    pub exchange: Option<Instant>,
    /// When anything last came over our WebSocket to it.
    pub socket: Option<Instant>,
    /// When our WebSocket was last lost, or left without an answer for too long.
    pub doubted: Option<Instant>,
}

impl Patience {
    /// How often a quiet WebSocket is tried.
    pub fn health_check_every(self) -> Duration {
        HEALTH_CHECK_EVERY.min(self.sweep)
    }
}

impl Heard {
    /// When it was last heard, on whatever way.
    pub fn last(&self) -> Option<Instant> {
        self.exchange.max(self.socket)
    }

    /// How long the peer is silent, if so long that it may have changed, or gone, without our notice.
    pub fn silence(&self, now: Instant, patience: Patience) -> Option<Duration> {
        let last = self.last()?;
        let silent = now.saturating_duration_since(last);
        let is_doubted = self.doubted.is_some_and(|doubted| self.exchange.is_none_or(|exchange| exchange <= doubted));
        (is_doubted || silent > patience.sweep + patience.answer).then_some(silent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { sweep: Duration::from_secs(60), answer: Duration::from_secs(10) };

    #[test]
    fn a_doubt_ends_with_an_exchange_and_not_with_a_word() {
        let begin = Instant::now();
        let at = |seconds| Some(begin + Duration::from_secs(seconds));
        let silence =
            |heard: Heard, now| heard.silence(begin + Duration::from_secs(now), PATIENCE).map(|of| of.as_secs());
        let heard = Heard { exchange: at(1), socket: at(20), doubted: None };
        assert_eq!(silence(heard, 25), None);
        let doubted = Heard { doubted: at(30), ..heard };
        assert_eq!(silence(doubted, 31), Some(11));
        assert_eq!(silence(Heard { socket: at(32), ..doubted }, 33), Some(1), "it lives, and may have changed");
        assert_eq!(silence(Heard { exchange: at(34), ..doubted }, 35), None);
    }

    #[test]
    fn where_no_web_socket_passes_a_sweep_without_an_answer_is_silence() {
        let begin = Instant::now();
        let heard = Heard { exchange: Some(begin), ..Heard::default() };
        assert_eq!(heard.silence(begin + Duration::from_secs(70), PATIENCE), None);
        assert!(heard.silence(begin + Duration::from_secs(71), PATIENCE).is_some());
        assert_eq!(Heard::default().silence(begin, PATIENCE), None, "it was never heard: nothing is claimed of it");
    }
}
