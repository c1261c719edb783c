//! Asks a processor's admin socket for a page.
//!
//! HTTP/1.0, so that the page simply ends with the connection, however long it goes on.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// A processor answers within milliseconds; one that does not in this time stands still.
const SILENCE_LIMIT: Duration = Duration::from_secs(5);
/// A follower gets an empty line every ten seconds.
pub const FOLLOW_SILENCE_LIMIT: Duration = Duration::from_secs(30);
/// The longest head of an answer that is read.
const HEAD_BYTES_MAX: u64 = 16 * 1024;
/// The largest page read as a whole: some hundred bytes for each of 100,000 workers.
const PAGE_BYTES_MAX: u64 = 64 << 20;

/// The status and the body, which is still to be read.
pub fn open(folder: &Path, page: &str) -> io::Result<(u16, BufReader<UnixStream>)> {
    let stream = connect(folder)?;
    stream.set_read_timeout(Some(SILENCE_LIMIT))?;
    stream.set_write_timeout(Some(SILENCE_LIMIT))?;
    (&stream).write_all(format!("GET {page} HTTP/1.0\r\nHost: processor\r\n\r\n").as_bytes())?;
    let mut reader = BufReader::new(stream);
    let mut status = None;
    let mut head = reader.by_ref().take(HEAD_BYTES_MAX);
    loop {
        let mut line = String::new();
        if head.read_line(&mut line)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if status.is_none() {
            let code = line.split(' ').nth(1).and_then(|code| code.parse().ok());
            status = Some(code.ok_or(ErrorKind::InvalidData)?);
        }
        if line.trim_end().is_empty() {
            return Ok((status.unwrap_or_default(), reader));
        }
    }
}

/// A page that is a JSON document.
pub fn json(folder: &Path, page: &str) -> io::Result<serde_json::Value> {
    let (_, body) = open(folder, page)?;
    serde_json::from_reader(body.take(PAGE_BYTES_MAX)).map_err(io::Error::other)
}

/// The path of a socket has 108 bytes at most, and state folders may lie deep.
fn connect(folder: &Path) -> io::Result<UnixStream> {
    let folder = File::open(folder)?;
    UnixStream::connect(format!("/proc/self/fd/{}/admin.sock", folder.as_raw_fd()))
}
