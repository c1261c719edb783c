//! Which language serves the code, and with which command line: `runtime.toml`.
//!
//! Adding a language is adding a folder; nothing here knows any of them by name.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::ask::ask;

/// A `runtime.toml` larger than this is another kind of file.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Languages in one folder.
const RUNTIMES_MAX: usize = 64;
/// The first line of a script that names its interpreter.
const SHEBANG_BYTES_MAX: usize = 256;

/// What a language's folder says about it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct RuntimeFile {
    pub id: String,
    /// What `spec.runtime` may say for it.
    #[serde(default)]
    pub names: Vec<String>,
    /// Of its source files, each with the dot.
    #[serde(default)]
    pub extensions: Vec<String>,
    /// Programs that a script's first line may name.
    #[serde(default)]
    pub shebangs: Vec<String>,
    /// The worker's command line; `{interpreter}` and `{runtime}` are replaced.
    pub command: Vec<String>,
    /// The program that runs the code unless another is given; empty for none.
    #[serde(default)]
    pub interpreter: String,
    /// Its name when a version is asked for; `{version}` is replaced.
    #[serde(default)]
    pub interpreter_versioned: String,
    /// The flag that names another: `python` for `--python`.
    #[serde(default)]
    pub interpreter_flag: String,
    /// Arguments that make the interpreter print the path of its real program. Asked once, and
    /// only when the program found is a script that starts another.
    #[serde(default)]
    pub interpreter_real: Vec<String>,
    /// The command also makes a process that forks workers, when it finds `NUCLIO_ZYGOTE_FD` in its
    /// environment instead of `NUCLIO_WORKER_FD`.
    #[serde(default)]
    pub zygote: bool,
    /// Its workers take several events in one call of the handler.
    #[serde(default)]
    pub batches: bool,
    /// Its handlers read a request's body while it comes.
    #[serde(default)]
    pub streams_requests: bool,
    #[serde(default = "one")]
    pub max_inflight_sync: u32,
    /// Environment of its workers.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The same, only where the code may change at any moment.
    #[serde(default)]
    pub env_watch: BTreeMap<String, String>,
    /// The same, only for the worker of `--debug`.
    #[serde(default)]
    pub env_debug: BTreeMap<String, String>,
    /// The same, only for the zygote and so for what it forks; what is set already stays.
    #[serde(default)]
    pub env_zygote: BTreeMap<String, String>,
}

fn one() -> u32 {
    1
}

/// A language and the folder it was found in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    pub file: RuntimeFile,
    pub folder: PathBuf,
}

/// The languages of this installation, in the order of their ids.
pub fn load_all(folder: &Path) -> Result<Vec<Runtime>, String> {
    let here = folder.display();
    let entries = fs::read_dir(folder).map_err(|error| {
        format!("the folder of the runtimes, {here}, cannot be read: {error}; give --runtimes DIR")
    })?;
    let mut runtimes = Vec::new();
    for entry in entries.flatten().take(RUNTIMES_MAX) {
        let path = entry.path().join("runtime.toml");
        if path.is_file() {
            runtimes.push(load(&path)?);
        }
    }
    if runtimes.is_empty() {
        return Err(format!("no <language>/runtime.toml in {here}; give --runtimes DIR"));
    }
    runtimes.sort_by(|a, b| a.file.id.cmp(&b.file.id));
    Ok(runtimes)
}

fn load(path: &Path) -> Result<Runtime, String> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text))
        .map_err(|error| format!("{}: {error}", path.display()))?;
    let file: RuntimeFile =
        toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    if file.command.is_empty() {
        return Err(format!("{}: command is empty; list program and arguments", path.display()));
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
    Ok(Runtime { file, folder })
}

/// The language that `spec.runtime` names, else the one that the code's own file tells.
pub fn choose<'a>(
    runtimes: &'a [Runtime],
    wanted: &str,
    code: &Path,
) -> Result<&'a Runtime, String> {
    if !wanted.is_empty() {
        let named = |runtime: &&Runtime| runtime.names().any(|name| name == wanted);
        return runtimes.iter().find(named).ok_or_else(|| {
            format!("spec.runtime: {wanted:?} is not known here; write one of: {}", list(runtimes))
        });
    }
    by_extension(runtimes, code).or_else(|| by_shebang(runtimes, code)).ok_or_else(|| {
        let code = code.display();
        format!("spec.runtime: does not follow from {code}; write one of: {}", list(runtimes))
    })
}

fn list(runtimes: &[Runtime]) -> String {
    runtimes.iter().map(|runtime| runtime.file.id.as_str()).collect::<Vec<_>>().join(", ")
}

fn by_extension<'a>(runtimes: &'a [Runtime], code: &Path) -> Option<&'a Runtime> {
    let extension = format!(".{}", code.extension()?.to_str()?);
    runtimes.iter().find(|runtime| runtime.file.extensions.contains(&extension))
}

fn by_shebang<'a>(runtimes: &'a [Runtime], code: &Path) -> Option<&'a Runtime> {
    let line = shebang(code)?;
    // `#!/usr/bin/env -S python3 -u` and `#!/usr/bin/python3` both end in a known program.
    let mut words = line.split_whitespace();
    let first = words.next()?;
    let is_env = Path::new(first).file_name().is_some_and(|name| name == "env");
    let program = if is_env { words.find(|word| !word.starts_with('-'))? } else { first };
    let program = Path::new(program).file_name()?.to_str()?;
    runtimes.iter().find(|runtime| runtime.file.shebangs.iter().any(|name| name == program))
}

/// The first line of a script, without `#!`.
fn shebang(path: &Path) -> Option<String> {
    if !path.is_file() {
        return None;
    }
    let mut start = Vec::with_capacity(SHEBANG_BYTES_MAX);
    File::open(path).ok()?.take(SHEBANG_BYTES_MAX as u64).read_to_end(&mut start).ok()?;
    let line = start.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    Some(String::from_utf8_lossy(line).into_owned())
}

impl Runtime {
    /// What `spec.runtime` may say for it.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let others = self.file.names.iter().filter(|name| **name != self.file.id);
        std::iter::once(self.file.id.as_str()).chain(others.map(String::as_str))
    }

    /// The program that runs the code: the one given, else the version asked for, else the default;
    /// an empty path for a language that needs none.
    pub fn find_interpreter(
        &self,
        given: Option<&Path>,
        version: Option<&str>,
    ) -> Result<PathBuf, String> {
        let flag = &self.file.interpreter_flag;
        if let Some(given) = given {
            let found = find_program(given)
                .ok_or_else(|| format!("--{flag}: {} is no program", given.display()))?;
            return Ok(self.real_program(found));
        }
        if self.file.interpreter.is_empty() {
            return Ok(PathBuf::new());
        }
        let mut names = Vec::new();
        if let Some(version) = version.filter(|_| !self.file.interpreter_versioned.is_empty()) {
            names.push(self.file.interpreter_versioned.replace("{version}", version));
        }
        names.push(self.file.interpreter.clone());
        names.dedup();
        match names.iter().find_map(|name| find_program(Path::new(name))) {
            Some(found) => Ok(self.real_program(found)),
            None => Err(format!(
                "the interpreter {} is not on PATH; install it, or give --{flag} PATH",
                names.join(" or ")
            )),
        }
    }

    /// A version manager's script costs each worker a detour: what it starts is found out once.
    fn real_program(&self, found: PathBuf) -> PathBuf {
        if self.file.interpreter_real.is_empty() || shebang(&found).is_none() {
            return found;
        }
        let answer = ask(&found, &self.file.interpreter_real).unwrap_or_default();
        let real = Path::new(answer.trim());
        if real.is_absolute() && is_program(real) { real.to_path_buf() } else { found }
    }

    /// The worker's command line.
    pub fn command_line(&self, interpreter: &Path) -> Vec<String> {
        let interpreter = interpreter.to_string_lossy();
        let runtime = self.folder.to_string_lossy();
        let fill = |part: &String| {
            part.replace("{interpreter}", &interpreter).replace("{runtime}", &runtime)
        };
        self.file.command.iter().map(fill).collect()
    }
}

/// A program by path, or by name on PATH.
fn find_program(program: &Path) -> Option<PathBuf> {
    if program.as_os_str().is_empty() {
        return None;
    }
    if program.components().count() > 1 {
        return is_program(program).then(|| std::path::absolute(program).ok())?;
    }
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(program)).find(|found| is_program(found))
}

fn is_program(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime(id: &str, extension: &str, shebang: &str) -> Runtime {
        let file = RuntimeFile {
            id: id.into(),
            names: vec![format!("{id}-too")],
            extensions: vec![extension.into()],
            shebangs: vec![shebang.into()],
            command: vec!["{interpreter}".into(), "-u".into(), "{runtime}/worker".into()],
            interpreter_flag: id.into(),
            ..RuntimeFile::default()
        };
        Runtime { file, folder: PathBuf::from("/r").join(id) }
    }

    #[test]
    fn the_language_follows_from_name_extension_or_shebang() {
        let folder = tempfile::tempdir().unwrap();
        let script = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let runtimes = [runtime("python", ".py", "python3"), runtime("shell", ".sh", "bash")];
        let plain = script("plain", "no shebang\n");
        let cases = [
            ("python", plain.clone(), Some("python")),
            ("shell-too", plain.clone(), Some("shell")),
            ("", PathBuf::from("/nowhere/x.py"), Some("python")),
            ("", script("a", "#!/usr/bin/env -S python3 -u\n"), Some("python")),
            ("", script("b", "#! /bin/bash\necho\n"), Some("shell")),
            ("", script("c", "#!/bin/zsh\n"), None),
            ("", plain, None),
            ("", folder.path().to_path_buf(), None),
            ("ruby", PathBuf::from("x.py"), None),
        ];
        for (wanted, code, id) in cases {
            let found = choose(&runtimes, wanted, &code);
            let found_id = found.as_ref().ok().map(|runtime| runtime.file.id.as_str());
            assert_eq!(found_id, id, "{wanted:?} {code:?} {found:?}");
        }
        let error = choose(&runtimes, "ruby", Path::new("x")).unwrap_err();
        assert_eq!(error, "spec.runtime: \"ruby\" is not known here; write one of: python, shell");
    }

    #[test]
    fn the_command_line_is_filled_in() {
        let line = runtime("python", ".py", "python3").command_line(Path::new("/usr/bin/p 3"));
        assert_eq!(line, ["/usr/bin/p 3", "-u", "/r/python/worker"]);
    }

    #[test]
    fn programs_are_found_or_named() {
        assert_eq!(find_program(Path::new("/bin/sh")), Some(PathBuf::from("/bin/sh")));
        assert!(find_program(Path::new("sh")).is_some_and(|path| path.is_absolute()));
        assert_eq!(find_program(Path::new("/etc/passwd")), None);
        let mut language = runtime("python", ".py", "python3");
        assert_eq!(language.find_interpreter(None, None).unwrap(), Path::new(""));
        language.file.interpreter = "no-such-program".into();
        language.file.interpreter_versioned = "no-such-{version}".into();
        assert_eq!(
            language.find_interpreter(None, Some("3.13")).unwrap_err(),
            "the interpreter no-such-3.13 or no-such-program is not on PATH; install it, or give \
             --python PATH"
        );
        let given = language.find_interpreter(Some(Path::new("/nowhere/python")), None);
        assert_eq!(given.unwrap_err(), "--python: /nowhere/python is no program");
    }

    #[test]
    fn a_script_that_starts_the_program_is_seen_through() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let shim = folder.path().join("shim");
        fs::write(&shim, "#!/bin/sh\n[ \"$1\" = where ] && echo /bin/sh\n").unwrap();
        fs::set_permissions(&shim, fs::Permissions::from_mode(0o755)).unwrap();
        let mut language = runtime("shell", ".sh", "sh");
        assert_eq!(language.find_interpreter(Some(&shim), None).unwrap(), shim);
        language.file.interpreter_real = vec!["where".into()];
        let found = language.find_interpreter(Some(&shim), None).unwrap();
        assert_eq!(found, Path::new("/bin/sh"));
    }

    #[test]
    fn mistakes_in_runtime_files_name_the_file() {
        let folder = tempfile::tempdir().unwrap();
        assert!(load_all(folder.path()).unwrap_err().contains("no <language>/runtime.toml"));
        let language = folder.path().join("x");
        fs::create_dir(&language).unwrap();
        fs::write(language.join("runtime.toml"), "id = \"x\"\ncommand = []\n").unwrap();
        assert!(load_all(folder.path()).unwrap_err().contains("x/runtime.toml: command is empty"));
        fs::write(language.join("runtime.toml"), "id = \"x\"\ncommand = [\"w\"]\n").unwrap();
        let all = load_all(folder.path()).unwrap();
        assert_eq!((all.len(), all[0].file.max_inflight_sync), (1, 1));
    }
}
