//! Who wrote what: origins, sequences, dots and vectors.
//!
//! An *origin* is one life of one node: its name, and an incarnation minted when its data directory was
//! created, restored or promoted. An origin numbers its operations 1, 2, 3, … without gaps; such a number
//! is a *sequence*, and origin plus sequence, a *dot*, names one operation for ever. Operations of one
//! origin are always learnt in order, so what a node knows is one number per origin: a *vector*.
//!
//! A *position* is something else: a place in one node's own log, where operations of all origins lie in
//! the order in which this node learnt them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::error::Refusal;
use crate::id::NodeName;

/// One life of one node. Written `name@incarnation`, the incarnation as 16 hexadecimal digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The name that the operator gave the node.
    pub node: NodeName,
    /// A random number minted before the first write of this life.
    pub incarnation: u64,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{:016x}", self.node, self.incarnation)
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Origin {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let refuse = || Refusal::invalid("invalid-origin", "An origin is written name@incarnation, 16 hex digits.");
        let (node, incarnation) = text.rsplit_once('@').ok_or_else(refuse)?;
        if incarnation.len() != 16 || !incarnation.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(refuse());
        }
        let incarnation = u64::from_str_radix(incarnation, 16).map_err(|_| refuse())?;
        Ok(Self { node: NodeName::parse(node)?, incarnation })
    }
}

/// The number of an operation at its origin, from 1, without gaps. Zero means none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The one after this.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A place in this node's log of one database, from 1. Zero means before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(pub u64);

impl Position {
    /// Before the first operation.
    pub const START: Self = Self(0);

    /// The one after this.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The name of one operation: who wrote it, and as which of theirs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dot {
    /// Who wrote it.
    pub origin: Origin,
    /// As which of theirs.
    pub sequence: Sequence,
}

impl fmt::Display for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.origin, self.sequence)
    }
}

impl fmt::Debug for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Dot {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let refuse =
            || Refusal::invalid("invalid-token", "Expected origin:sequence, as in node-1@0123456789abcdef:17.");
        let (origin, digits) = text.rsplit_once(':').ok_or_else(refuse)?;
        let is_number = digits.bytes().all(|b| b.is_ascii_digit());
        let sequence = digits.parse().ok().filter(|sequence| is_number && *sequence > 0).ok_or_else(refuse)?;
        Ok(Self { origin: origin.parse().map_err(|_| refuse())?, sequence: Sequence(sequence) })
    }
}

/// What somebody knows: per origin, the highest sequence, and with it every lower one.
#[derive(Clone, PartialEq, Eq, Default, PartialOrd, Ord, Hash)]
pub struct Vector(BTreeMap<Origin, Sequence>);

impl Vector {
    /// Knows nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The highest sequence known of an origin; zero when none is.
    pub fn get(&self, origin: &Origin) -> Sequence {
        self.0.get(origin).copied().unwrap_or_default()
    }

    /// Whether the operation with this dot is known.
    pub fn covers(&self, dot: &Dot) -> bool {
        self.get(&dot.origin) >= dot.sequence
    }

    /// Whether everything the other knows is known here.
    pub fn covers_all(&self, other: &Self) -> bool {
        other.0.iter().all(|(origin, sequence)| self.get(origin) >= *sequence)
    }

    /// Raises what is known of one origin; never lowers it.
    pub fn observe(&mut self, origin: &Origin, sequence: Sequence) {
        match self.0.get_mut(origin) {
            Some(known) => *known = (*known).max(sequence),
            None if sequence > Sequence(0) => {
                self.0.insert(origin.clone(), sequence);
            }
            None => {}
        }
    }

    /// Takes over everything the other knows.
    pub fn merge(&mut self, other: &Self) {
        for (origin, sequence) in &other.0 {
            self.observe(origin, *sequence);
        }
    }

    /// What both know: the greatest lower bound.
    #[must_use]
    pub fn meet(&self, other: &Self) -> Self {
        let both = |(origin, sequence): (&Origin, &Sequence)| {
            let lower = (*sequence).min(other.get(origin));
            (lower > Sequence(0)).then(|| (origin.clone(), lower))
        };
        Self(self.0.iter().filter_map(both).collect())
    }

    /// How many operations the other knows and this does not.
    pub fn missing_from(&self, other: &Self) -> u64 {
        other.0.iter().map(|(origin, sequence)| sequence.0.saturating_sub(self.get(origin).0)).sum()
    }

    /// Each origin with its highest known sequence, in the order of origins.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Origin, Sequence)> {
        self.0.iter().map(|(origin, sequence)| (origin, *sequence))
    }

    /// Number of origins.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(Origin, Sequence)> for Vector {
    fn from_iter<I: IntoIterator<Item = (Origin, Sequence)>>(entries: I) -> Self {
        let mut vector = Self::new();
        for (origin, sequence) in entries {
            vector.observe(&origin, sequence);
        }
        vector
    }
}

impl fmt::Debug for Vector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(&self.0).finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn origin(name: &str) -> Origin {
        Origin { node: NodeName::parse(name).unwrap(), incarnation: 7 }
    }

    fn vector(entries: &[(&str, u64)]) -> Vector {
        entries.iter().map(|(name, sequence)| (origin(name), Sequence(*sequence))).collect()
    }

    #[test]
    fn an_origin_survives_its_text_even_with_odd_names() {
        let odd = origin("a.b-c_d");
        assert_eq!(odd.to_string().parse::<Origin>().unwrap(), odd);
        assert!("a@12".parse::<Origin>().is_err());
        assert!("a".parse::<Origin>().is_err());
    }

    #[test]
    fn merge_is_the_least_upper_bound_and_meet_the_greatest_lower() {
        let (a, b) = (vector(&[("x", 3), ("y", 1)]), vector(&[("x", 2), ("z", 5)]));
        let mut joined = a.clone();
        joined.merge(&b);
        assert_eq!(joined, vector(&[("x", 3), ("y", 1), ("z", 5)]));
        assert_eq!(a.meet(&b), vector(&[("x", 2)]));
        assert!(joined.covers_all(&a) && joined.covers_all(&b));
        assert_eq!(a.missing_from(&b), 5);
    }
}
