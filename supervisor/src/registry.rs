//! The local registry: which function of this user runs where.
//!
//! `run/<namespace>/<name>/` below the state folder holds `lock` (held for life), `state.json` and
//! `admin.sock`, and `recording`, the path of the last one. Who holds the lock lives; everything else there may be left over from a dead one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

/// What others may know of a running function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub name: String,
    pub namespace: String,
    pub pid: u32,
    pub url: String,
    pub admin: String,
    pub runtime: String,
    pub started_unix_ms: u64,
}

/// A name held for as long as this value lives.
#[derive(Debug)]
pub struct Registration {
    folder: PathBuf,
    /// Closing it gives the name back.
    _lock: File,
}

/// Why a name could not be had.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// Another processor serves a function of this name.
    #[error("is running already ({who}); stop it first, or choose another name or namespace")]
    Taken { who: String },
    /// Names cannot be kept on this machine; a function can run without.
    #[error("{}: {source}", .path.display())]
    Unwritable { path: PathBuf, source: io::Error },
}

/// The state folder by the rules of the contract; `variable` reads the environment.
pub fn state_folder(variable: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let filled = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    filled("NUCLIO_STATE_DIR")
        .or_else(|| filled("XDG_STATE_HOME").map(|base| base.join("nuclio")))
        .or_else(|| filled("HOME").map(|home| home.join(".local/state/nuclio")))
}

/// Takes the name, or says who has it.
pub fn claim(
    state_folder: &Path,
    namespace: &str,
    name: &str,
) -> Result<Registration, RegistryError> {
    let folder = state_folder.join("run").join(namespace).join(name);
    let unwritable = |source| RegistryError::Unwritable { path: folder.clone(), source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(unwritable)?;
    let mut lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(folder.join("lock"))
        .map_err(unwritable)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            return Err(RegistryError::Taken { who: holder(&folder, &mut lock) });
        }
        Err(errno) => return Err(unwritable(errno.into())),
    }
    lock.set_len(0).map_err(unwritable)?;
    lock.rewind().map_err(unwritable)?;
    write!(lock, "{}", std::process::id()).map_err(unwritable)?;
    let registration = Registration { folder, _lock: lock };
    registration.remove_files();
    Ok(registration)
}

impl Registration {
    pub fn admin_socket(&self) -> PathBuf {
        self.folder.join("admin.sock")
    }

    /// Complete or not at all: readers never see half a file.
    pub fn write_state(&self, state: &State) -> io::Result<()> {
        let new = self.folder.join("state.json.new");
        fs::write(&new, serde_json::to_vec(state).map_err(io::Error::other)?)?;
        fs::rename(new, self.folder.join("state.json"))
    }

    /// Where `nuclio replay ID` looks for events of this function; stays when it has ended.
    pub fn write_recording(&self, recording: &Path) -> io::Result<()> {
        let recording = recording.canonicalize()?;
        fs::write(self.folder.join("recording"), recording.as_os_str().as_bytes())
    }

    /// The lock file stays: removing it would let two holders lock two different files.
    pub fn remove_files(&self) {
        for file in ["state.json", "state.json.new", "admin.sock"] {
            let _ = fs::remove_file(self.folder.join(file));
        }
    }
}

fn holder(folder: &Path, lock: &mut File) -> String {
    let mut pid = String::new();
    let _ = lock.read_to_string(&mut pid);
    let state = fs::read(folder.join("state.json"))
        .ok()
        .and_then(|text| serde_json::from_slice::<State>(&text).ok());
    match state {
        // A state of another process is one that a dead holder left behind.
        Some(state) if state.pid.to_string() == pid => format!("pid {pid}, {}", state.url),
        _ => format!("pid {pid}, not ready yet"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State {
            name: "hello".into(),
            namespace: "default".into(),
            pid: std::process::id(),
            url: "http://127.0.0.1:8080".into(),
            admin: "http://127.0.0.1:8081".into(),
            runtime: "python 3.13.0".into(),
            started_unix_ms: 1,
        }
    }

    #[test]
    fn a_live_name_is_taken_and_a_dead_one_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let first = claim(folder.path(), "default", "hello").unwrap();
        let taken = claim(folder.path(), "default", "hello").unwrap_err().to_string();
        assert!(taken.contains("not ready yet"), "{taken}");
        first.write_state(&state()).unwrap();
        let taken = claim(folder.path(), "default", "hello").unwrap_err().to_string();
        let who = format!("pid {}, http://127.0.0.1:8080", std::process::id());
        assert!(taken.contains(&who), "{taken}");
        claim(folder.path(), "other", "hello").expect("another namespace");
        drop(first);
        let second = claim(folder.path(), "default", "hello").expect("free again");
        assert!(!second.folder.join("state.json").exists(), "what the first left is gone");
    }

    #[test]
    fn a_place_that_cannot_be_written_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let error = claim(&file, "default", "hello").unwrap_err();
        assert!(matches!(error, RegistryError::Unwritable { .. }), "{error}");
    }

    #[test]
    fn the_folder_follows_the_environment() {
        type Case<'a> = (&'a [(&'a str, &'a str)], Option<&'a str>);
        let cases: [Case<'_>; 5] = [
            (&[("NUCLIO_STATE_DIR", "/s"), ("HOME", "/h")], Some("/s")),
            (&[("XDG_STATE_HOME", "/x"), ("HOME", "/h")], Some("/x/nuclio")),
            (&[("HOME", "/h")], Some("/h/.local/state/nuclio")),
            (&[("NUCLIO_STATE_DIR", ""), ("HOME", "/h")], Some("/h/.local/state/nuclio")),
            (&[], None),
        ];
        for (environment, expected) in cases {
            let found = state_folder(|name| {
                let pair = environment.iter().find(|(key, _)| *key == name)?;
                Some(pair.1.to_string())
            });
            assert_eq!(found, expected.map(PathBuf::from), "{environment:?}");
        }
    }
}
