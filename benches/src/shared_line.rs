//! [unsafe] A few cache lines shared by two processes, one 64-bit word on each.
//!
//! The raw material of `line_pingpong` and `ring_pingpong`: what any message between two cores
//! must cost at least. No protocol of ours.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::AtomicU64;

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

/// Two lines of 64 bytes: processors fetch lines in such pairs, so neighbours would disturb each
/// other.
const LINE_BYTES: usize = 128;
const LINE_COUNT: usize = 8;

/// The lines, mapped into this process.
pub struct SharedLines {
    map: MmapRaw,
    file: File,
}

impl SharedLines {
    /// New lines, all words 0.
    pub fn create() -> io::Result<Self> {
        let file = File::from(memfd_create("nuclio-bench-lines", MemfdFlags::CLOEXEC)?);
        ftruncate(&file, (LINE_BYTES * LINE_COUNT) as u64)?;
        Self::map(file)
    }

    /// The lines that another process gave by [`SharedLines::address`].
    pub fn open(address: &str) -> io::Result<Self> {
        Self::map(File::options().read(true).write(true).open(address)?)
    }

    /// Where another process of the same user can open these lines while this one lives.
    pub fn address(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    /// The word at the start of `line`.
    pub fn word(&self, line: usize) -> &AtomicU64 {
        assert!(line < LINE_COUNT, "line {line} of {LINE_COUNT}");
        let word = self.map.as_mut_ptr().wrapping_add(line * LINE_BYTES).cast::<u64>();
        // SAFETY: the word lies inside the map (asserted above, the length is checked in `map`),
        // is aligned (the map starts on a page), lives as long as `self`, and is only ever used
        // through atomics, here and in the other process. Safe code cannot make an atomic of
        // mapped memory.
        unsafe { AtomicU64::from_ptr(word) }
    }

    fn map(file: File) -> io::Result<Self> {
        if file.metadata()?.len() < (LINE_BYTES * LINE_COUNT) as u64 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "shared lines: file too short"));
        }
        let map = MmapOptions::new().len(LINE_BYTES * LINE_COUNT).map_raw(&file)?;
        Ok(Self { map, file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn both_maps_see_one_word() {
        let ours = SharedLines::create().unwrap();
        let theirs = SharedLines::open(&ours.address()).unwrap();
        ours.word(3).store(7, Ordering::Release);
        assert_eq!(theirs.word(3).load(Ordering::Acquire), 7);
        assert_eq!(theirs.word(2).load(Ordering::Acquire), 0);
    }
}
