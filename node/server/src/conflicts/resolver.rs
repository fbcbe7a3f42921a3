//! The task that settles conflicts as this node's policies say.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use holdfast_core::conflict::policy::{Answer as PolicyAnswer, ConflictPolicy};
use holdfast_core::conflict::settle::Settlement;
use holdfast_core::conflict::turn::wait_before_turn;
use holdfast_core::conflict::{ConflictId, sides};
use holdfast_core::id::{CollectionName, DatabaseName, DocumentId, NodeName};
use holdfast_core::limits::CONFLICTS_RESOLVED_MAX;
use holdfast_core::vector::Position;
use holdfast_storage::error::StorageError;
use holdfast_storage::request::{Action, Answer, Change, Expect, Request};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::policies::Policies;
use crate::databases::{Databases, OpenDatabase};
use crate::{clock, entropy};

/// Between two looks at what has changed, so that a busy database is not looked at after every commit.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a conflict waits again that could not be written, for a full queue or disk.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// Conflicts that wait for their turn at once; further ones are looked at when there is room.
const WAITING_MAX: usize = CONFLICTS_RESOLVED_MAX;
/// Conflicts that are settled in one request to the writer.
const SETTLED_AT_ONCE_MAX: usize = 128;

/// A conflict that waits for this node's turn.
#[derive(Debug, Clone)]
struct Waiting {
    database: DatabaseName,
    collection: CollectionName,
    id: DocumentId,
    conflict: ConflictId,
}

/// Settles conflicts until it is stopped.
#[derive(Debug)]
pub struct Resolver {
    databases: Arc<Databases>,
    policies: Policies,
    here: NodeName,
    /// Up to where each database has been looked through.
    looked: BTreeMap<DatabaseName, Position>,
    waiting: BTreeMap<(Instant, u64), Waiting>,
    arrivals: u64,
}

impl Resolver {
    /// Starts settling, unless there is nothing to settle.
    pub fn start(databases: Arc<Databases>, policies: Policies, stop: CancellationToken) -> Option<JoinHandle<()>> {
        if policies.are_all_last_writer() {
            return None;
        }
        let here = databases.origin().node.clone();
        let resolver =
            Self { databases, policies, here, looked: BTreeMap::new(), waiting: BTreeMap::new(), arrivals: 0 };
        Some(tokio::spawn(resolver.run(stop)))
    }

    async fn run(mut self, stop: CancellationToken) {
        let mut activity = self.databases.activity();
        let databases = Arc::clone(&self.databases);
        loop {
            // What came up while the gate is closed is found when it opens: what was looked through is remembered.
            tokio::select! {
                () = stop.cancelled() => return,
                () = databases.gate().opened() => {}
            }
            // A look reads from the disk: it is lent to a thread that may wait.
            let looked = tokio::task::spawn_blocking(move || {
                self.look();
                let due = self.take_due();
                (self, due)
            });
            let Ok((back, due)) = looked.await else {
                tracing::error!("conflicts are no longer settled by policy: a look at them broke off");
                return;
            };
            self = back;
            for (database, changes) in due {
                self.settle(&database, changes).await;
            }
            let wait = self.waiting.keys().next().map(|(due, _)| due.saturating_duration_since(clock::monotonic()));
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait.unwrap_or(Duration::MAX)) => {}
                _ = activity.changed() => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Finds the conflicts that came up since the last look.
    fn look(&mut self) {
        for listing in self.databases.list() {
            let Ok(database) = self.databases.get(&listing.name) else { continue };
            if let Err(error) = self.look_at(&database) {
                tracing::warn!(database = %listing.name, %error, "conflicts could not be looked at");
            }
        }
    }

    fn look_at(&mut self, database: &OpenDatabase) -> Result<(), StorageError> {
        let view = database.view()?;
        let newest = view.state()?.position;
        let name = database.name();
        // A database that was dropped and created again begins anew.
        let mut looked = self.looked.get(name).copied().filter(|looked| *looked <= newest).unwrap_or(Position::START);
        while looked < newest && self.waiting.len() < WAITING_MAX {
            let room = WAITING_MAX - self.waiting.len();
            let found = view.conflicts_since(looked, room.min(SETTLED_AT_ONCE_MAX))?;
            let Some((last, _)) = found.last() else {
                looked = newest;
                break;
            };
            looked = *last;
            for (_, conflict) in found {
                if self.policies.of(name, &conflict.collection) == ConflictPolicy::LastWriterWins {
                    continue;
                }
                let wait = wait_before_turn(&conflict.versions, &self.here, entropy::random_u64());
                let waiting = Waiting {
                    database: name.clone(),
                    collection: conflict.collection,
                    id: conflict.document,
                    conflict: conflict.id,
                };
                self.wait(waiting, Duration::from_millis(wait.0));
            }
        }
        self.looked.insert(name.clone(), looked);
        Ok(())
    }

    fn wait(&mut self, waiting: Waiting, time: Duration) {
        self.arrivals += 1;
        self.waiting.insert((clock::monotonic() + time, self.arrivals), waiting);
    }

    /// Judges what is due, and gives what is to be written in each database.
    fn take_due(&mut self) -> BTreeMap<DatabaseName, Vec<(Waiting, Change)>> {
        let now = clock::monotonic();
        let mut due: BTreeMap<DatabaseName, Vec<(Waiting, Change)>> = BTreeMap::new();
        for _ in 0..SETTLED_AT_ONCE_MAX {
            let Some(entry) = self.waiting.first_entry().filter(|entry| entry.key().0 <= now) else { break };
            let waiting = entry.remove();
            match self.judge(&waiting) {
                Ok(Some(change)) => due.entry(waiting.database.clone()).or_default().push((waiting, change)),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(database = %waiting.database, collection = %waiting.collection, %error, "a conflict could not be judged");
                }
            }
        }
        due
    }

    /// What the policy writes; `None` when the conflict is no longer there, or stands as it is.
    fn judge(&self, waiting: &Waiting) -> Result<Option<Change>, StorageError> {
        let Ok(database) = self.databases.get(&waiting.database) else { return Ok(None) };
        let Some((state, position)) = database.view()?.state_of(&waiting.collection, &waiting.id)? else {
            return Ok(None);
        };
        // A conflict with other sides waits under its own name.
        if ConflictId::of(&state) != Some(waiting.conflict) {
            return Ok(None);
        }
        let policy = self.policies.of(&waiting.database, &waiting.collection);
        let ancestor = || database.log()?.ancestor(sides(&state), position);
        match policy.answer(&state, &waiting.id, &self.here, ancestor)? {
            PolicyAnswer::Stands => Ok(None),
            PolicyAnswer::None(reason) => {
                tracing::info!(
                    database = %waiting.database, collection = %waiting.collection, conflict = %waiting.conflict,
                    policy = policy.name(), reason, "a conflict stays open"
                );
                Ok(None)
            }
            PolicyAnswer::Write(body) => Ok(Some(Change {
                collection: waiting.collection.clone(),
                id: waiting.id.clone(),
                action: Action::Resolve(body.map_or(Settlement::Delete, Settlement::Body)),
                expect: Expect::Conflict(waiting.conflict),
            })),
        }
    }

    async fn settle(&mut self, name: &DatabaseName, due: Vec<(Waiting, Change)>) {
        let Ok(database) = self.databases.get(name) else { return };
        let (waiting, changes): (Vec<_>, Vec<_>) = due.into_iter().unzip();
        match database.submit(Request::Each(changes)).await {
            Ok(Answer::Each(results)) => {
                // A refused one was settled or has changed meanwhile: then it waits under another name.
                let settled = results.iter().filter(|result| result.is_ok()).count() as u64;
                database.counts().conflicts_settled.fetch_add(settled, Ordering::Relaxed);
                tracing::debug!(database = %name, settled, "conflicts were settled by policy");
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(database = %name, %error, "conflicts could not be settled yet");
                for waiting in waiting {
                    self.wait(waiting, TRY_AGAIN);
                }
            }
        }
    }
}
