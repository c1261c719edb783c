//! Runs a program once, before anything else has started, and gives what it printed.
//!
//! Not for workers: it waits. The pool's own reaper does not run yet.

use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A program that has not answered by then is broken.
const PATIENCE: Duration = Duration::from_secs(5);
/// Nobody asks for more than a path or a version.
const ANSWER_BYTES_MAX: usize = 4096;

/// `None` when it could not be started, failed, or took too long.
pub fn ask(program: &Path, arguments: &[String]) -> Option<String> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let answer = read_answer(&mut child);
    if answer.is_none() {
        let _ = child.kill();
    }
    let status = child.wait().ok()?;
    answer.filter(|_| status.success()).and_then(|bytes| String::from_utf8(bytes).ok())
}

fn read_answer(child: &mut Child) -> Option<Vec<u8>> {
    let mut pipe = child.stdout.take()?;
    let deadline = Instant::now() + PATIENCE;
    let mut answer = Vec::new();
    let mut piece = [0u8; ANSWER_BYTES_MAX];
    while answer.len() < ANSWER_BYTES_MAX {
        let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now())).ok()?;
        let ready = {
            let fd = pipe.as_fd();
            poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&left))
        };
        if ready.ok()? == 0 {
            return None;
        }
        match pipe.read(&mut piece).ok()? {
            0 => return Some(answer),
            n => answer.extend_from_slice(&piece[..n]),
        }
    }
    None
}
