//! What the writer's thread does for its database besides writing: giving up what every member knows, pruning the log.
//!
//! Both go in small steps between writes, so that nobody waits for them.

use std::time::{Duration, Instant};

use holdfast_core::cache::{CacheSweep, CacheSweepPlan};
use holdfast_core::time::Millis;
use holdfast_core::vector::Position;
use holdfast_storage::commit::{Moment, PruneLimit, Pruned, Writer};
use holdfast_storage::error::StorageError;
use holdfast_storage::indexes::IndexLimit;
use holdfast_storage::request::{Answer, GivenUp, Request};

use crate::settings::sections::NodeSettings;
use crate::{clock, entropy};

/// How often the writer's thread looks whether there is something to do.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Documents that are looked at in one step.
const GIVE_UP_DOCUMENTS: usize = 1_000;
const DAY_MILLIS: u64 = 24 * 60 * 60 * 1_000;

/// What a database keeps and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Upkeep {
    /// Whether old operations are removed from the log.
    pub is_pruning: bool,
    /// Operations younger than this stay.
    pub operation_age_min: Millis,
    /// So many operations stay, whatever their age.
    pub operations_kept: u64,
    /// With more bytes than this in the log, age and peers no longer count; `None` for no bound.
    pub log_bytes_max: Option<u64>,
    /// Time between two prunings.
    pub prune_every: Duration,
    /// Operations that are removed in one step.
    pub prune_operations: u64,
    /// A peer that has confirmed nothing for longer is not waited for.
    pub lease: Millis,
    /// Tombstones that every member knows stay for so long.
    pub tombstone_age_min: Millis,
    /// How the cache is swept.
    pub cache_sweep: CacheSweepPlan,
}

impl Upkeep {
    /// As the settings want it.
    pub fn new(settings: &NodeSettings) -> Self {
        let megabytes = settings.operation_log_max_megabytes;
        Self {
            is_pruning: settings.operation_log_pruning_enabled,
            operation_age_min: Millis(settings.operation_log_retention_days.saturating_mul(DAY_MILLIS)),
            operations_kept: settings.operation_log_retain_recent_operations,
            log_bytes_max: (megabytes > 0).then_some(megabytes.saturating_mul(1024 * 1024)),
            prune_every: Duration::from_secs(settings.operation_log_pruning_interval_minutes.saturating_mul(60)),
            prune_operations: settings.operation_log_pruning_batch_size as u64,
            lease: Millis(settings.peer_lease_days.saturating_mul(DAY_MILLIS)),
            tombstone_age_min: Millis(settings.tombstone_retention_minutes.saturating_mul(60_000)),
            cache_sweep: CacheSweepPlan {
                every: Millis(settings.cache_cleanup_interval_seconds.saturating_mul(1_000)),
                keys: settings.cache_cleanup_batch_size,
                steps: settings.cache_cleanup_max_scan_pages,
            },
        }
    }
}

/// Where the upkeep of one database is.
#[derive(Debug)]
pub(super) struct Caretaker {
    upkeep: Upkeep,
    look_at: Instant,
    prune_at: Instant,
    is_pruning: bool,
    /// When it began: the sweeps count from here.
    begun: Instant,
    cache_sweep: CacheSweep,
    /// What was seen when nothing was left to give up.
    settled_at: Option<(Position, holdfast_core::vector::Vector)>,
}

/// What a request to prune came to.
#[derive(Debug, Clone)]
pub struct PruneReport {
    /// What went.
    pub pruned: Pruned,
    /// Up to where it would have been allowed.
    pub through: Position,
    /// Whether pruning is switched on.
    pub is_enabled: bool,
}

impl Caretaker {
    pub(super) fn new(upkeep: Upkeep) -> Self {
        let now = clock::monotonic();
        Self {
            upkeep,
            look_at: now,
            prune_at: now + upkeep.prune_every,
            is_pruning: false,
            begun: now,
            cache_sweep: CacheSweep::new(upkeep.cache_sweep, Millis(0)),
            settled_at: None,
        }
    }

    /// Does one step of what is due; what is noted in the log is left alone unless this node `may_log`. Answers whether
    /// readers see less of the cache.
    pub(super) fn look(&mut self, writer: &mut Writer, may_log: bool) -> Result<bool, StorageError> {
        let now = clock::monotonic();
        if now < self.look_at {
            return Ok(false);
        }
        self.look_at = now + LOOK_EVERY;
        let has_more = may_log && self.give_up(writer)?;
        if self.upkeep.is_pruning && now >= self.prune_at {
            self.is_pruning = true;
            self.prune_at = now + self.upkeep.prune_every;
        }
        if self.is_pruning {
            self.is_pruning = self.prune(writer, self.upkeep.prune_operations)?.pruned.has_more;
        }
        let has_swept = self.sweep_cache(writer, now)?;
        if has_more || self.is_pruning {
            // The next step comes as soon as the writes that wait now are done.
            self.look_at = now;
        }
        let sweep_at = self.begun + Duration::from_millis(self.cache_sweep.next(self.elapsed(now)).0);
        self.look_at = self.look_at.min(sweep_at);
        Ok(has_swept)
    }

    /// Whether the next step waits for nothing but the writes that wait now.
    pub(super) fn is_at_work(&self) -> bool {
        self.look_at <= clock::monotonic()
    }

    /// Does one step of a sweep of the cache, if one is due. Answers whether something went.
    fn sweep_cache(&mut self, writer: &mut Writer, now: Instant) -> Result<bool, StorageError> {
        let Some(keys) = self.cache_sweep.due(self.elapsed(now)) else { return Ok(false) };
        let swept = writer.sweep_cache(Millis(clock::now_millis()), keys)?;
        self.cache_sweep.swept(self.elapsed(now), swept.has_more);
        Ok(swept.keys > 0)
    }

    fn elapsed(&self, now: Instant) -> Millis {
        Millis(u64::try_from(now.saturating_duration_since(self.begun).as_millis()).unwrap_or(u64::MAX))
    }

    /// Does one step of what is to be done on indexes: tens of milliseconds at most. Answers whether readers see a change.
    pub(super) fn work_on_indexes(writer: &mut Writer) -> Result<bool, StorageError> {
        if !writer.has_index_work() {
            return Ok(false);
        }
        let step = writer.work_on_indexes(Millis(clock::now_millis()), IndexLimit::default())?;
        Ok(step.is_visible)
    }

    /// Prunes now, all that may go.
    pub(super) fn prune_now(&mut self, writer: &mut Writer) -> Result<PruneReport, StorageError> {
        if !self.upkeep.is_pruning {
            return Ok(PruneReport { pruned: Pruned::default(), through: Position::START, is_enabled: false });
        }
        self.prune(writer, u64::MAX)
    }

    fn prune(&self, writer: &mut Writer, entries_max: u64) -> Result<PruneReport, StorageError> {
        let now = Millis(clock::now_millis());
        let newest = writer.state().position;
        let is_over = match self.upkeep.log_bytes_max {
            Some(max) => writer.log_bytes()? > max,
            None => false,
        };
        let mut through = Position(newest.0.saturating_sub(self.upkeep.operations_kept));
        let mut older_than = Some(now.before(self.upkeep.operation_age_min));
        if is_over {
            older_than = None;
        } else {
            let confirmed = writer.confirmed_since(now.before(self.upkeep.lease));
            through = confirmed.map_or(through, |confirmed| through.min(confirmed));
        }
        let pruned = writer.prune(PruneLimit { through, older_than, entries_max })?;
        Ok(PruneReport { pruned, through, is_enabled: true })
    }

    /// Answers whether there is more to look at.
    fn give_up(&mut self, writer: &mut Writer) -> Result<bool, StorageError> {
        let seen = (writer.state().position, writer.stable());
        let is_waiting_for_time = writer.has_unsettled()?;
        if !is_waiting_for_time || (self.settled_at.as_ref() == Some(&seen) && self.upkeep.tombstone_age_min.0 == 0) {
            return Ok(false);
        }
        let now = Millis(clock::now_millis());
        let request = Request::GiveUp {
            tombstones_before: now.before(self.upkeep.tombstone_age_min),
            documents_max: GIVE_UP_DOCUMENTS,
        };
        let mut moment = Moment { now, random: &mut entropy::random_u128 };
        let answers =
            writer.commit(&mut moment, vec![request]).map_err(holdfast_storage::commit::CommitError::into_source)?;
        let given_up = match answers.first() {
            Some(Answer::GivenUp(given_up)) => *given_up,
            _ => GivenUp::default(),
        };
        if !given_up.has_more {
            self.settled_at = Some((writer.state().position, seen.1));
        }
        Ok(given_up.has_more && given_up.tombstones + given_up.folded > 0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use holdfast_core::id::{CollectionName, DatabaseName, DocumentId, NodeName};
    use holdfast_core::json::JsonText;
    use holdfast_storage::database::Options;
    use holdfast_storage::layout::{Arrival, DataDirectory};
    use holdfast_storage::request::{Action, Change, Expect};

    use super::*;
    use crate::settings::Settings;

    #[test]
    fn nothing_is_given_up_while_the_log_must_stand_still() {
        let directory = tempfile::tempdir().unwrap();
        let node = NodeName::parse("a").unwrap();
        let held = DataDirectory::open(directory.path(), &node, Arrival { incarnation: 1, holder: "a test" }).unwrap();
        let opened = held.create_database(&DatabaseName::parse("shop").unwrap(), 7, Options::default()).unwrap();
        let mut writer = opened.writer;
        let body = JsonText::parse(r#"{"Id":"x"}"#).unwrap();
        for action in [Action::Put(body), Action::Delete] {
            let (collection, id) = (CollectionName::parse("tea").unwrap(), DocumentId::parse("x").unwrap());
            let change = Change { collection, id, action, expect: Expect::Any };
            let mut moment = Moment { now: Millis(clock::now_millis()), random: &mut entropy::random_u128 };
            writer.commit(&mut moment, vec![Request::Each(vec![change])]).unwrap();
        }
        let mut settings = Settings::default().node;
        settings.tombstone_retention_minutes = 0;
        // A stamp of this very millisecond is not old yet.
        let written = clock::now_millis();
        while clock::now_millis() <= written {
            std::hint::spin_loop();
        }
        let before = writer.state().position;
        Caretaker::new(Upkeep::new(&settings)).look(&mut writer, false).unwrap();
        assert_eq!(writer.state().position, before);
        Caretaker::new(Upkeep::new(&settings)).look(&mut writer, true).unwrap();
        assert!(writer.state().position > before, "a tombstone that nobody waits for goes");
    }
}
