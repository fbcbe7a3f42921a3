//! When a world has come to rest, no node's policy has anything left to say of any conflict.

use crate::checkers::Ending;

/// Reports a conflict that a policy would settle, and has not.
pub fn check(end: &Ending) -> Result<(), String> {
    end.unsettled.first().map_or(Ok(()), |unsettled| Err(unsettled.clone()))
}
