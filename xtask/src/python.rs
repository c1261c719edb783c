//! Finds the CPython interpreters the tests run with.
//!
//! A name on PATH may be a launcher script, so each candidate is asked for `sys.executable` and
//! only that is used afterwards.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Oldest version the extension's stable ABI serves.
pub const OLDEST: (u32, u32) = (3, 11);
/// Names tried on PATH, newest first.
const NAMES: [&str; 6] =
    ["python3.14", "python3.13", "python3.12", "python3.11", "python3", "/usr/bin/python3"];
/// Asks an interpreter what it is. One line: version, implementation, GIL, executable.
const QUESTION: &str = "import sys, sysconfig; v = sys.version_info; \
    print(v[0], v[1], v[2], sys.implementation.name, \
    int(bool(sysconfig.get_config_var('Py_GIL_DISABLED'))), sys.executable)";

/// A CPython that can load the extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    pub executable: PathBuf,
    pub major: u32,
    pub minor: u32,
    pub patch: u32,
}

impl Interpreter {
    pub fn version(&self) -> String {
        format!("{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// The interpreter the tests use: `NUCLIO_TEST_PYTHON`, else the newest name on PATH.
///
/// Ask once and pass it on: a launcher script may take a fifth of a second for each name.
pub fn chosen() -> Option<Interpreter> {
    candidates().iter().find_map(|candidate| ask(candidate))
}

/// One interpreter of each minor version found, the chosen one first.
pub fn each_version() -> Vec<Interpreter> {
    let mut found: Vec<Interpreter> = Vec::new();
    for interpreter in candidates().iter().chain(&pyenv_versions()).filter_map(|path| ask(path)) {
        if !found.iter().any(|one| (one.major, one.minor) == (interpreter.major, interpreter.minor))
        {
            found.push(interpreter);
        }
    }
    found
}

fn candidates() -> Vec<PathBuf> {
    let asked = std::env::var_os("NUCLIO_TEST_PYTHON").map(PathBuf::from);
    asked.into_iter().chain(NAMES.iter().map(PathBuf::from)).collect()
}

/// Interpreters of pyenv that its launchers do not offer by their own name.
fn pyenv_versions() -> Vec<PathBuf> {
    let root = std::env::var_os("PYENV_ROOT").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".pyenv"));
    let Some(root) = root.or(home) else { return Vec::new() };
    let Ok(entries) = std::fs::read_dir(root.join("versions")) else { return Vec::new() };
    let mut found: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path().join("bin/python3")).collect();
    found.sort();
    found
}

fn ask(program: &Path) -> Option<Interpreter> {
    let output = Command::new(program)
        .args(["-I", "-c", QUESTION])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    if !output.status.success() {
        return None;
    }
    parse_answer(std::str::from_utf8(&output.stdout).ok()?)
}

fn parse_answer(line: &str) -> Option<Interpreter> {
    let mut words = line.trim_end().splitn(6, ' ');
    let mut number = || words.next()?.parse::<u32>().ok();
    let (major, minor, patch) = (number()?, number()?, number()?);
    let (implementation, free_threaded) = (words.next()?, words.next()?);
    let executable = PathBuf::from(words.next()?);
    let fits = implementation == "cpython" && free_threaded == "0" && (major, minor) >= OLDEST;
    fits.then_some(Interpreter { executable, major, minor, patch })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_names_version_and_executable() {
        let found = parse_answer("3 12 1 cpython 0 /opt/my python/bin/python3\n").unwrap();
        assert_eq!(found.version(), "3.12.1");
        assert_eq!(found.executable, Path::new("/opt/my python/bin/python3"));
    }

    #[test]
    fn what_cannot_load_the_extension_is_passed_over() {
        assert_eq!(parse_answer("3 10 13 cpython 0 /usr/bin/python3"), None);
        assert_eq!(parse_answer("3 13 0 cpython 1 /usr/bin/python3.13t"), None);
        assert_eq!(parse_answer("3 11 9 pypy 0 /usr/bin/pypy3"), None);
        assert_eq!(parse_answer(""), None);
    }
}
