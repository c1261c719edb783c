//! Ties threads, and the processes they start, to one core.

use std::io;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

const THIS_THREAD: Pid = Pid::from_raw(0);

/// Ties the calling thread to `core`; processes it starts from now on inherit that.
pub fn pin_this_thread(core: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    Ok(sched_setaffinity(THIS_THREAD, &set)?)
}

/// Runs `work` with the calling thread tied to `core`, then gives the thread its old cores back.
pub fn pinned<T>(core: usize, work: impl FnOnce() -> T) -> io::Result<T> {
    let before = sched_getaffinity(THIS_THREAD)?;
    pin_this_thread(core)?;
    let result = work();
    sched_setaffinity(THIS_THREAD, &before)?;
    Ok(result)
}

/// How many cores the calling thread may use.
pub fn core_count() -> io::Result<usize> {
    let set = sched_getaffinity(THIS_THREAD)?;
    Ok((0..CpuSet::count()).filter(|&core| set.is_set(core).unwrap_or(false)).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_cores_come_back() {
        let before = core_count().unwrap();
        assert_eq!(pinned(0, || core_count().unwrap()).unwrap(), 1);
        assert_eq!(core_count().unwrap(), before);
    }
}
