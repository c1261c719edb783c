//! One event at a time; notes each execution, then does as the path says, as deeds.py does.
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::process::{Command, id};
use std::sync::OnceLock;
use std::thread::{park, sleep};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nuclio_sdk::{Context, Event, Response, Result, handler};

static NOTES: OnceLock<File> = OnceLock::new();

#[handler]
fn ledger(_context: &Context, event: Event) -> Result<Response> {
    let path = event.path().into_owned();
    let number = u64::from_str_radix(&path[1..17], 16)?;
    let [answer, letter, attempts] = [18, 19, 20].map(|at| path.as_bytes()[at]);
    let deed = if event.attempt() > 1 && attempts != b'2' { b'n' } else { letter };
    if deed == b'u' {
        signal("kill -KILL $PPID");
    }
    note(number, event.attempt())?;
    match deed {
        b'k' => signal("kill -KILL $PPID"),
        b's' => signal("kill -STOP $PPID"),
        b'd' => sleep(Duration::from_millis(1 + number % 5)),
        _ => {}
    }
    if answer == b'e' {
        die_late(deed);
        return Ok(Response::part_of_body(0..event.body().len()));
    }
    let mut reply = path.clone().into_bytes();
    reply.push(b'\n');
    reply.extend_from_slice(event.body());
    die_late(deed);
    let reply = Response::bytes(reply);
    Ok(if answer == b'h' { reply.with_header("X-Ledger", path) } else { reply })
}

fn die_late(deed: u8) {
    if deed == b'l' {
        signal("kill -KILL $PPID");
    }
}

/// To this process, by a child's hand: a function is written without unsafe code. Never answers.
fn signal(how: &str) {
    let _ = Command::new("sh").args(["-c", how]).status();
    loop {
        park();
    }
}

/// One system call, so that a note is there or not there.
fn note(number: u64, attempt: u32) -> Result<()> {
    let mut notes = match NOTES.get() {
        Some(notes) => notes,
        None => {
            let path = format!("{}/{}.unix", std::env::var("LEDGER_NOTES")?, id());
            let file = OpenOptions::new().append(true).create(true).open(path)?;
            NOTES.get_or_init(|| file)
        }
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64;
    let mut record = Vec::with_capacity(24);
    record.extend_from_slice(&number.to_le_bytes());
    record.extend_from_slice(&now.to_le_bytes());
    record.extend_from_slice(&id().to_le_bytes());
    record.extend_from_slice(&attempt.to_le_bytes());
    notes.write_all(&record)?;
    Ok(())
}
