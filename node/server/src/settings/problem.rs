//! What is wrong with the settings, all of it at once.
//!
//! A person who fixes one mistake should not have to start the node to learn of the next one.

use std::fmt;

use super::secret::HIDDEN;

/// Everything that is wrong with the settings; never empty.
#[derive(Debug, Clone, thiserror::Error)]
pub struct SettingsProblems {
    /// One entry per mistake, in the order of their discovery.
    pub problems: Vec<Problem>,
}

/// One mistake: where it is, where its value comes from, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key, such as `Node:NodeId`; empty when a whole file is at fault.
    pub key: String,
    /// The offending value as shown; secrets are already replaced.
    pub value: Option<String>,
    /// Where the value comes from, such as `appsettings.json` or `command line --urls`.
    pub source: String,
    /// What is wrong and what to write.
    pub message: String,
}

/// Longest value that is repeated in a problem.
const VALUE_CHARACTERS_MAX: usize = 80;

impl Problem {
    /// A problem with a whole file or source.
    pub(super) fn of_source(source: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: String::new(), value: None, source: source.into(), message: message.into() }
    }

    /// A problem with a key, without repeating its value.
    pub(super) fn of_key(key: impl Into<String>, source: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), value: None, source: source.into(), message: message.into() }
    }

    /// Adds the offending value, shortened.
    pub(super) fn with_value(mut self, value: &str) -> Self {
        let mut shown: String = value.chars().take(VALUE_CHARACTERS_MAX).collect();
        if shown.len() < value.len() {
            shown.push('…');
        }
        self.value = Some(shown);
        self
    }

    /// Adds a placeholder for a value that must not be shown.
    pub(super) fn with_hidden_value(mut self) -> Self {
        self.value = Some(HIDDEN.to_owned());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, value, source, message } = self;
        if key.is_empty() {
            return write!(formatter, "{source}: {message}");
        }
        match value {
            Some(value) => write!(formatter, "{key} = {value} ({source}): {message}"),
            None => write!(formatter, "{key} ({source}): {message}"),
        }
    }
}

impl fmt::Display for SettingsProblems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.len() {
            1 => writeln!(formatter, "1 problem with the settings:")?,
            count => writeln!(formatter, "{count} problems with the settings:")?,
        }
        for problem in &self.problems {
            writeln!(formatter, "  {problem}")?;
        }
        write!(formatter, "`holdfast config show --explain` lists every key with its default")
    }
}
