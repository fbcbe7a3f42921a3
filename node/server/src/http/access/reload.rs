//! From settings to keys, at the start and whenever the settings change.
//!
//! New keys are built as a whole before any of them holds; settings with a mistake change nothing.

use holdfast_core::access::grant::KeyRate;
use holdfast_core::access::key_ring::{KeyRing, KeySpec};
use holdfast_core::access::replication_key::ReplicationKey;
use holdfast_core::access::role::{Role, Roles};

use crate::http::access::AccessControl;
use crate::http::rate_limit::RateLimits;
use crate::settings::sections::{ApiKeySettings, AuthSettings, RateLimitSettings, RoleSettings};
use crate::settings::{Problem, Settings, SettingsProblems};

const REPLICATION_API_KEY: &str = "Node:ReplicationApiKey";

impl AccessControl {
    /// Starts with the keys that the settings name.
    pub fn from_settings(settings: &Settings) -> Result<AccessControl, SettingsProblems> {
        let (ring, replication) = keys(settings)?;
        Ok(AccessControl::new(ring, replication, limits(settings.rate_limit)))
    }

    /// Replaces all keys by those that the settings name; with a mistake in them, the old ones go on.
    pub fn reload_from(&self, settings: &Settings) -> Result<(), SettingsProblems> {
        let (ring, replication) = keys(settings)?;
        self.reload(ring, replication, limits(settings.rate_limit));
        Ok(())
    }
}

/// Builds the ring of client keys, or lists everything that is wrong with them.
pub fn build_key_ring(auth: &AuthSettings) -> Result<KeyRing, Vec<Problem>> {
    let specs: Vec<KeySpec> = auth.api_keys.iter().map(spec).collect();
    KeyRing::build(auth.root_api_key.expose(), &specs)
        .map_err(|problems| problems.into_iter().map(|found| problem(found.setting, found.detail)).collect())
}

fn keys(settings: &Settings) -> Result<(KeyRing, ReplicationKey), SettingsProblems> {
    let ring = build_key_ring(&settings.auth);
    let replication = ReplicationKey::parse(settings.node.replication_api_key.expose())
        .map_err(|unusable| problem(REPLICATION_API_KEY.to_owned(), unusable.to_string()));
    match (ring, replication) {
        (Ok(ring), Ok(replication)) => Ok((ring, replication)),
        (ring, replication) => {
            let mut problems = ring.err().unwrap_or_default();
            problems.extend(replication.err());
            Err(SettingsProblems { problems })
        }
    }
}

fn spec(key: &ApiKeySettings) -> KeySpec {
    KeySpec {
        name: key.name.clone(),
        key: key.key.expose().to_owned(),
        databases: key.databases.clone(),
        roles: roles(key.roles),
        rate: KeyRate { requests_per_second: key.rate_limit.requests_per_second, burst: key.rate_limit.burst },
    }
}

fn roles(settings: RoleSettings) -> Roles {
    let switches = [
        (Role::AddDb, settings.add_db),
        (Role::DeleteDb, settings.delete_db),
        (Role::ReadDocument, settings.read_document),
        (Role::WriteDocument, settings.write_document),
        (Role::UpdateDocument, settings.update_document),
        (Role::DeleteDocument, settings.delete_document),
        (Role::ManageIndex, settings.manage_index),
    ];
    switches.into_iter().filter_map(|(role, is_on)| is_on.then_some(role)).collect()
}

fn limits(settings: RateLimitSettings) -> RateLimits {
    RateLimits { enabled: settings.enabled, requests_per_second: settings.requests_per_second, burst: settings.burst }
}

fn problem(key: String, message: String) -> Problem {
    Problem { key, value: None, source: "settings".to_owned(), message }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use holdfast_core::id::DatabaseName;

    use crate::settings::secret::Secret;
    use crate::settings::sections::RateLimitOverride;

    fn key(text: &str, roles: RoleSettings) -> ApiKeySettings {
        ApiKeySettings {
            name: "till".to_owned(),
            key: Secret::new(text),
            databases: vec!["shop".to_owned()],
            roles,
            rate_limit: RateLimitOverride::default(),
        }
    }

    fn auth(key: ApiKeySettings) -> AuthSettings {
        AuthSettings { root_api_key: Secret::new("root"), api_keys: vec![key], allow_insecure_defaults: true }
    }

    #[test]
    fn settings_become_keys_with_exactly_their_roles() {
        let chosen = RoleSettings { read_document: true, delete_db: true, ..RoleSettings::default() };
        let ring = build_key_ring(&auth(key("till-key", chosen))).unwrap();
        let grant = ring.authenticate("till-key").unwrap();
        let shop = DatabaseName::parse("shop").unwrap();
        for role in Role::ALL {
            let wanted = matches!(role, Role::ReadDocument | Role::DeleteDb);
            assert_eq!(grant.may(role, &shop).is_allowed(), wanted, "{role}");
        }
    }

    #[test]
    fn a_mistake_is_reported_under_its_setting_and_without_the_key() {
        let problems = build_key_ring(&auth(key("sha256:short", RoleSettings::default()))).unwrap_err();
        let settings: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(settings, ["Auth:ApiKeys:0:Roles", "Auth:ApiKeys:0:Key"]);
        assert!(!format!("{problems:?}").contains("short"));
    }
}
