//! Reads and writes of pipes that never wait.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;

use crate::limits::READ_BYTES;

/// How far a pipe got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Nothing more now.
    Blocked,
    /// It was closed, or broke: nothing more ever.
    Ended,
}

/// Makes an end of ours one that does not wait; the other end is the program's own.
pub fn never_wait(pipe: &impl AsFd) -> std::io::Result<()> {
    Ok(rustix::io::ioctl_fionbio(pipe, true)?)
}

/// Gives `take` what is there, until that says stop.
pub fn drain(
    pipe: &mut impl Read,
    scratch: &mut [u8],
    mut take: impl FnMut(&[u8]) -> bool,
) -> Progress {
    loop {
        match pipe.read(scratch) {
            Ok(0) => return Progress::Ended,
            Ok(count) => {
                if !take(&scratch[..count]) {
                    return Progress::Blocked;
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Progress::Blocked,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Progress::Ended,
        }
    }
}

/// Writes on from `done`; a program that reads no more is no error.
pub fn feed(pipe: &mut impl Write, bytes: &[u8], done: &mut usize) -> Progress {
    while *done < bytes.len() {
        match pipe.write(&bytes[*done..]) {
            Ok(0) => return Progress::Ended,
            Ok(count) => *done += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Progress::Blocked,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Progress::Ended,
        }
    }
    Progress::Ended
}

/// A buffer for [`drain`].
pub fn scratch() -> Vec<u8> {
    vec![0; READ_BYTES]
}
