//! Which program runs the user's code: file and fixed arguments, found once at the start.
//!
//! What is found is started by argument lists only; no text of a user or a client is ever given to a
//! shell to be read.

use std::env;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// Longest first line of a script that is read, as in the kernel.
const SHEBANG_BYTES_MAX: u64 = 256;
/// Runs scripts that name no interpreter.
const SHELL: &str = "/bin/sh";
/// In a folder without a named script, and with several: nuclio's own default.
const HANDLER_STEM: &str = "handler";
const ENDINGS: [&str; 2] = ["sh", "bash"];

/// A command line; arguments of the function follow it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The file to start.
    pub file: PathBuf,
    pub arguments: Vec<PathBuf>,
}

/// Finds it, or says what is wrong.
pub fn find(code: &Path, handler: &str) -> Result<Program, String> {
    let name = handler.split_once(':').map_or(handler, |(name, _)| name);
    let file = script(code, name)?;
    let file = match file {
        Some(file) => file,
        None if name.is_empty() => return Err(nothing_in(code)),
        None => on_path(name).ok_or_else(|| {
            let code = code.display();
            format!(
                "the handler {name} is neither a file in {code} nor a program on PATH; name one"
            )
        })?,
    };
    command_of(file)
}

/// The file that the handler names in the code; `None` if it names none there.
fn script(code: &Path, name: &str) -> Result<Option<PathBuf>, String> {
    if !code.is_dir() {
        let is_named = |part: Option<&std::ffi::OsStr>| part.is_some_and(|part| part == name);
        let is_file = is_named(code.file_name()) || is_named(code.file_stem());
        return Ok((name.is_empty() || is_file).then(|| code.to_owned()));
    }
    if name.is_empty() {
        return only_script(code);
    }
    let as_named = [code.join(name)];
    let with_ending = ENDINGS.map(|ending| code.join(format!("{name}.{ending}")));
    Ok(as_named.into_iter().chain(with_ending).find(|path| path.is_file()))
}

fn only_script(folder: &Path) -> Result<Option<PathBuf>, String> {
    let entries = folder.read_dir().map_err(|e| format!("{}: {e}", folder.display()))?;
    let is_script = |path: &PathBuf| {
        path.is_file() && path.extension().is_some_and(|end| ENDINGS.iter().any(|e| end == *e))
    };
    let mut scripts: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(is_script).collect();
    let handler =
        scripts.iter().position(|path| path.file_stem().is_some_and(|s| s == HANDLER_STEM));
    Ok(match (handler, scripts.len()) {
        (Some(index), _) => Some(scripts.swap_remove(index)),
        (None, 1) => scripts.pop(),
        _ => None,
    })
}

fn nothing_in(code: &Path) -> String {
    format!("{} has no script, or several; name one with --handler script.sh", code.display())
}

/// The program of that name in one of the folders of PATH.
pub fn on_path(name: &str) -> Option<PathBuf> {
    if name.is_empty() || name.contains('/') {
        return None;
    }
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(name)).find(|file| can_be_run(file))
}

fn can_be_run(file: &Path) -> bool {
    file.is_file() && access(file, Access::EXEC_OK).is_ok()
}

/// How a file is started: by the kernel if that can, else by the interpreter it names.
fn command_of(file: PathBuf) -> Result<Program, String> {
    let mut head = Vec::new();
    let read = File::open(&file).and_then(|f| f.take(SHEBANG_BYTES_MAX).read_to_end(&mut head));
    let can_be_run = can_be_run(&file);
    let shebang = head.strip_prefix(b"#!");
    // A program may well be one that only the kernel may read.
    if can_be_run && (read.is_err() || shebang.is_some() || is_binary(&head)) {
        return Ok(Program { file, arguments: Vec::new() });
    }
    let shown = file.display();
    read.map_err(|error| format!("{shown} cannot be read: {error}; let this user read it"))?;
    if is_binary(&head) {
        return Err(format!("{shown} is a program that is not executable; run chmod +x {shown}"));
    }
    let Some(line) = shebang else {
        return Ok(Program { file: SHELL.into(), arguments: vec![file] });
    };
    // As the kernel reads it: the interpreter, and the rest of the line as one argument.
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line).trim().to_owned();
    let (interpreter, rest) = line.split_once(char::is_whitespace).unwrap_or((&line, ""));
    let arguments = [rest.trim()].into_iter().filter(|rest| !rest.is_empty()).map(PathBuf::from);
    let program =
        Program { file: interpreter.into(), arguments: arguments.chain([file.clone()]).collect() };
    if !self::can_be_run(&program.file) {
        return Err(format!("{shown} begins with #!{interpreter}, which is no program here"));
    }
    Ok(program)
}

fn is_binary(head: &[u8]) -> bool {
    head.starts_with(b"\x7fELF") || head.contains(&0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = env::temp_dir().join(format!("nuclio-shell-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn file(&self, name: &str, text: &str, mode: u32) -> PathBuf {
            let path = self.0.join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn line(program: &Program) -> Vec<&Path> {
        std::iter::once(&program.file).chain(&program.arguments).map(PathBuf::as_path).collect()
    }

    #[test]
    fn scripts_are_started_by_the_kernel_or_by_their_interpreter() {
        let folder = Folder::new("scripts");
        let runs = folder.file("runs.sh", "#!/bin/sh\n", 0o755);
        let plain = folder.file("plain.sh", "echo\n", 0o644);
        let env = folder.file("env.sh", "#!/usr/bin/env -S sh -u\n", 0o644);
        assert_eq!(line(&find(&runs, "").unwrap()), [&runs]);
        assert_eq!(line(&find(&plain, "plain.sh:main").unwrap()), [Path::new(SHELL), &plain]);
        let found = find(&env, "env").unwrap();
        assert_eq!(line(&found), [Path::new("/usr/bin/env"), Path::new("-S sh -u"), &env]);
        assert_eq!(line(&find(&folder.0, "runs").unwrap()), [&runs]);
        assert!(find(&folder.0, "").unwrap_err().contains("or several"));
        let handler = folder.file("handler.sh", "#!/bin/sh\n", 0o755);
        assert_eq!(line(&find(&folder.0, "").unwrap()), [&handler]);
    }

    #[test]
    fn what_cannot_be_started_is_named() {
        let folder = Folder::new("wrong");
        let binary = folder.file("tool", "\x7fELF\0", 0o644);
        let lost = folder.file("lost.sh", "#!/no/such/shell\n", 0o644);
        assert!(find(&binary, "").unwrap_err().contains("chmod +x"));
        assert!(find(&lost, "").unwrap_err().contains("no program here"));
        assert!(find(&folder.0, "sh; id").unwrap_err().contains("nor a program on PATH"));
        assert!(find(&folder.0, "../../bin/sh x").is_err());
    }

    #[test]
    fn programs_come_from_path() {
        let folder = Folder::new("path");
        let found = find(&folder.0, "sh").unwrap();
        assert!(found.file.is_absolute() && found.arguments.is_empty(), "{found:?}");
    }
}
