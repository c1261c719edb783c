//! Segments of anonymous shared memory: create, seal, map; loads, stores and copies within a map.
//!
//! [unsafe] One of the files of the data plane that may. Everything here checks its bounds;
//! nothing here knows what the bytes mean. Raw pointers instead of slices over memory that another
//! process may write: a Rust reference there would promise that nobody does.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use memmap2::{MmapOptions, MmapRaw};

use crate::abi::Entry;
use crate::error::RingError;

/// `F_SEAL_FUTURE_WRITE` of linux/fcntl.h; newer than the names in our libc wrapper.
#[cfg(not(feature = "portable"))]
const F_SEAL_FUTURE_WRITE: i32 = 0x0010;

/// Who may write a segment after it was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer {
    /// Only the map that its creator made before sealing: the kernel refuses all later ones.
    Creator,
    /// The process that it is passed to; the creator maps it read-only.
    Peer,
}

/// Creates a sealed segment of `bytes` zero bytes and maps it for its creator.
#[cfg(not(feature = "portable"))]
pub fn create(
    name: &'static str,
    bytes: usize,
    writer: Writer,
) -> Result<(OwnedFd, Map), RingError> {
    use std::os::fd::{AsFd, FromRawFd};
    let memfd = |source| RingError::Memfd { name, bytes, source };
    let c_name = std::ffi::CString::new(name).expect("names are literals without NUL");
    // SAFETY: a plain system call; `c_name` is a valid C string and the result is checked. Safe
    // wrappers do not know all the flags' kernels we run on.
    let raw =
        unsafe { libc::memfd_create(c_name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) };
    if raw < 0 {
        return Err(memfd(std::io::Error::last_os_error()));
    }
    // SAFETY: the kernel just gave us this descriptor and nobody else knows it.
    let file = unsafe { std::fs::File::from_raw_fd(raw) };
    file.set_len(bytes as u64).map_err(memfd)?;
    let map = match writer {
        Writer::Creator => Map::writable(name, file.as_fd(), bytes)?,
        Writer::Peer => Map::read_only(name, file.as_fd(), bytes)?,
    };
    let mut seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    if writer == Writer::Creator {
        seals |= F_SEAL_FUTURE_WRITE;
    }
    // SAFETY: a plain system call on a descriptor we own.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) } < 0 {
        return Err(RingError::Seal { name, source: std::io::Error::last_os_error() });
    }
    Ok((file.into(), map))
}

#[cfg(feature = "portable")]
pub use crate::portable::create;

/// A shared map of a whole segment. Cheap to clone; unmapped with the last clone.
#[derive(Debug, Clone)]
pub struct Map {
    mapped: Arc<Mapped>,
    start: *mut u8,
    bytes: usize,
    writable: bool,
}

#[derive(Debug)]
struct Mapped {
    /// Stands in front of the map, so that it ends first.
    #[cfg(feature = "portable")]
    watch: Option<crate::portable::Watch>,
    raw: MmapRaw,
}

// SAFETY: the pointer is to a map kept alive by `mapped`; all accesses through it are atomic or, where
// not, are documented to be ordered by the ring protocol. Nothing is bound to a thread.
unsafe impl Send for Map {}
// SAFETY: as for Send.
unsafe impl Sync for Map {}

impl Map {
    /// Maps a segment read and write.
    pub fn writable(
        name: &'static str,
        fd: BorrowedFd<'_>,
        bytes: usize,
    ) -> Result<Self, RingError> {
        let raw = MmapOptions::new()
            .len(bytes)
            .map_raw(fd.as_raw_fd())
            .map_err(|source| RingError::Map { name, bytes, source })?;
        Ok(Self::of(raw, bytes, true))
    }

    /// Maps a segment read-only.
    pub fn read_only(
        name: &'static str,
        fd: BorrowedFd<'_>,
        bytes: usize,
    ) -> Result<Self, RingError> {
        let raw = MmapOptions::new()
            .len(bytes)
            .map_raw_read_only(fd.as_raw_fd())
            .map_err(|source| RingError::Map { name, bytes, source })?;
        Ok(Self::of(raw, bytes, false))
    }

    fn of(raw: MmapRaw, bytes: usize, writable: bool) -> Self {
        let start = raw.as_mut_ptr();
        let mapped = Mapped {
            #[cfg(feature = "portable")]
            watch: None,
            raw,
        };
        Self { mapped: Arc::new(mapped), start, bytes, writable }
    }

    /// The same map, which whoever writes it may cut short: a look behind its new end finds zeros, and
    /// [`Map::is_cut`] tells. For a map that was just made.
    #[cfg(feature = "portable")]
    pub fn watched(mut self) -> std::io::Result<Self> {
        let watch = crate::portable::Watch::new(self.start, self.bytes)?;
        let mapped = Arc::get_mut(&mut self.mapped).ok_or(std::io::ErrorKind::ResourceBusy)?;
        mapped.watch = Some(watch);
        Ok(self)
    }

    /// True if its writer has cut the segment short and it was looked at since; a sealed segment
    /// cannot be.
    pub fn is_cut(&self) -> bool {
        #[cfg(feature = "portable")]
        let is_cut = self.mapped.watch.as_ref().is_some_and(crate::portable::Watch::is_cut);
        #[cfg(not(feature = "portable"))]
        let is_cut = false;
        is_cut
    }

    /// Bytes of the map.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// True for a map of nothing.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Keeps the map out of a forked child, so that only this process writes it.
    pub fn keep_from_forks(&self) -> std::io::Result<()> {
        self.mapped.raw.advise(memmap2::Advice::DontFork)
    }

    fn at(&self, offset: usize, bytes: usize) -> *mut u8 {
        let end = offset.checked_add(bytes);
        assert!(
            end.is_some_and(|end| end <= self.bytes),
            "{offset}+{bytes} is outside the segment"
        );
        // SAFETY: the range was just checked to lie in the map.
        unsafe { self.start.add(offset) }
    }

    fn at_mut(&self, offset: usize, bytes: usize) -> *mut u8 {
        assert!(self.writable, "this side does not write this segment");
        self.at(offset, bytes)
    }

    fn word(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4));
        // SAFETY: in bounds and aligned; atomics may be shared with another process's atomics, and
        // the map outlives the borrow of `self`. Loads through a read-only map do not write.
        unsafe { AtomicU32::from_ptr(self.at(offset, 4).cast()) }
    }

    /// Loads a shared word.
    pub fn load(&self, offset: usize, order: Ordering) -> u32 {
        self.word(offset).load(order)
    }

    /// Stores a shared word of ours.
    pub fn store(&self, offset: usize, value: u32, order: Ordering) {
        assert!(self.writable, "this side does not write this segment");
        self.word(offset).store(value, order);
    }

    /// Copies an entry out with relaxed loads: whatever its writer does meanwhile, the copy is only
    /// wrong, never undefined, and does not change afterwards.
    pub fn read_entry(&self, offset: usize) -> Entry {
        assert!(offset.is_multiple_of(64));
        let words = self.at(offset, 64).cast::<u64>();
        let mut copy = [0u64; 8];
        for (i, word) in copy.iter_mut().enumerate() {
            // SAFETY: eight aligned words within the 64 bytes just checked.
            *word = unsafe { AtomicU64::from_ptr(words.add(i)) }.load(Ordering::Relaxed);
        }
        zerocopy::transmute!(copy)
    }

    /// Writes an entry with relaxed stores; visible to the reader after the next tail.
    pub fn write_entry(&self, offset: usize, entry: &Entry) {
        assert!(offset.is_multiple_of(64));
        let words = self.at_mut(offset, 64).cast::<u64>();
        let copy: [u64; 8] = zerocopy::transmute!(*entry);
        for (i, word) in copy.iter().enumerate() {
            // SAFETY: eight aligned words within the 64 bytes just checked.
            unsafe { AtomicU64::from_ptr(words.add(i)) }.store(*word, Ordering::Relaxed);
        }
    }

    /// Copies bytes out of memory that its writer may be changing: relaxed loads, so the copy may be
    /// torn but is not undefined.
    pub fn copy_out(&self, offset: usize, out: &mut [u8]) {
        let from = self.at(offset, out.len());
        let head = from.align_offset(8).min(out.len());
        let (first, rest) = out.split_at_mut(head);
        self.copy_bytes(offset, first);
        let mut at = offset + head;
        let mut words = rest.chunks_exact_mut(8);
        for word in &mut words {
            // SAFETY: `at` is aligned to 8 from here on and in the range checked above.
            let value = unsafe { AtomicU64::from_ptr(self.start.add(at).cast()) };
            word.copy_from_slice(&value.load(Ordering::Relaxed).to_ne_bytes());
            at += 8;
        }
        self.copy_bytes(at, words.into_remainder());
    }

    fn copy_bytes(&self, offset: usize, out: &mut [u8]) {
        let from = self.at(offset, out.len());
        for (i, byte) in out.iter_mut().enumerate() {
            // SAFETY: in the range just checked.
            *byte = unsafe { AtomicU8::from_ptr(from.add(i)) }.load(Ordering::Relaxed);
        }
    }

    /// Copies bytes into a segment that only this side writes.
    pub fn copy_in(&self, offset: usize, bytes: &[u8]) {
        let to = self.at_mut(offset, bytes.len());
        // SAFETY: in bounds; `bytes` is a Rust slice and so cannot overlap a map that nothing here
        // hands out references into while it is written.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) }
    }

    /// Bytes of a segment that nobody writes as long as the slice lives.
    ///
    /// # Safety
    /// The range must not be written while the slice lives: it belongs to a published event whose
    /// slot is held, or only this process writes it and does not now.
    pub unsafe fn quiet(&self, offset: usize, bytes: usize) -> &[u8] {
        // SAFETY: in bounds; not written meanwhile, by the caller's promise.
        unsafe { std::slice::from_raw_parts(self.at(offset, bytes), bytes) }
    }

    /// Bytes of a segment that only this side writes, to be written.
    ///
    /// # Safety
    /// No other reference to the range may exist while the slice lives, in this process; another
    /// process may at most read it, as bytes of no meaning yet.
    #[expect(clippy::mut_from_ref, reason = "the map is shared memory; the caller owns the range")]
    pub unsafe fn own_mut(&self, offset: usize, bytes: usize) -> &mut [u8] {
        // SAFETY: in bounds and writable; exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.at_mut(offset, bytes), bytes) }
    }

    /// The address of a range, for the kernel to read from (writev) or for a foreign buffer object.
    pub fn address(&self, offset: usize, bytes: usize) -> *const u8 {
        self.at(offset, bytes)
    }
}

/// A segment that this process alone writes, with Rust's own rules for who may write when.
#[derive(Debug)]
pub struct OwnSegment {
    map: Map,
}

impl OwnSegment {
    /// Creates a segment of zero bytes.
    pub fn create(name: &'static str, bytes: usize) -> Result<(OwnedFd, Self), RingError> {
        let (fd, map) = create(name, bytes, Writer::Creator)?;
        Ok((fd, Self { map }))
    }

    /// The map, to send from.
    pub fn map(&self) -> &Map {
        &self.map
    }

    /// Bytes to be looked at.
    pub fn bytes(&self, offset: u64, bytes: u32) -> &[u8] {
        // SAFETY: no other process can write the segment, and this one does so only through
        // `bytes_mut`, which needs `&mut self`. The kernel's seal is what safe code cannot see, or with
        // `portable` that workers, trusted there, have a read-only descriptor.
        unsafe { self.map.quiet(offset as usize, bytes as usize) }
    }

    /// Bytes to be written.
    pub fn bytes_mut(&mut self, offset: u64, bytes: u32) -> &mut [u8] {
        // SAFETY: `&mut self` makes this the only reference into the segment in this process; other
        // processes can only read it.
        unsafe { self.map.own_mut(offset as usize, bytes as usize) }
    }
}

/// The event memory as a worker sees it: read-only maps that are never unmapped.
#[derive(Debug, Clone, Copy)]
pub struct EventMemory {
    maps: &'static [Map; 2],
}

impl EventMemory {
    /// Over the two segments; keeps them mapped as long as the process lives.
    pub fn new(small: Map, large: Map) -> Self {
        Self { maps: Box::leak(Box::new([small, large])) }
    }

    /// Bytes of a slot that this worker holds; `None` outside the segments.
    ///
    /// The bytes stay as they are until the hold is given back: that is the processor's side of the
    /// protocol, and only the processor can write here. A worker that looks later sees other bytes.
    pub fn held(&self, segment: u32, offset: u64, bytes: usize) -> Option<&'static [u8]> {
        let map = self.maps.get(segment as usize)?;
        let offset = usize::try_from(offset).ok()?;
        if offset.checked_add(bytes)? > map.len() {
            return None;
        }
        // SAFETY: in bounds of a map that is never unmapped; not written while held, see above.
        // Safe code cannot express a promise of another process.
        Some(unsafe { map.quiet(offset, bytes) })
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_sealed_segment_cannot_be_mapped_writable_again_nor_resized() {
        let (fd, map) = create("test-d", 8192, Writer::Creator).unwrap();
        map.copy_in(5, b"hello");
        let reader = Map::read_only("test-d", fd.as_fd(), 8192).unwrap();
        let mut out = [0u8; 5];
        reader.copy_out(5, &mut out);
        assert_eq!(&out, b"hello");
        assert!(Map::writable("test-d", fd.as_fd(), 8192).is_err());
        let file = std::fs::File::from(fd);
        assert!(file.set_len(4096).is_err() && file.set_len(16384).is_err());
    }

    #[test]
    fn a_map_of_a_sealed_segment_cannot_be_made_writable() {
        let (fd, _map) = create("test-d", 4096, Writer::Creator).unwrap();
        let reader = Map::read_only("test-d", fd.as_fd(), 4096).unwrap();
        // SAFETY: a range of a live map; if the kernel let it become writable, nobody would write.
        let refused = unsafe {
            libc::mprotect(reader.start.cast(), 4096, libc::PROT_READ | libc::PROT_WRITE)
        };
        let error = std::io::Error::last_os_error();
        assert_eq!((refused, error.kind()), (-1, std::io::ErrorKind::PermissionDenied));
    }

    #[test]
    fn copies_are_exact_at_every_alignment_and_length() {
        let (_fd, map) = create("test-u", 4096, Writer::Creator).unwrap();
        let pattern: Vec<u8> = (0..200u8).collect();
        for offset in 0..17 {
            for length in [0, 1, 7, 8, 9, 63, 64, 65, 200] {
                map.copy_in(offset, &pattern[..length]);
                let mut out = vec![0xff; length];
                map.copy_out(offset, &mut out);
                assert_eq!(out, pattern[..length], "offset {offset} length {length}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "outside the segment")]
    fn a_range_outside_is_a_bug_of_ours() {
        let (_fd, map) = create("test-x", 4096, Writer::Creator).unwrap();
        map.copy_out(4090, &mut [0; 7]);
    }
}
