//! How the command line speaks: one line a mistake, colour only where a person reads it.
//!
//! Results go to stdout and everything else to stderr. Knows nothing of what a command does.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};

/// Done.
pub const EXIT_OK: u8 = 0;
/// It ran and failed.
pub const EXIT_FAILED: u8 = 1;
/// Wrong usage or configuration; nothing was started.
pub const EXIT_USAGE: u8 = 2;
/// Ended by Ctrl-C.
pub const EXIT_INTERRUPTED: u8 = 130;

/// Why a command ends without having done its work: one line for each thing that is wrong.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    pub code: u8,
    pub lines: Vec<String>,
}

impl Failure {
    pub fn usage(line: impl Into<String>) -> Self {
        Self { code: EXIT_USAGE, lines: vec![line.into()] }
    }

    pub fn failed(line: impl Into<String>) -> Self {
        Self { code: EXIT_FAILED, lines: vec![line.into()] }
    }
}

/// Collects what is wrong with a command, so that a person can correct all of it in one go.
#[derive(Debug, Default)]
pub struct Mistakes {
    lines: Vec<String>,
}

impl Mistakes {
    pub fn add(&mut self, line: impl Into<String>) {
        let line = line.into();
        if !self.lines.contains(&line) {
            self.lines.push(line);
        }
    }

    /// Keeps the value, or notes what was wrong with it.
    pub fn keep<T>(&mut self, result: Result<T, String>) -> Option<T> {
        result.map_err(|line| self.add(line)).ok()
    }

    pub fn are_none(&self) -> bool {
        self.lines.is_empty()
    }

    pub fn into_failure(self) -> Failure {
        Failure { code: EXIT_USAGE, lines: self.lines }
    }
}

/// Says on stderr why the command failed. Nobody is left to tell when stderr is closed.
pub fn report(failure: &Failure) {
    for line in &failure.lines {
        say("error", "\x1b[1;31m", line);
    }
}

/// Something the user should know, which stops nothing.
pub fn warn(line: &str) {
    say("warning", "\x1b[1;33m", line);
}

/// A line about the command's progress, for people.
pub fn note(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn say(label: &str, colour: &str, line: &str) {
    let line = one_line(line);
    let _ = if stderr_is_coloured() {
        writeln!(std::io::stderr(), "{colour}{label}:\x1b[0m {line}")
    } else {
        writeln!(std::io::stderr(), "{label}: {line}")
    };
}

pub fn stderr_is_coloured() -> bool {
    !no_colour_is_asked() && std::io::stderr().is_terminal()
}

/// The user, or a terminal that knows none.
pub fn no_colour_is_asked() -> bool {
    let unset = |name: &str| std::env::var_os(name).is_none_or(|value| value.is_empty());
    !unset("NO_COLOR") || std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// Values typed by people or sent by programs are quoted in messages; their control characters
/// must neither break the line nor steer the terminal.
pub fn one_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_cannot_break_a_line_or_steer_the_terminal() {
        assert_eq!(one_line("a\nb\x1b[31m\tc"), "a\\nb\\u{1b}[31m\\tc");
        assert_eq!(one_line("zażółć"), "zażółć");
    }

    #[test]
    fn the_same_mistake_is_told_once() {
        let mut mistakes = Mistakes::default();
        mistakes.add("a");
        mistakes.add("a");
        mistakes.add("b");
        assert_eq!(mistakes.into_failure().lines, ["a", "b"]);
    }
}
