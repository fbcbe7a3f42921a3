//! Every key that this node knows, and the one question asked of them.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use subtle::{Choice, ConditionallySelectable};

use crate::access::api_key::{KeyDigest, MAX_KEY_BYTES, StoredKey};
use crate::access::grant::{Grant, KeyRate, Scope};
use crate::access::role::Roles;
use crate::id::DatabaseName;

/// The most keys one node keeps; every request is compared with all of them.
pub const MAX_KEYS: usize = 1_000;

/// The name under which the root key's holder appears.
pub const ROOT_NAME: &str = "root";

/// One key as settings describe it.
#[derive(Clone, Default)]
pub struct KeySpec {
    /// What people call the key; appears in logs.
    pub name: String,
    /// The key, plain or as `sha256:<64 hex>`.
    pub key: String,
    /// The databases it reaches, as people type them; `*` stands for every one.
    pub databases: Vec<String>,
    /// What it may do there.
    pub roles: Roles,
    /// How often it may be used, where that differs from the rule for all keys.
    pub rate: KeyRate,
}

impl fmt::Debug for KeySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySpec")
            .field("name", &self.name)
            .field("key", &"(hidden)")
            .field("databases", &self.databases)
            .field("roles", &self.roles)
            .field("rate", &self.rate)
            .finish()
    }
}

/// Something in the settings that keeps the keys from being used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting} {detail}")]
pub struct KeyProblem {
    /// The setting at fault, as `Auth:ApiKeys:0:Key`.
    pub setting: String,
    /// What is wrong with it and what to do; continues a sentence that starts with the setting.
    pub detail: String,
}

/// The configured keys, as grants that hold their digests.
#[derive(Debug)]
pub struct KeyRing {
    grants: Vec<Arc<Grant>>,
}

impl KeyRing {
    /// Builds the ring from the root key and the list of keys, or reports everything that is wrong with them.
    pub fn build(root_key: &str, keys: &[KeySpec]) -> Result<KeyRing, Vec<KeyProblem>> {
        let mut builder = Builder::default();
        if keys.len() > MAX_KEYS {
            builder.report(
                "Auth:ApiKeys",
                format!("lists {} keys and at most {MAX_KEYS} can be used; remove some", keys.len()),
            );
        }
        builder.add_root(root_key);
        for (index, spec) in keys.iter().take(MAX_KEYS).enumerate() {
            builder.add(index, spec);
        }
        builder.finish()
    }

    /// Finds the grant of a presented key.
    ///
    /// Costs one SHA-256 and one constant-time comparison with each configured key, and allocates nothing.
    pub fn authenticate(&self, presented: &str) -> Option<&Arc<Grant>> {
        if presented.len() > MAX_KEY_BYTES {
            return None;
        }
        self.find(&KeyDigest::of(presented))
    }

    /// Finds the grant of a key by its digest, for those who hold a grant of an older ring.
    pub fn find(&self, digest: &KeyDigest) -> Option<&Arc<Grant>> {
        let mut found = Choice::from(0);
        let mut place = 0_u32;
        // No early exit: the time taken tells nothing about which key matched, if any.
        for (candidate, known) in (0_u32..).zip(&self.grants) {
            let same = known.digest.same_as(digest);
            place.conditional_assign(&candidate, same);
            found |= same;
        }
        if bool::from(found) { self.grants.get(usize::try_from(place).ok()?) } else { None }
    }

    /// Lists the grants, the root key's first.
    pub fn grants(&self) -> &[Arc<Grant>] {
        &self.grants
    }
}

#[derive(Default)]
struct Builder {
    grants: Vec<Arc<Grant>>,
    settings: Vec<String>,
    problems: Vec<KeyProblem>,
}

impl Builder {
    fn report(&mut self, setting: impl Into<String>, detail: impl Into<String>) {
        self.problems.push(KeyProblem { setting: setting.into(), detail: detail.into() });
    }

    fn add_root(&mut self, key: &str) {
        let grant = Grant {
            name: ROOT_NAME.to_owned(),
            root: true,
            scope: Scope::Every,
            roles: Roles::all(),
            rate: KeyRate::default(),
            guessable: false,
            place: 0,
            digest: KeyDigest::of(""),
        };
        self.admit("Auth:RootApiKey".to_owned(), key, grant);
    }

    fn add(&mut self, index: usize, spec: &KeySpec) {
        let setting = format!("Auth:ApiKeys:{index}");
        let scope = self.scope(&setting, &spec.databases);
        if spec.roles.is_empty() {
            self.report(format!("{setting}:Roles"), "grants nothing; set at least one role to true or remove the key");
        }
        for (field, value) in [("RequestsPerSecond", spec.rate.requests_per_second), ("Burst", spec.rate.burst)] {
            if value == Some(0) {
                self.report(format!("{setting}:RateLimit:{field}"), "must be at least 1");
            }
        }
        let name = match spec.name.trim() {
            "" => format!("key-{index}"),
            name => name.to_owned(),
        };
        let grant = Grant {
            name,
            root: false,
            scope,
            roles: spec.roles,
            rate: spec.rate,
            guessable: false,
            place: 0,
            digest: KeyDigest::of(""),
        };
        self.admit(format!("{setting}:Key"), &spec.key, grant);
    }

    fn scope(&mut self, setting: &str, databases: &[String]) -> Scope {
        if databases.is_empty() {
            self.report(format!("{setting}:Databases"), "is empty; list database names, or '*' for all of them");
        }
        let mut every = false;
        let mut names = BTreeSet::new();
        for (index, raw) in databases.iter().enumerate() {
            if raw.trim() == "*" {
                every = true;
                continue;
            }
            match DatabaseName::parse(raw) {
                Ok(name) => {
                    names.insert(name);
                }
                Err(_) => self.report(
                    format!("{setting}:Databases:{index}"),
                    "is no database name; use '*', or up to 63 lowercase letters, digits, '-' and '_'",
                ),
            }
        }
        if every { Scope::Every } else { Scope::Named(names) }
    }

    fn admit(&mut self, setting: String, key: &str, grant: Grant) {
        let stored = match StoredKey::parse(key) {
            Ok(stored) => stored,
            Err(unusable) => return self.report(setting, unusable.to_string()),
        };
        let twin = self.grants.iter().position(|known| known.digest.same_as(stored.digest()).into());
        if let Some(other) = twin.and_then(|place| self.settings.get(place)).cloned() {
            return self.report(setting, format!("is the same key as {other}; give each its own"));
        }
        self.grants.push(Arc::new(Grant {
            guessable: stored.is_guessable(),
            place: self.grants.len(),
            digest: *stored.digest(),
            ..grant
        }));
        self.settings.push(setting);
    }

    fn finish(self) -> Result<KeyRing, Vec<KeyProblem>> {
        if self.problems.is_empty() { Ok(KeyRing { grants: self.grants }) } else { Err(self.problems) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::access::grant::{Decision, Denial};
    use crate::access::role::Role;

    fn key(name: &str, key: &str, databases: &[&str], roles: &[Role]) -> KeySpec {
        KeySpec {
            name: name.to_owned(),
            key: key.to_owned(),
            databases: databases.iter().map(|&name| name.to_owned()).collect(),
            roles: roles.iter().copied().collect(),
            rate: KeyRate::default(),
        }
    }

    fn named(name: &str) -> DatabaseName {
        DatabaseName::parse(name).unwrap()
    }

    fn ring() -> KeyRing {
        KeyRing::build(
            "root",
            &[
                key("till", "till-key", &["Shop"], &[Role::ReadDocument]),
                key("clerk", &KeyDigest::of("clerk-key").to_text(), &["*"], &[Role::AddDb]),
            ],
        )
        .unwrap()
    }

    #[test]
    fn the_root_key_is_root_and_holds_every_role_everywhere() {
        let ring = ring();
        let grant = ring.authenticate("root").unwrap();
        assert!(grant.is_root());
        for role in Role::ALL {
            assert!(grant.may(role, &named("anything")).is_allowed());
        }
    }

    #[test]
    fn an_unknown_key_an_empty_key_and_a_prefix_of_a_key_find_nothing() {
        let ring = ring();
        let long = "x".repeat(10_000);
        for presented in ["", " ", "roo", "root2", "ROOT", "till", long.as_str()] {
            assert!(ring.authenticate(presented).is_none(), "{presented:?}");
        }
    }

    #[test]
    fn blanks_around_a_presented_key_do_not_count() {
        assert!(ring().authenticate("  root ").is_some());
    }

    #[test]
    fn a_key_used_outside_its_databases_is_told_so() {
        let ring = ring();
        let denied = ring.authenticate("till-key").unwrap().may(Role::ReadDocument, &named("books"));
        let Decision::Deny(denial) = denied else { panic!("allowed") };
        assert_eq!(denial.to_string(), "ApiKey does not have access to database 'books'.");
        assert!(denial.remedy().contains("'books'"));
    }

    #[test]
    fn a_scoped_key_holds_exactly_the_configured_roles() {
        let ring = ring();
        let grant = ring.authenticate("till-key").unwrap();
        for role in Role::ALL {
            let allowed = grant.may(role, &named("shop")).is_allowed();
            assert_eq!(allowed, role == Role::ReadDocument, "{role}");
            assert_eq!(grant.holds(role), role == Role::ReadDocument, "{role}");
        }
        assert_eq!(grant.name(), "till");
    }

    #[test]
    fn a_key_without_add_db_may_not_create_and_one_for_all_databases_with_it_may() {
        let ring = ring();
        let denied = ring.authenticate("till-key").unwrap().may(Role::AddDb, &named("shop"));
        assert_eq!(denied.into_result().unwrap_err().to_string(), "ApiKey is not allowed to create database 'shop'.");
        assert!(ring.authenticate("clerk-key").unwrap().may(Role::AddDb, &named("new")).is_allowed());
    }

    #[test]
    fn any_of_several_roles_is_enough_where_the_question_says_so() {
        let ring = ring();
        let grant = ring.authenticate("till-key").unwrap();
        let roles = Roles::NONE.with(Role::WriteDocument).with(Role::UpdateDocument);
        assert_eq!(
            grant.may_any(roles, &named("shop")),
            Decision::Deny(Denial::RoleMissing { roles, database: named("shop") })
        );
        assert!(grant.may_any(roles.with(Role::ReadDocument), &named("shop")).is_allowed());
    }

    #[test]
    fn every_problem_is_reported_at_once_and_none_repeats_a_key() {
        let problems = KeyRing::build(
            " ",
            &[
                key("a", "secret-one", &[], &[]),
                key("b", "secret-one", &["no good"], &[Role::AddDb]),
                key("c", "sha256:secret-two", &["*"], &[Role::AddDb]),
            ],
        )
        .unwrap_err();
        let settings: Vec<&str> = problems.iter().map(|problem| problem.setting.as_str()).collect();
        assert_eq!(
            settings,
            [
                "Auth:RootApiKey",
                "Auth:ApiKeys:0:Databases",
                "Auth:ApiKeys:0:Roles",
                "Auth:ApiKeys:1:Databases:0",
                "Auth:ApiKeys:1:Key",
                "Auth:ApiKeys:2:Key",
            ]
        );
        assert!(!format!("{problems:?}").contains("secret"));
    }

    #[test]
    fn debug_of_rings_and_specs_shows_no_key() {
        let spec = key("till", "till-key", &["shop"], &[Role::ReadDocument]);
        let shown = format!("{spec:?} {:?}", ring());
        assert!(shown.contains("till") && !shown.contains("till-key") && !shown.contains("sha256"));
    }
}
