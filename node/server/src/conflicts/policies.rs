//! Which policy settles the conflicts of which collection.

use holdfast_core::conflict::policy::ConflictPolicy;
use holdfast_core::id::{CollectionName, DatabaseName};

use crate::settings::sections::{CollectionConflictPolicy, ConflictResolutionPolicy, NodeSettings};

/// The policies of this node: one for all, and those of collections.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    general: ConflictPolicy,
    of_collections: Vec<CollectionConflictPolicy>,
}

impl Policies {
    /// The policies as the settings have them.
    pub fn from_settings(settings: &NodeSettings) -> Self {
        Self {
            general: policy(settings.conflict_resolution_policy),
            of_collections: settings.collection_conflict_policies.clone(),
        }
    }

    /// The policy of a collection: its own in this database, else its own everywhere, else the node's.
    pub fn of(&self, database: &DatabaseName, collection: &CollectionName) -> ConflictPolicy {
        let of_collection = self.of_collections.iter().filter(|own| own.collection == collection.as_str());
        let here = |own: &&CollectionConflictPolicy| {
            own.database.as_ref().is_some_and(|name| name.trim().eq_ignore_ascii_case(database.as_str()))
        };
        let own = of_collection.clone().find(here).or_else(|| of_collection.clone().find(|own| own.database.is_none()));
        own.map_or(self.general, |own| policy(own.policy))
    }

    /// Whether every collection follows the last writer, so that there is nothing to do.
    pub fn are_all_last_writer(&self) -> bool {
        let of_collections = self.of_collections.iter().map(|own| policy(own.policy));
        of_collections.chain([self.general]).all(|policy| policy == ConflictPolicy::LastWriterWins)
    }
}

fn policy(word: ConflictResolutionPolicy) -> ConflictPolicy {
    match word {
        ConflictResolutionPolicy::LastWriterWins => ConflictPolicy::LastWriterWins,
        ConflictResolutionPolicy::MergeFields => ConflictPolicy::MergeFields,
        ConflictResolutionPolicy::ApplyIncoming => ConflictPolicy::ApplyIncoming,
        ConflictResolutionPolicy::KeepLocal => ConflictPolicy::KeepLocal,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_nearest_policy_counts() {
        let own = |collection: &str, database: Option<&str>, policy| CollectionConflictPolicy {
            collection: collection.to_owned(),
            database: database.map(str::to_owned),
            policy,
        };
        let policies = Policies {
            general: ConflictPolicy::KeepLocal,
            of_collections: vec![
                own("stock", None, ConflictResolutionPolicy::MergeFields),
                own("stock", Some("Shop"), ConflictResolutionPolicy::ApplyIncoming),
            ],
        };
        let of = |database: &str, collection: &str| {
            policies.of(&DatabaseName::parse(database).unwrap(), &CollectionName::parse(collection).unwrap())
        };
        assert_eq!(of("shop", "stock"), ConflictPolicy::ApplyIncoming);
        assert_eq!(of("other", "stock"), ConflictPolicy::MergeFields);
        assert_eq!(of("shop", "orders"), ConflictPolicy::KeepLocal);
        assert!(!policies.are_all_last_writer());
        assert!(Policies::default().are_all_last_writer());
    }
}
