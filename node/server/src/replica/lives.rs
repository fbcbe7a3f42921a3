//! Which databases there are: each name counts how often a database of that name was dropped, and the greatest count holds.
//!
//! ```text
//!   here: shop, dropped 0 times      there: shop was dropped once      ─► dropped here too
//!   here: shop, dropped once         there: another shop, made since   ─► that one is made here
//!   here: shop, dropped twice        there: dropped once               ─► there it is dropped when this is heard
//! ```
//!
//! Both sides of a connection say it first, so a drop is not undone by whoever was away, in whichever direction the lead has
//! gone since. Counts are a group's: who joins takes them over.

use std::collections::BTreeMap;

use holdfast_core::id::{DatabaseName, NodeName};
use holdfast_core::replica::message::{DatabaseAt, Databases};
use holdfast_storage::error::StorageError;

use crate::databases::{Asker, Databases as Served, Unavailable};
use crate::replica::ReplicaGroup;
use crate::replica::session::SessionError;

impl ReplicaGroup {
    /// How many drops of databases this node knows of. None is ever forgotten.
    pub(super) fn drops(&self) -> u64 {
        self.databases.directory().all_lives().unwrap_or_default().values().fold(0, |all, one| all.saturating_add(*one))
    }

    /// Another node knows that databases of this name were dropped so often.
    pub(super) async fn learn_lives(
        &self,
        from: &NodeName,
        database: &DatabaseName,
        lives: u64,
    ) -> Result<(), SessionError> {
        let directory = self.databases.directory();
        if lives <= directory.lives(database)? {
            return Ok(());
        }
        self.forget_freshness(database);
        if self.databases.exists(database) {
            tracing::warn!(%database, %from, "dropped, as it was dropped there");
            match self.databases.drop_database(database, Asker::Node).await {
                Ok(()) | Err(Unavailable::NotFound(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        directory.set_lives(database, lives)?;
        Ok(())
    }

    /// The leader has this database: makes it here. Gives whether it is the leader's; not so where it was dropped since, of
    /// which the leader hears.
    pub(super) async fn make_as_leader(&self, leader: &NodeName, at: &DatabaseAt) -> Result<bool, SessionError> {
        let database = DatabaseName::parse(&at.name)?;
        self.learn_lives(leader, &database, at.lives).await?;
        if at.lives < self.databases.directory().lives(&database)? {
            return Ok(false);
        }
        self.databases.create(&database, Asker::Node).await?;
        Ok(true)
    }

    /// Takes over the counts of a group that this node joins; what it holds is of now, whatever was dropped there before.
    pub(super) fn take_lives(&self, lives: &BTreeMap<String, u64>) -> Result<(), SessionError> {
        let directory = self.databases.directory();
        for name in directory.all_lives()?.keys().filter(|name| !lives.contains_key(name.as_str())) {
            directory.set_lives(name, 0)?;
        }
        for (name, lives) in lives {
            directory.set_lives(&DatabaseName::parse(name)?, *lives)?;
        }
        Ok(())
    }
}

/// What is said of drops.
pub(super) fn told_lives(databases: &Served) -> Result<BTreeMap<String, u64>, StorageError> {
    let lives = databases.directory().all_lives()?;
    Ok(lives.into_iter().filter(|(_, lives)| *lives > 0).map(|(name, lives)| (name.to_string(), lives)).collect())
}

/// The databases that a follower is told of.
pub(super) fn announced(group: &ReplicaGroup) -> Result<Databases, StorageError> {
    let databases = group.databases();
    let mut all = Databases { dropped: told_lives(databases)?, ..Databases::default() };
    for listing in databases.list() {
        let Ok(open) = databases.get(&listing.name) else { continue };
        // One that is being opened again is told of when it is.
        let Ok(log_id) = open.log_id() else { continue };
        let newest = open.newest().borrow().0;
        let lives = databases.directory().lives(&listing.name)?;
        let (name, log_id) = (listing.name.to_string(), format!("{log_id:016x}"));
        let since = group.began(&listing.name).map(|since| since.0.min(newest));
        all.databases.push(DatabaseAt { name, log_id, newest, lives, since });
    }
    Ok(all)
}
