//! What this machine, or the container we are in, gives us: memory, descriptors, CPUs.

use std::fs;
use std::path::Path;
use std::thread;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// A cgroup limit above this means none.
const NO_LIMIT_BYTES: u64 = 1 << 60;

/// CPUs that we may use: the affinity mask and the quota of the cgroup, at least 1.
pub fn cpus() -> u32 {
    thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX))
}

/// The limit of the nearest cgroup that has one, else all memory of the machine.
pub fn memory_bytes() -> Option<u64> {
    let of_machine = memory_total(&fs::read_to_string("/proc/meminfo").ok()?)?;
    let of_cgroup = fs::read_to_string("/proc/self/cgroup")
        .ok()
        .and_then(|text| cgroup_limit(Path::new("/sys/fs/cgroup"), &text));
    Some(of_cgroup.map_or(of_machine, |limit| limit.min(of_machine)))
}

/// Raises the soft limit of open files to the hard one. Gives the soft limit of before, and now.
pub fn raise_nofile() -> (u64, u64) {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return (0, 1024) };
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => (soft, hard),
        Err(_) => (soft, soft),
    }
}

fn memory_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// The smallest limit from our group up to the root.
fn cgroup_limit(mount: &Path, own: &str) -> Option<u64> {
    let limits = own.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, group) = (parts.next()?, parts.next()?.trim_start_matches('/'));
        let (mount, file) = match controllers {
            "" => (mount.to_path_buf(), "memory.max"),
            "memory" => (mount.join("memory"), "memory.limit_in_bytes"),
            _ => return None,
        };
        let group = mount.join(group);
        let groups = group.ancestors().take_while(|folder| folder.starts_with(&mount));
        groups.filter_map(|folder| limit_in(&folder.join(file))).min()
    });
    limits.min()
}

fn limit_in(file: &Path) -> Option<u64> {
    let limit = fs::read_to_string(file).ok()?.trim().parse().ok()?;
    (limit < NO_LIMIT_BYTES).then_some(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_tells() {
        assert!(cpus() >= 1);
        assert!(memory_bytes().is_some_and(|bytes| bytes > 1 << 20));
        assert_eq!(memory_total("MemTotal:  2048 kB\nMemFree: 1 kB\n"), Some(2 << 20));
        assert_eq!(memory_total(""), None);
    }

    #[test]
    fn the_smallest_limit_on_the_way_up_counts() {
        let folder = tempfile::tempdir().unwrap();
        let mount = folder.path();
        fs::create_dir_all(mount.join("pod/container")).unwrap();
        fs::write(mount.join("pod/container/memory.max"), "max\n").unwrap();
        assert_eq!(cgroup_limit(mount, "0::/pod/container\n"), None);
        fs::write(mount.join("pod/memory.max"), "1000\n").unwrap();
        assert_eq!(cgroup_limit(mount, "0::/pod/container\n"), Some(1000));
        fs::create_dir_all(mount.join("memory/docker")).unwrap();
        let unlimited = "9223372036854771712\n";
        fs::write(mount.join("memory/memory.limit_in_bytes"), unlimited).unwrap();
        fs::write(mount.join("memory/docker/memory.limit_in_bytes"), "500\n").unwrap();
        assert_eq!(cgroup_limit(mount, "3:cpu:/x\n5:memory:/docker\n"), Some(500));
    }
}
