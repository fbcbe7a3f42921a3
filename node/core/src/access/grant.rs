//! What the holder of one key may do, and where.

use std::collections::BTreeSet;

use crate::access::api_key::KeyDigest;
use crate::access::role::{Role, Roles};
use crate::id::DatabaseName;

/// The databases a key reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Every database, also those that do not exist yet.
    Every,
    /// These.
    Named(BTreeSet<DatabaseName>),
}

impl Scope {
    /// Says whether a database is within reach.
    pub fn reaches(&self, database: &DatabaseName) -> bool {
        match self {
            Scope::Every => true,
            Scope::Named(names) => names.contains(database),
        }
    }
}

/// How often one key may be used, where that differs from the rule for all keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyRate {
    /// Requests a second in the long run; at least one.
    pub requests_per_second: Option<u32>,
    /// Requests that may come at once after a quiet time; at least one.
    pub burst: Option<u32>,
}

/// The rights that come with one key.
#[derive(Debug, Clone)]
pub struct Grant {
    pub(crate) name: String,
    pub(crate) root: bool,
    pub(crate) scope: Scope,
    pub(crate) roles: Roles,
    pub(crate) rate: KeyRate,
    pub(crate) guessable: bool,
    pub(crate) place: usize,
    pub(crate) digest: KeyDigest,
}

impl Grant {
    /// Answers whether this key may use a right on a database.
    pub fn may(&self, role: Role, database: &DatabaseName) -> Decision {
        self.may_any(Roles::NONE.with(role), database)
    }

    /// Answers whether this key holds at least one of the roles on a database.
    pub fn may_any(&self, roles: Roles, database: &DatabaseName) -> Decision {
        if self.root {
            return Decision::Allow;
        }
        if !self.scope.reaches(database) {
            return Decision::Deny(Denial::OutOfScope { database: database.clone() });
        }
        if roles.iter().any(|role| self.roles.contains(role)) {
            return Decision::Allow;
        }
        Decision::Deny(Denial::RoleMissing { roles, database: database.clone() })
    }

    /// Says whether the key carries a role, wherever that may be.
    pub fn holds(&self, role: Role) -> bool {
        self.root || self.roles.contains(role)
    }

    /// Says whether a database is within this key's reach.
    pub fn reaches(&self, database: &DatabaseName) -> bool {
        self.root || self.scope.reaches(database)
    }

    /// Returns the name that settings give this key, for logs and lists.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Says whether this is the root key, which may do everything.
    pub const fn is_root(&self) -> bool {
        self.root
    }

    /// Returns the roles of this key.
    pub const fn roles(&self) -> Roles {
        self.roles
    }

    /// Returns the databases that this key reaches.
    pub const fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Returns what of the rate holds for this key alone.
    pub const fn rate(&self) -> KeyRate {
        self.rate
    }

    /// Says whether the key is so short that trying could find it.
    pub const fn is_guessable(&self) -> bool {
        self.guessable
    }

    /// Returns the digest of the key that this grant stands for.
    pub const fn digest(&self) -> &KeyDigest {
        &self.digest
    }

    /// Returns the place of this grant in its ring: 0 for the root key, then in the order of settings.
    pub const fn place(&self) -> usize {
        self.place
    }
}

/// The answer to "may it?".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Yes.
    Allow,
    /// No, and why.
    Deny(Denial),
}

impl Decision {
    /// Says whether the answer is yes.
    pub const fn is_allowed(&self) -> bool {
        matches!(self, Decision::Allow)
    }

    /// Turns the answer into a result, for `?`.
    pub fn into_result(self) -> Result<(), Denial> {
        match self {
            Decision::Allow => Ok(()),
            Decision::Deny(denial) => Err(denial),
        }
    }
}

/// Why a known key may not do what it asked for. `Display` gives the sentence for the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// The key was not made for this database.
    #[error("ApiKey does not have access to database '{database}'.")]
    OutOfScope {
        /// The database.
        database: DatabaseName,
    },
    /// The key reaches the database and lacks the right.
    #[error("ApiKey is not allowed to {}.", action(*roles, database))]
    RoleMissing {
        /// The roles any of which would have done.
        roles: Roles,
        /// The database.
        database: DatabaseName,
    },
}

impl Denial {
    /// Says what the caller can do about it.
    pub fn remedy(&self) -> String {
        match self {
            Denial::OutOfScope { database } => format!(
                "Use a key whose Databases include '{database}' or '*', or ask the operator to add the database to this key."
            ),
            Denial::RoleMissing { roles, database } => {
                let names: Vec<&str> = roles.iter().map(Role::name).collect();
                format!(
                    "Use a key that holds {} for database '{database}', or ask the operator to grant it to this key.",
                    names.join(" or ")
                )
            }
        }
    }
}

fn action(roles: Roles, database: &DatabaseName) -> String {
    match roles.iter().next() {
        Some(Role::AddDb) => format!("create database '{database}'"),
        Some(Role::DeleteDb) => format!("delete database '{database}'"),
        Some(Role::ReadDocument) => "read documents".to_owned(),
        Some(Role::WriteDocument) => "write documents".to_owned(),
        Some(Role::UpdateDocument) => "update documents".to_owned(),
        Some(Role::DeleteDocument) => "delete documents".to_owned(),
        Some(Role::ManageIndex) => "make or drop indexes".to_owned(),
        None => "do this".to_owned(),
    }
}
