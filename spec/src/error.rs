//! A mistake in a function.yaml: which field, what is wrong with it, what to write instead.

use std::fmt;

/// One mistake, or one warning. Its text form is one line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigError {
    /// The field, such as `spec.triggers.orders.attributes.brokers`; empty for the whole file.
    pub path: String,
    /// What is wrong with the value given.
    pub problem: String,
    /// What to write instead; empty where the problem says it.
    pub hint: String,
    /// Line of the file, from 1, where it is known.
    pub line: Option<u32>,
}

impl ConfigError {
    /// A mistake in the field `path`.
    #[must_use]
    pub fn new(
        path: impl Into<String>,
        problem: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self { path: path.into(), problem: problem.into(), hint: hint.into(), line: None }
    }

    pub(crate) fn at_line(mut self, line: u32) -> Self {
        self.line = Some(line);
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(to, "{}: ", self.path)?;
        }
        to.write_str(&self.problem)?;
        if !self.hint.is_empty() {
            write!(to, "; {}", self.hint)?;
        }
        match self.line {
            Some(line) => write!(to, " (line {line})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ConfigError {}

/// What was found while a file was read: mistakes, and what only deserves a warning.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub errors: Vec<ConfigError>,
    pub warnings: Vec<ConfigError>,
}
