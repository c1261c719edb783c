//! Which processes there are below a processor, and which still carry its mark when it has gone.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::path::Path;

/// A process as `/proc/PID/stat` tells of it.
#[derive(Debug, Clone)]
pub struct Process {
    pub pid: u32,
    pub name: String,
    pub state: char,
    pub parent: u32,
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, name, state, parent } = self;
        write!(f, "{name} (pid {pid}, state {state}, of {parent})")
    }
}

/// Several, for people.
pub fn list(processes: &[Process]) -> String {
    processes.iter().map(Process::to_string).collect::<Vec<_>>().join(", ")
}

/// The process with that number, if there is one.
pub fn process(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may contain anything, blanks and parentheses included.
    let (front, rest) = stat.rsplit_once(')')?;
    let (_, name) = front.split_once('(')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some(Process { pid, name: name.to_owned(), state, parent: fields.next()?.parse().ok()? })
}

/// The children of a process.
pub fn children(pid: u32) -> Vec<Process> {
    all().into_iter().filter(|one| one.parent == pid).collect()
}

/// All below a process.
pub fn descendants(pid: u32) -> Vec<Process> {
    let mut by_parent: HashMap<u32, Vec<Process>> = HashMap::new();
    all().into_iter().for_each(|one| by_parent.entry(one.parent).or_default().push(one));
    let mut found = Vec::new();
    let mut open = vec![pid];
    while let Some(next) = open.pop() {
        for one in by_parent.remove(&next).unwrap_or_default() {
            open.push(one.pid);
            found.push(one);
        }
    }
    found
}

/// Living processes that were given this folder for their notes, whoever their parent is.
pub fn marked(notes: &Path) -> Vec<Process> {
    let mark = format!("LEDGER_NOTES={}\0", notes.display()).into_bytes();
    let is_marked = |one: &Process| {
        let environment = fs::read(format!("/proc/{}/environ", one.pid)).unwrap_or_default();
        environment.windows(mark.len()).any(|part| part == mark)
    };
    all().into_iter().filter(is_marked).collect()
}

fn all() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter_map(process).collect()
}
