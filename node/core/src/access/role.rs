//! The rights a key can carry, by the names they have in settings.
//!
//! | role              | lets its holder                                              |
//! |-------------------|--------------------------------------------------------------|
//! | `ADD_DB`          | bring a database into being by using it                      |
//! | `DELETE_DB`       | drop a database                                              |
//! | `READ_DOCUMENT`   | read documents, cache entries, changes and query results     |
//! | `WRITE_DOCUMENT`  | store documents that were not there                          |
//! | `UPDATE_DOCUMENT` | change documents that are there                              |
//! | `DELETE_DOCUMENT` | delete documents                                             |
//! | `MANAGE_INDEX`    | make and drop indexes                                        |
//!
//! No role implies another; only the root key holds them all without being told.

use std::fmt;
use std::str::FromStr;

/// One right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Create a database, on purpose or by writing to one that is not there yet.
    AddDb,
    /// Drop a database.
    DeleteDb,
    /// Read documents, by id, by page, by query or as changes.
    ReadDocument,
    /// Store documents that were not there.
    WriteDocument,
    /// Change documents that are there.
    UpdateDocument,
    /// Delete documents.
    DeleteDocument,
    /// Make and drop indexes.
    ManageIndex,
}

impl Role {
    /// Every role, in the order in which settings list them.
    pub const ALL: [Role; 7] = [
        Role::AddDb,
        Role::DeleteDb,
        Role::ReadDocument,
        Role::WriteDocument,
        Role::UpdateDocument,
        Role::DeleteDocument,
        Role::ManageIndex,
    ];

    /// Returns the name used in settings.
    pub const fn name(self) -> &'static str {
        match self {
            Role::AddDb => "ADD_DB",
            Role::DeleteDb => "DELETE_DB",
            Role::ReadDocument => "READ_DOCUMENT",
            Role::WriteDocument => "WRITE_DOCUMENT",
            Role::UpdateDocument => "UPDATE_DOCUMENT",
            Role::DeleteDocument => "DELETE_DOCUMENT",
            Role::ManageIndex => "MANAGE_INDEX",
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A role name that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a role; use ADD_DB, DELETE_DB, READ_DOCUMENT, WRITE_DOCUMENT, UPDATE_DOCUMENT, DELETE_DOCUMENT or \
     MANAGE_INDEX"
)]
pub struct UnknownRole(pub String);

impl FromStr for Role {
    type Err = UnknownRole;

    /// Accepts the settings name in any case, with surrounding blanks.
    fn from_str(text: &str) -> Result<Role, UnknownRole> {
        let wanted = text.trim();
        Role::ALL
            .into_iter()
            .find(|role| role.name().eq_ignore_ascii_case(wanted))
            .ok_or_else(|| UnknownRole(wanted.chars().take(64).collect()))
    }
}

/// A set of roles.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Roles(u16);

impl Roles {
    /// No right at all.
    pub const NONE: Roles = Roles(0);

    /// Returns the set of every role there is.
    pub fn all() -> Roles {
        Role::ALL.into_iter().collect()
    }

    /// Adds a role.
    #[must_use]
    pub const fn with(self, role: Role) -> Roles {
        Roles(self.0 | role.bit())
    }

    /// Says whether the role is in the set.
    pub const fn contains(self, role: Role) -> bool {
        self.0 & role.bit() != 0
    }

    /// Says whether the set is empty, which makes a key good for nothing.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Lists the roles in settings order.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.contains(*role))
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Roles {
        roles.into_iter().fold(Roles::NONE, Roles::with)
    }
}

impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn every_role_is_read_back_from_its_own_name_in_any_case() {
        for role in Role::ALL {
            assert_eq!(role.name().parse(), Ok(role));
            assert_eq!(format!(" {} ", role.name().to_lowercase()).parse(), Ok(role));
        }
    }

    #[test]
    fn an_unknown_role_is_refused_with_the_names_that_exist() {
        let error = "ADMIN".parse::<Role>().unwrap_err();
        assert!(error.to_string().contains("ADMIN"));
        assert!(error.to_string().contains("READ_DOCUMENT"));
    }

    #[test]
    fn a_set_holds_exactly_what_was_put_in() {
        let set: Roles = [Role::ReadDocument, Role::DeleteDb].into_iter().collect();
        for role in Role::ALL {
            assert_eq!(set.contains(role), matches!(role, Role::ReadDocument | Role::DeleteDb));
        }
        assert!(Roles::NONE.is_empty());
        assert_eq!(Roles::all().iter().count(), Role::ALL.len());
    }
}
