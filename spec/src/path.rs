//! The way to a field, as errors name it: `spec.triggers.orders.paths[0]`.

use std::fmt;

/// Steps from the top of the file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Path(Vec<Step>);

#[derive(Clone, Debug)]
enum Step {
    Key(String),
    Index(usize),
}

impl Path {
    pub(crate) fn of(keys: &[&str]) -> Self {
        Self(keys.iter().map(|key| Step::Key((*key).to_string())).collect())
    }

    /// Runs `inner` one key further down.
    pub(crate) fn inside<T>(&mut self, key: &str, inner: impl FnOnce(&mut Self) -> T) -> T {
        self.0.push(Step::Key(key.to_string()));
        let result = inner(self);
        self.0.pop();
        result
    }

    /// Runs `inner` one list entry further down.
    pub(crate) fn inside_index<T>(
        &mut self,
        index: usize,
        inner: impl FnOnce(&mut Self) -> T,
    ) -> T {
        self.0.push(Step::Index(index));
        let result = inner(self);
        self.0.pop();
        result
    }

    pub(crate) fn push(&mut self, key: &str) {
        self.0.push(Step::Key(key.to_string()));
    }

    pub(crate) fn push_index(&mut self, index: usize) {
        self.0.push(Step::Index(index));
    }

    pub(crate) fn pop(&mut self) {
        self.0.pop();
    }

    pub(crate) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the keys are these; `*` stands for any one key.
    pub(crate) fn matches(&self, pattern: &[&str]) -> bool {
        self.0.len() == pattern.len()
            && self.0.iter().zip(pattern).all(|(step, wanted)| match step {
                Step::Key(key) => *wanted == "*" || key == wanted,
                Step::Index(_) => *wanted == "[]",
            })
    }
}

impl fmt::Display for Path {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(to, "[{index}]")?,
                Step::Key(key) if is_plain_key(key) && place == 0 => to.write_str(key)?,
                Step::Key(key) if is_plain_key(key) => write!(to, ".{key}")?,
                Step::Key(key) => write!(to, "[{key:?}]")?,
            }
        }
        Ok(())
    }
}

/// The path of `key` under `parent`, both as errors name them.
pub(crate) fn join(parent: &str, key: &str) -> String {
    if is_plain_key(key) { format!("{parent}.{key}") } else { format!("{parent}[{key:?}]") }
}

fn is_plain_key(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_'))
}
