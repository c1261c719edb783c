//! Watches the folder of the code and asks for a reload when a save has changed something.
//!
//! A touch, or a save of the same bytes, changes nothing. Bounded: a huge folder is watched in part,
//! and the log says so.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hasher};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use crate::crossing::{ToPool, ToPoolSender};
use crate::log::Log;

/// A save is complete when nothing has happened for this long.
const QUIET: Duration = Duration::from_millis(8);
/// A folder that never becomes quiet is looked at nevertheless.
const QUIET_LIMIT: Duration = Duration::from_millis(200);
/// inotify watches are a scarce thing of the whole user.
const FOLDERS_MAX: usize = 1024;
const FILES_MAX: usize = 8192;
const DEPTH_MAX: usize = 16;
/// Of a larger file its start and its length are compared.
const BYTES_COMPARED_MAX: u64 = 4 << 20;
/// Notices not yet looked at; more of them make us look at everything.
const NOTICES_MAX: usize = 1024;

/// What is watched.
pub struct WatchConfig {
    /// The code, a file or a folder.
    pub code: PathBuf,
    /// Of files that are code, each with the dot.
    pub extensions: Vec<String>,
}

impl WatchConfig {
    fn root(&self) -> &Path {
        if self.code.is_dir() { &self.code } else { self.code.parent().unwrap_or(&self.code) }
    }

    fn is_code(&self, path: &Path) -> bool {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
        let is_draft = name.starts_with(['.', '#']) || name.ends_with('~');
        path == self.code
            || (!is_draft && self.extensions.iter().any(|ending| name.ends_with(ending.as_str())))
    }
}

/// Remembers what the files hold now, and watches from now on. Call before the code is loaded.
pub fn start(config: WatchConfig, to_pool: ToPoolSender, log: Log) -> notify::Result<()> {
    let (sender, notices) = crossbeam_channel::bounded(NOTICES_MAX);
    let watcher = notify::recommended_watcher(move |notice: notify::Result<Event>| {
        // When it is full there is enough in it to be woken by.
        let _ = sender.try_send(notice.ok());
    })?;
    let mut tree = Tree { config, watcher, log, known: BTreeMap::new(), folders: 0, warned: false };
    let root = tree.config.root().to_path_buf();
    tree.watcher.watch(&root, RecursiveMode::NonRecursive)?;
    tree.look_into(&root, 0);
    let thread = thread::Builder::new().name("watch".into());
    thread.spawn(move || tree.run(&notices, &to_pool)).map_err(notify::Error::io)?;
    Ok(())
}

struct Tree {
    config: WatchConfig,
    watcher: RecommendedWatcher,
    log: Log,
    /// Hash of the content of every file that is code.
    known: BTreeMap<PathBuf, u64>,
    folders: usize,
    warned: bool,
}

impl Tree {
    fn run(mut self, notices: &Receiver<Option<Event>>, to_pool: &ToPoolSender) {
        while let Ok(first) = notices.recv() {
            if !matters(first.as_ref()) {
                continue;
            }
            let mut batch = vec![first];
            collect_until_quiet(notices, &mut batch);
            if self.has_changed(&batch) {
                to_pool.send(ToPool::Reload);
            }
        }
    }

    fn has_changed(&mut self, batch: &[Option<Event>]) -> bool {
        let lost = batch.len() >= NOTICES_MAX;
        let needs_all = |notice: &Option<Event>| notice.as_ref().is_none_or(Event::need_rescan);
        if lost || batch.iter().any(needs_all) {
            let root = self.config.root().to_path_buf();
            return self.look_into(&root, 0);
        }
        let mut changed = false;
        for path in batch.iter().flatten().flat_map(|event| &event.paths) {
            changed |= match path.is_dir() {
                true if is_ignored(path) => false,
                true => self.enter(path, 1),
                false => self.config.is_code(path) && self.remember(path),
            };
        }
        changed
    }

    /// Remembers all code below; true if any of it is new or changed.
    fn look_into(&mut self, folder: &Path, depth: usize) -> bool {
        let Ok(entries) = fs::read_dir(folder) else { return false };
        let mut changed = false;
        for entry in entries.flatten() {
            let path = entry.path();
            // Links to folders are not followed: they may lead anywhere, in circles even.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if !is_ignored(&path) {
                    changed |= self.enter(&path, depth + 1);
                }
            } else if self.config.is_code(&path) {
                changed |= self.remember(&path);
            }
        }
        changed
    }

    fn enter(&mut self, folder: &Path, depth: usize) -> bool {
        if depth > DEPTH_MAX || self.folders >= FOLDERS_MAX {
            self.warn_once("its folders are too many or too deep");
            return false;
        }
        self.folders += 1;
        if let Err(error) = self.watcher.watch(folder, RecursiveMode::NonRecursive) {
            self.warn_once(&error.to_string());
        }
        self.look_into(folder, depth)
    }

    /// True if the file holds something else than before.
    fn remember(&mut self, path: &Path) -> bool {
        // A file that is missing is being replaced, or does not matter any more.
        let Some(hash) = content_hash(path) else { return false };
        if self.known.len() >= FILES_MAX && !self.known.contains_key(path) {
            self.warn_once("its files are too many");
            return false;
        }
        self.known.insert(path.to_path_buf(), hash) != Some(hash)
    }

    fn warn_once(&mut self, why: &str) {
        if !std::mem::replace(&mut self.warned, true) {
            let root = self.config.root().display();
            self.log.warn(format!("{root} is watched only in part: {why}"));
        }
    }
}

fn collect_until_quiet(notices: &Receiver<Option<Event>>, batch: &mut Vec<Option<Event>>) {
    let limit = Instant::now() + QUIET_LIMIT;
    let mut quiet_at = Instant::now() + QUIET;
    while batch.len() < NOTICES_MAX {
        match notices.recv_deadline(quiet_at.min(limit)) {
            Ok(notice) if matters(notice.as_ref()) => {
                batch.push(notice);
                quiet_at = Instant::now() + QUIET;
            }
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Reading a file is noticed as well, and every load of the code does it.
fn matters(notice: Option<&Event>) -> bool {
    match notice.map(|event| &event.kind) {
        Some(EventKind::Access(kind)) => *kind == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

fn is_ignored(folder: &Path) -> bool {
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_hidden = name.starts_with('.');
    // A virtual environment or installed packages: large, and not what is being written.
    is_hidden
        || matches!(name, "__pycache__" | "node_modules" | "site-packages")
        || folder.join("pyvenv.cfg").exists()
}

fn content_hash(path: &Path) -> Option<u64> {
    let file = File::open(path).ok()?;
    let metadata = file.metadata().ok().filter(fs::Metadata::is_file)?;
    let mut content = Vec::new();
    file.take(BYTES_COMPARED_MAX).read_to_end(&mut content).ok()?;
    let mut hasher = DefaultHasher::new();
    hasher.write_u64(metadata.len());
    hasher.write(&content);
    Some(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crossing::{ToPoolReceiver, to_pool_channel};
    use crate::log::{Format, Level, LogConfig};
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    fn watched(folder: &Path, code: &Path) -> ToPoolReceiver {
        let (to_pool, inbox) = to_pool_channel(16).unwrap();
        let log = Log::start(LogConfig {
            function: "test".into(),
            format: Format::People,
            level: Level::Error,
            colour: false,
        });
        assert!(code.starts_with(folder));
        let config = WatchConfig { code: code.to_path_buf(), extensions: vec![".py".into()] };
        start(config, to_pool, log.unwrap()).unwrap();
        inbox
    }

    fn reload_within(inbox: &ToPoolReceiver, ms: i64) -> bool {
        let limit = Timespec { tv_sec: 0, tv_nsec: ms * 1_000_000 };
        let mut fds = [PollFd::new(inbox, PollFlags::IN)];
        let woken = poll(&mut fds, Some(&limit)).unwrap() > 0;
        inbox.quiet();
        woken && matches!(inbox.try_recv(), Some(ToPool::Reload))
    }

    #[test]
    fn only_changes_of_code_reload() {
        let folder = tempfile::tempdir().unwrap();
        let code = folder.path().join("hello.py");
        fs::write(&code, "a").unwrap();
        fs::create_dir(folder.path().join("__pycache__")).unwrap();
        let inbox = watched(folder.path(), &code);
        for (name, text) in
            [("hello.py", "a"), ("notes.txt", "x"), (".#hello.py", "x"), ("__pycache__/x.py", "x")]
        {
            fs::write(folder.path().join(name), text).unwrap();
            assert!(!reload_within(&inbox, 100), "{name}");
        }
        fs::write(&code, "b").unwrap();
        assert!(reload_within(&inbox, 900), "a change");
        assert!(!reload_within(&inbox, 100), "only once");
        let draft = folder.path().join("draft");
        fs::write(&draft, "c").unwrap();
        fs::rename(&draft, &code).unwrap();
        assert!(reload_within(&inbox, 900), "a save by renaming");
        let package = folder.path().join("package");
        fs::create_dir(&package).unwrap();
        fs::write(package.join("part.py"), "1").unwrap();
        assert!(reload_within(&inbox, 900), "a new folder with code");
        fs::write(package.join("part.py"), "2").unwrap();
        assert!(reload_within(&inbox, 900), "a change in the new folder");
    }
}
