//! Epochs: one leadership after the other.

use std::fmt;

use crate::error::Refusal;
use crate::id::NodeName;

/// A leadership: its number, and whose it is. The greater one holds; of two with the same number, the one whose leader has
/// the greater name, so that two nodes that promoted themselves at once agree on who it was.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch {
    /// Counts up with every leadership; never 0.
    pub number: u64,
    /// Who leads.
    pub leader: NodeName,
}

impl Epoch {
    /// The epoch in which a node leads next, after all that it has seen.
    pub fn after<'a>(seen: impl IntoIterator<Item = &'a Self>, leader: NodeName) -> Self {
        let newest = seen.into_iter().map(|epoch| epoch.number).max().unwrap_or(0);
        Self { number: newest.saturating_add(1), leader }
    }

    /// Reads what [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let refuse = || Refusal::invalid("invalid-epoch", "An epoch is written as NUMBER@NODE, such as 7@till-1.");
        let (number, leader) = text.split_once('@').ok_or_else(refuse)?;
        let number: u64 = number.parse().map_err(|_| refuse())?;
        if number == 0 {
            return Err(refuse());
        }
        Ok(Self { number, leader: NodeName::parse(leader)? })
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.number, self.leader)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn epoch(text: &str) -> Epoch {
        Epoch::parse(text).unwrap()
    }

    #[test]
    fn the_greater_number_holds_and_then_the_greater_name() {
        assert!(epoch("2@a") > epoch("1@z"));
        assert!(epoch("2@b") > epoch("2@a"));
        assert_eq!(Epoch::after([&epoch("3@z"), &epoch("7@a")], NodeName::parse("m").unwrap()), epoch("8@m"));
        assert_eq!(Epoch::after([], NodeName::parse("m").unwrap()), epoch("1@m"));
    }

    #[test]
    fn what_is_no_epoch_is_refused() {
        for text in ["", "7", "@a", "0@a", "x@a", "7@", "18446744073709551616@a", "-1@a"] {
            assert!(Epoch::parse(text).is_err(), "{text}");
        }
        assert_eq!(epoch("7@till-1").to_string(), "7@till-1");
    }
}
