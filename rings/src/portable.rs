//! Feature `portable`: segments by POSIX shared memory instead of memfd; workers notice nothing.
//!
//! [unsafe] A third file of the data plane that may, for a signal handler: without seals a worker can
//! cut its own segment short, and the next look at it would end the processor by SIGBUS. No more is
//! replaced of what seals gave; `docs/adr/0008` says what is lost, and that workers are trusted.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use libc::{c_int, c_void, siginfo_t};
use nix::fcntl::OFlag;
use nix::sys::mman::shm_open;
use nix::sys::stat::Mode;
use shared_memory::{ShmemConf, ShmemError};

use crate::error::RingError;
use crate::memory::{Map, Writer};

/// Creates a segment of `bytes` zero bytes and maps it for its creator.
///
/// It has a name only while this function runs. The descriptor that is passed on cannot be used to
/// write a segment of the creator's.
pub fn create(
    name: &'static str,
    bytes: usize,
    writer: Writer,
) -> Result<(OwnedFd, Map), RingError> {
    let failed = |source| RingError::Portable { name, bytes, source };
    let named = ShmemConf::new().size(bytes).create().map_err(|error| failed(errno(error)))?;
    let open = |access| {
        let opened = shm_open(named.get_os_id(), access, Mode::empty());
        opened.map_err(|error| failed(error.into()))
    };
    let ours = open(OFlag::O_RDWR)?;
    let read_only = open(OFlag::O_RDONLY)?;
    // Unlinks the name and unmaps: from here on nothing is left behind, however we end.
    drop(named);
    reserve(ours.as_fd(), bytes).map_err(failed)?;
    match writer {
        Writer::Creator => Ok((read_only, Map::writable(name, ours.as_fd(), bytes)?)),
        Writer::Peer => {
            let map = Map::read_only(name, read_only.as_fd(), bytes)?.watched().map_err(failed)?;
            Ok((ours, map))
        }
    }
}

/// The system's reason behind the crate's.
fn errno(error: ShmemError) -> io::Error {
    match error {
        ShmemError::MapCreateFailed(code)
        | ShmemError::MapOpenFailed(code)
        | ShmemError::UnknownOsError(code) => io::Error::from_raw_os_error(code as i32),
        other => io::Error::other(other.to_string()),
    }
}

/// Takes all pages now. Where shared memory is a file system it may be small (64 MiB in Docker), and
/// a page that is not to be had later would be a SIGBUS in the middle of an event.
#[cfg(target_os = "linux")]
fn reserve(fd: BorrowedFd<'_>, bytes: usize) -> io::Result<()> {
    use nix::fcntl::{FallocateFlags, fallocate};
    let bytes = libc::off_t::try_from(bytes).map_err(io::Error::other)?;
    loop {
        match fallocate(fd, FallocateFlags::empty(), 0, bytes) {
            // A signal undoes it; it is as short as writing the bytes once.
            Err(nix::errno::Errno::EINTR) => {}
            other => return Ok(other?),
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn reserve(_fd: BorrowedFd<'_>, _bytes: usize) -> io::Result<()> {
    Ok(())
}

/// A map that a worker can cut short, known to the handler of SIGBUS while this lives.
///
/// When the kernel has no page where we look, the handler puts zeros in the place of the whole map and
/// notes it; whoever looks goes on, finds zeros, and asks [`Watch::is_cut`].
#[derive(Debug)]
pub struct Watch {
    place: &'static Place,
}

impl Watch {
    /// Over a read-only map of whole pages, or of pages as the kernel rounds them up.
    pub fn new(start: *const u8, bytes: usize) -> io::Result<Self> {
        let mut is_installed = CHANGES.lock().unwrap_or_else(PoisonError::into_inner);
        if !*is_installed {
            install()?;
            *is_installed = true;
        }
        let free = places().find(|place| {
            // Relaxed: places change under the lock only.
            place.bytes == bytes && place.start.load(Ordering::Relaxed) == 0
        });
        let place = free.unwrap_or_else(|| Place::add(bytes));
        place.is_cut.store(false, Ordering::Relaxed);
        place.start.store(start as usize, Ordering::Release); // no model: a signal handler reads it
        Ok(Self { place })
    }

    /// True if a look at the map has found nothing there.
    pub fn is_cut(&self) -> bool {
        // Relaxed: set by this very thread's own look, or as good as later.
        self.place.is_cut.load(Ordering::Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _changes = CHANGES.lock().unwrap_or_else(PoisonError::into_inner);
        self.place.start.store(0, Ordering::Release); // no model: a signal handler reads it
    }
}

/// Where a watched map is, in a list that only grows: a signal handler can take no lock. There are as
/// many places as there were ever maps of one size at once.
#[derive(Debug)]
struct Place {
    /// 0 = free. A place is used again for maps of its own length only, so that a handler that read
    /// an old start cannot take another map for this one.
    start: AtomicUsize,
    bytes: usize,
    is_cut: AtomicBool,
    next: Option<&'static Place>,
}

/// The first place.
static PLACES: AtomicPtr<Place> = AtomicPtr::new(std::ptr::null_mut());
/// Held while places change; true once the handler is installed.
static CHANGES: Mutex<bool> = Mutex::new(false);
/// What was done about SIGBUS before.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

impl Place {
    /// A new free place; called with the lock held.
    fn add(bytes: usize) -> &'static Self {
        let (start, is_cut) = (AtomicUsize::new(0), AtomicBool::new(false));
        let place = Box::leak(Box::new(Self { start, bytes, is_cut, next: first() }));
        PLACES.store(place, Ordering::Release); // no model: a signal handler reads it
        place
    }

    fn contains(&self, address: usize) -> bool {
        let start = self.start.load(Ordering::Acquire); // no model: in a signal handler
        start != 0 && address.checked_sub(start).is_some_and(|offset| offset < self.bytes)
    }

    /// Puts zeros in the place of the map.
    fn replace(&self) -> bool {
        let start = self.start.load(Ordering::Acquire) as *mut c_void; // no model: in a signal handler
        let flags = libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: the range is a map of ours, kept alive by whoever looks at it now, that has nothing
        // behind it any more; nobody holds a reference into memory that a worker writes.
        let zeros = unsafe { libc::mmap(start, self.bytes, libc::PROT_READ, flags, -1, 0) };
        let is_replaced = zeros == start;
        if is_replaced {
            self.is_cut.store(true, Ordering::Relaxed);
        }
        is_replaced
    }
}

fn first() -> Option<&'static Place> {
    // SAFETY: null, or a leaked place, whole before it was published.
    unsafe { PLACES.load(Ordering::Acquire).as_ref() } // no model: in a signal handler
}

fn places() -> impl Iterator<Item = &'static Place> {
    std::iter::successors(first(), |place| place.next)
}

fn install() -> io::Result<()> {
    // SAFETY: an all-zero sigaction is a valid one.
    let mut before: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: only asks; writes one sigaction, which lives for the call.
    if unsafe { libc::sigaction(libc::SIGBUS, std::ptr::null(), &mut before) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // Before the handler is there, which reads it.
    let _ = BEFORE.set(before);
    // SAFETY: as above.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = on_bus_error;
    action.sa_sigaction = handler as libc::sighandler_t;
    // As Rust's own handler: on the thread's other stack where it has one.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: the handler has the form that SA_SIGINFO asks for, and uses atomics and mmap only.
    if unsafe { libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Nothing here takes a lock, allocates or panics.
extern "C" fn on_bus_error(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a valid siginfo; for BUS_ADRERR it has an address.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    if code == libc::BUS_ADRERR
        && let Some(place) = places().find(|place| place.contains(address))
        && place.replace()
    {
        return;
    }
    pass_on(signal, info, context);
}

/// What would have been done without us: by default the instruction is run again, and that is the end.
fn pass_on(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let before = BEFORE.get().filter(|before| {
        before.sa_sigaction != libc::SIG_DFL && before.sa_sigaction != libc::SIG_IGN
    });
    match before {
        Some(before) if before.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: the handler that stood there, called as the kernel would.
            let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) =
                unsafe { std::mem::transmute(before.sa_sigaction) };
            handler(signal, info, context);
        }
        Some(before) => {
            // SAFETY: as above, in the other form.
            let handler: extern "C" fn(c_int) = unsafe { std::mem::transmute(before.sa_sigaction) };
            handler(signal);
        }
        None => {
            // SAFETY: a plain system call that a handler may make.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use nix::sys::stat::fstat;
    use nix::unistd::ftruncate;

    use super::*;

    #[test]
    fn a_segment_has_no_name_and_is_its_owners_only() {
        for writer in [Writer::Creator, Writer::Peer] {
            let (fd, _map) = create("test-x", 8192, writer).unwrap();
            let status = fstat(&fd).unwrap();
            assert_eq!((status.st_nlink, status.st_mode & 0o777), (0, 0o600));
            let link = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap();
            let link = link.to_str().unwrap();
            assert!(link.starts_with("/dev/shm/") && link.ends_with(" (deleted)"), "{link}");
            assert_eq!(status.st_blocks, 16, "8192 bytes are there before they are touched");
        }
    }

    #[test]
    fn more_than_there_is_room_for_is_refused() {
        let Err(error) = create("test-x", 1 << 50, Writer::Peer) else { panic!("a pebibyte") };
        assert!(error.to_string().contains("/dev/shm"), "{error}");
    }

    #[test]
    fn a_segment_that_its_writer_cuts_reads_as_zeros_and_says_so() {
        let (fd, map) = create("test-u", 3 * 4096, Writer::Peer).unwrap();
        let writer = Map::writable("test-u", fd.as_fd(), 3 * 4096).unwrap();
        writer.store(0, 7, Ordering::Relaxed);
        writer.store(8192, 8, Ordering::Relaxed);
        drop(writer);
        assert_eq!((map.load(0, Ordering::Relaxed), map.load(8192, Ordering::Relaxed)), (7, 8));
        ftruncate(&fd, 4096).unwrap();
        assert_eq!((map.load(0, Ordering::Relaxed), map.is_cut()), (7, false));
        assert_eq!((map.load(8192, Ordering::Relaxed), map.is_cut()), (0, true));
        assert_eq!(map.load(0, Ordering::Relaxed), 0, "all of it is replaced");
        // What the worker does to its file afterwards changes nothing.
        ftruncate(&fd, 0).unwrap();
        let mut bytes = [1; 4096];
        map.clone().copy_out(4096, &mut bytes);
        assert_eq!(bytes, [0; 4096]);
    }

    #[test]
    fn a_place_is_used_again_and_starts_anew() {
        // A length that no other test has.
        let bytes = 5 * 4096;
        for _ in 0..3 {
            let (fd, map) = create("test-u", bytes, Writer::Peer).unwrap();
            assert!(!map.is_cut());
            ftruncate(&fd, 0).unwrap();
            assert_eq!((map.load(4096, Ordering::Relaxed), map.is_cut()), (0, true));
        }
        assert_eq!(places().filter(|place| place.bytes == bytes).count(), 1);
    }
}
