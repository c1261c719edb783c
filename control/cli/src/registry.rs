//! Reads the local registry: which functions run on this machine, and where.
//!
//! Processors write it (`run/<namespace>/<name>/`); here only what a dead one left is removed.

use std::fs::File;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::locate::Surroundings;
use crate::near::nearest;

/// Most bytes of a `state.json` that are read; a whole one has a few hundred.
const STATE_BYTES_MAX: u64 = 64 * 1024;

/// What a processor says about itself while it lives.
#[derive(Debug, Deserialize)]
pub struct Running {
    pub pid: i32,
    /// Where its HTTP trigger listens; nothing where it has none.
    #[serde(default)]
    pub url: Option<String>,
    #[serde(default)]
    pub runtime: String,
    #[serde(default)]
    pub started_unix_ms: u64,
}

/// What is known of a name.
#[derive(Debug)]
pub enum Entry {
    /// Its processor lives, and has not been ready yet.
    Starting {
        pid: i32,
    },
    Live(Running),
    /// Its processor was killed and left this.
    Dead(Running),
}

impl Entry {
    pub fn pid(&self) -> i32 {
        match self {
            Entry::Starting { pid } => *pid,
            Entry::Live(running) | Entry::Dead(running) => running.pid,
        }
    }
}

/// `$NUCLIO_STATE_DIR`, else `$XDG_STATE_HOME/nuclio`, else `~/.local/state/nuclio`.
pub fn folder(around: &Surroundings) -> Result<PathBuf, String> {
    if let Some(named) = around.var("NUCLIO_STATE_DIR") {
        return Ok(around.absolute(Path::new(named)));
    }
    if let Some(state) = around.var("XDG_STATE_HOME") {
        return Ok(around.absolute(Path::new(state)).join("nuclio"));
    }
    match around.var("HOME") {
        Some(home) => Ok(around.absolute(Path::new(home)).join(".local/state/nuclio")),
        None => Err("the local registry was not found: HOME is not set; set NUCLIO_STATE_DIR to \
                     its folder"
            .into()),
    }
}

/// Finds a live function, or says which ones there are.
pub fn find(registry: &Path, namespace: &str, name: &str) -> Result<Running, String> {
    let of_namespace = registry.join("run").join(namespace);
    if let Some(running) = live(&of_namespace.join(name))? {
        return Ok(running);
    }
    let mut others: Vec<String> = std::fs::read_dir(&of_namespace)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| matches!(live(&entry.path()), Ok(Some(_))))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    others.sort();
    let others: Vec<&str> = others.iter().map(String::as_str).collect();
    let mut told = format!("no function called {name} is running in namespace {namespace}; ");
    told += &match nearest(name, &others) {
        Some(near) => format!("did you mean {near}? Otherwise start it with: nuclio run {name}"),
        None if others.is_empty() => format!("start it with: nuclio run {name}"),
        None => format!("running there: {}; start it with: nuclio run {name}", others.join(", ")),
    };
    Err(told)
}

/// Where everything about a function is.
pub fn folder_of(registry: &Path, namespace: &str, name: &str) -> PathBuf {
    registry.join("run").join(namespace).join(name)
}

/// The names in a namespace that a function has or had, in order.
pub fn names(registry: &Path, namespace: &str) -> Vec<String> {
    let entries = std::fs::read_dir(registry.join("run").join(namespace)).into_iter().flatten();
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// What is known of the function in this folder; nothing where it has ended in good order.
pub fn entry(folder: &Path) -> Result<Option<Entry>, String> {
    if let Some(running) = live(folder)? {
        return Ok(Some(Entry::Live(running)));
    }
    let state = read_bounded(&folder.join("state.json")).ok();
    let state = state.and_then(|text| serde_json::from_str(&text).ok());
    if !lock_is_held(&folder.join("lock")) {
        return Ok(state.map(Entry::Dead));
    }
    let pid = read_bounded(&folder.join("lock")).ok().and_then(|text| text.trim().parse().ok());
    Ok(pid.filter(|pid| process_exists(*pid)).map(|pid| Entry::Starting { pid }))
}

/// Removes what a dead processor left, under its lock, so that nothing of a new one goes.
pub fn clean(folder: &Path) {
    let Ok(lock) = File::open(folder.join("lock")) else { return };
    if lock.try_lock().is_ok() {
        for file in ["state.json", "state.json.new", "admin.sock"] {
            let _ = std::fs::remove_file(folder.join(file));
        }
    }
}

/// The state of the function in this folder, or nothing where its processor has ended.
fn live(folder: &Path) -> Result<Option<Running>, String> {
    let file = folder.join("state.json");
    let text = match read_bounded(&file) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(format!("{} cannot be read: {e}", file.display())),
    };
    let running: Running = serde_json::from_str(&text).map_err(|_| {
        format!("{} is not the state of a function; start the function anew", file.display())
    })?;
    Ok((process_exists(running.pid) && lock_is_held(&folder.join("lock"))).then_some(running))
}

fn read_bounded(file: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    File::open(file)?.take(STATE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

fn process_exists(pid: i32) -> bool {
    // A process of another user refuses the test signal, and is there all the same.
    rustix::process::Pid::from_raw(pid)
        .is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

/// Process ids are used again, so a live one proves little; the lock is held for a processor's
/// whole life. The probe takes it, shared and for an instant, only if nobody holds it.
pub fn lock_is_held(lock: &Path) -> bool {
    match File::open(lock) {
        Ok(file) => matches!(file.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock)),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn function(registry: &Path, name: &str, pid: u32) -> File {
        let folder = registry.join("run/default").join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let state = format!(r#"{{"name":"{name}","pid":{pid},"url":"http://127.0.0.1:1"}}"#);
        std::fs::write(folder.join("state.json"), state).unwrap();
        File::create(folder.join("lock")).unwrap()
    }

    #[test]
    fn the_folder_follows_the_environment() {
        let home = Path::new("/home/ada");
        let of = |vars: &[(&str, &str)]| folder(&Surroundings::made_up(home, home, vars));
        assert_eq!(of(&[("HOME", "/h")]), Ok("/h/.local/state/nuclio".into()));
        let xdg = ("XDG_STATE_HOME", "/s");
        assert_eq!(of(&[("HOME", "/h"), xdg]), Ok("/s/nuclio".into()));
        assert_eq!(of(&[("HOME", "/h"), xdg, ("NUCLIO_STATE_DIR", "n")]), Ok("/home/ada/n".into()));
        assert!(of(&[]).is_err());
    }

    #[test]
    fn only_a_live_function_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let told = |name: &str| find(dir.path(), "default", name).unwrap_err();
        expect!["no function called hello is running in namespace default; start it with: nuclio run hello"]
            .assert_eq(&told("hello"));

        let lock = function(dir.path(), "hello", std::process::id());
        assert!(told("hello").starts_with("no function"), "nobody holds the lock");
        lock.lock().unwrap();
        let running = find(dir.path(), "default", "hello").unwrap();
        assert_eq!(running.url.as_deref(), Some("http://127.0.0.1:1"));

        // The largest pid Linux gives is 4194304.
        let dead = function(dir.path(), "dead", 4_194_305);
        dead.lock().unwrap();
        let told = ["dead", "helo", "other"].map(told).join("\n");
        expect![[r#"
            no function called dead is running in namespace default; running there: hello; start it with: nuclio run dead
            no function called helo is running in namespace default; did you mean hello? Otherwise start it with: nuclio run helo
            no function called other is running in namespace default; running there: hello; start it with: nuclio run other"#]]
        .assert_eq(&told);
    }
}
