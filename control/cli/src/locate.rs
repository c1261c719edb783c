//! Finds the programs and folders a command needs: processor, runtimes, Python, local registry.
//!
//! Each finder says in its error where it looked. Starts nothing and writes nothing.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// Where the command was typed: everything a finder may look at, so that tests can make it up.
pub struct Surroundings {
    pub cwd: PathBuf,
    /// The folder of this very program.
    pub exe_dir: PathBuf,
    vars: HashMap<OsString, OsString>,
}

impl Surroundings {
    pub fn of_this_process() -> Result<Self, String> {
        let cwd = std::env::current_dir()
            .map_err(|e| format!("the current folder cannot be read ({e}); change to another"))?;
        let exe = std::env::current_exe()
            .map_err(|e| format!("the path of this program cannot be read: {e}"))?;
        let exe_dir = exe.parent().map(Path::to_owned).unwrap_or_default();
        Ok(Self { cwd, exe_dir, vars: std::env::vars_os().collect() })
    }

    #[cfg(test)]
    pub fn made_up(cwd: &Path, exe_dir: &Path, vars: &[(&str, &str)]) -> Self {
        let vars = vars.iter().map(|(k, v)| (OsString::from(k), OsString::from(v))).collect();
        Self { cwd: cwd.to_owned(), exe_dir: exe_dir.to_owned(), vars }
    }

    /// An environment variable; an empty one counts as not set.
    pub fn var(&self, name: &str) -> Option<&OsStr> {
        self.vars.get(OsStr::new(name)).map(OsString::as_os_str).filter(|value| !value.is_empty())
    }

    /// A path as the user typed it, made absolute without following links: the `python3` of a
    /// virtual environment is a link that must stay one.
    pub fn absolute(&self, path: &Path) -> PathBuf {
        let mut out = PathBuf::new();
        for part in self.cwd.join(path).components() {
            match part {
                std::path::Component::CurDir => {}
                part => out.push(part),
            }
        }
        out
    }

    /// A path as the user would write it here: below the current folder, without that folder.
    pub fn shown(&self, path: &Path) -> String {
        match path.strip_prefix(&self.cwd) {
            Ok(below) if below.as_os_str().is_empty() => "this folder".into(),
            Ok(below) => below.display().to_string(),
            Err(_) => path.display().to_string(),
        }
    }

    /// A program by its name, in the folders of `PATH`.
    pub fn in_path(&self, program: &str) -> Option<PathBuf> {
        let path = self.var("PATH")?;
        std::env::split_paths(path)
            .filter(|folder| !folder.as_os_str().is_empty())
            .map(|folder| self.absolute(&folder.join(program)))
            .find(|candidate| can_be_run(candidate))
    }
}

/// The processor binary: `NUCLIO_PROCESSOR`, else beside this program, else in `PATH`.
pub fn processor(around: &Surroundings) -> Result<PathBuf, String> {
    if let Some(named) = around.var("NUCLIO_PROCESSOR") {
        let path = around.absolute(Path::new(named));
        return program_at(&path).map_err(|problem| {
            format!(
                "NUCLIO_PROCESSOR: {} {problem}; name the processor program, or unset it",
                path.display()
            )
        });
    }
    let beside = around.exe_dir.join("processor");
    if beside.is_file() {
        return program_at(&beside)
            .map_err(|problem| format!("{} {problem}; install nuclio anew", beside.display()));
    }
    around.in_path("processor").ok_or_else(|| {
        format!(
            "the processor program was not found: looked at {} and in every folder of PATH; \
             set NUCLIO_PROCESSOR to its path",
            beside.display()
        )
    })
}

/// The folder with one subfolder a language: `NUCLIO_RUNTIMES`, else near this program.
pub fn runtimes(around: &Surroundings) -> Result<PathBuf, String> {
    if let Some(named) = around.var("NUCLIO_RUNTIMES") {
        let path = around.absolute(Path::new(named));
        return if path.is_dir() {
            Ok(path)
        } else {
            Err(format!(
                "NUCLIO_RUNTIMES: {} is not a folder; name the folder that holds the runtimes \
                 (python and others), or unset it",
                path.display()
            ))
        };
    }
    let prefix = around.exe_dir.parent().unwrap_or(&around.exe_dir);
    // As unpacked, beside the program, and as installed into an environment.
    let places = [
        prefix.join("runtimes"),
        around.exe_dir.join("runtimes"),
        prefix.join("share/nuclio/runtimes"),
    ];
    places.iter().find(|path| path.is_dir()).cloned().ok_or_else(|| {
        let [above, beside, shared] = places.each_ref().map(|path| path.display());
        format!(
            "the runtimes folder was not found: looked at {above}, {beside} and {shared}; set \
             NUCLIO_RUNTIMES to its path"
        )
    })
}

/// The user's Python where they chose one: `--python`, an active virtual environment, one beside the
/// handler, or the one that this program is installed in. `None` leaves it to the processor, which takes `python3` from `PATH`.
pub fn python(
    around: &Surroundings,
    flag_name: &str,
    flag: Option<&OsStr>,
    code_dir: Option<&Path>,
) -> Result<Option<PathBuf>, String> {
    if let Some(named) = flag {
        return python_by_flag(around, named)
            .map(Some)
            .map_err(|told| format!("{flag_name}: {told}"));
    }
    if let Some(venv) = around.var("VIRTUAL_ENV") {
        let venv = around.absolute(Path::new(venv));
        return python_in(&venv).map(Some).map_err(|problem| {
            format!(
                "VIRTUAL_ENV: the virtual environment {} cannot be used: {problem}; activate \
                 another, run deactivate, or name an interpreter with --python",
                venv.display()
            )
        });
    }
    for name in [".venv", "venv"] {
        let Some(venv) = code_dir.map(|dir| dir.join(name)) else { continue };
        if venv.join("pyvenv.cfg").is_file() {
            return python_in(&venv).map(Some).map_err(|problem| {
                format!(
                    "the virtual environment beside the handler, {}, cannot be used: {problem}; \
                     make it anew, or name an interpreter with --python",
                    venv.display()
                )
            });
        }
    }
    // Installed by pip: the environment of this very program, though it may not be active.
    let home = around.exe_dir.parent().filter(|dir| dir.join("pyvenv.cfg").is_file());
    Ok(home.and_then(|venv| python_in(venv).ok()))
}

/// `--python` takes a program, a name to look up in `PATH`, or the folder of an environment.
fn python_by_flag(around: &Surroundings, named: &OsStr) -> Result<PathBuf, String> {
    let shown = named.display();
    let is_bare_name = !named.as_encoded_bytes().contains(&b'/');
    let path = around.absolute(Path::new(named));
    if path.is_dir() {
        return python_in(&path)
            .map_err(|problem| format!("{shown} is a folder and {problem}; name an interpreter"));
    }
    if path.is_file() && (!is_bare_name || can_be_run(&path)) {
        return program_at(&path)
            .map_err(|problem| format!("{shown} {problem}; name a Python interpreter"));
    }
    let found = named.to_str().filter(|_| is_bare_name).and_then(|name| around.in_path(name));
    found.ok_or_else(|| {
        let place = if is_bare_name { " here or in PATH" } else { "" };
        format!("{shown} does not exist{place}; name a Python interpreter, such as python3")
    })
}

fn python_in(venv: &Path) -> Result<PathBuf, String> {
    let tried = ["bin/python3", "bin/python"].map(|name| venv.join(name));
    match tried.iter().find(|path| path.symlink_metadata().is_ok()) {
        Some(path) => program_at(path).map_err(|problem| format!("{} {problem}", path.display())),
        None => Err(format!("{} does not exist", tried[0].display())),
    }
}

fn program_at(path: &Path) -> Result<PathBuf, String> {
    if !path.exists() {
        return Err(match path.symlink_metadata() {
            Ok(_) => "is a link to a file that does not exist".into(),
            Err(_) => "does not exist".into(),
        });
    }
    if !path.is_file() {
        return Err("is not a file".into());
    }
    if !can_be_run(path) {
        return Err("is not executable".into());
    }
    Ok(path.to_owned())
}

fn can_be_run(path: &Path) -> bool {
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use std::os::unix::fs::PermissionsExt;

    fn program(path: &Path) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn told<T: std::fmt::Debug>(dir: &Path, result: Result<T, String>) -> String {
        result.unwrap_err().replace(dir.to_str().unwrap(), "DIR")
    }

    #[test]
    fn the_processor_is_searched_in_three_places_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let (exe_dir, path) = (dir.path().join("exe"), dir.path().join("path"));
        let around = |vars: &[(&str, &str)]| Surroundings::made_up(dir.path(), &exe_dir, vars);
        let path_var = ("PATH", path.to_str().unwrap());
        expect![[r#"the processor program was not found: looked at DIR/exe/processor and in every folder of PATH; set NUCLIO_PROCESSOR to its path"#]]
            .assert_eq(&told(dir.path(), processor(&around(&[path_var]))));
        program(&path.join("processor"));
        assert_eq!(processor(&around(&[path_var])).unwrap(), path.join("processor"));
        program(&exe_dir.join("processor"));
        assert_eq!(processor(&around(&[path_var])).unwrap(), exe_dir.join("processor"));
        program(&dir.path().join("mine"));
        let named = [path_var, ("NUCLIO_PROCESSOR", "mine")];
        assert_eq!(processor(&around(&named)).unwrap(), dir.path().join("mine"));
        let named = [path_var, ("NUCLIO_PROCESSOR", "gone")];
        expect![[
            r#"NUCLIO_PROCESSOR: DIR/gone does not exist; name the processor program, or unset it"#
        ]]
        .assert_eq(&told(dir.path(), processor(&around(&named))));
    }

    #[test]
    fn the_runtimes_folder_is_above_or_beside_the_program() {
        let dir = tempfile::tempdir().unwrap();
        let exe_dir = dir.path().join("bin");
        let around = |vars: &[(&str, &str)]| Surroundings::made_up(dir.path(), &exe_dir, vars);
        expect![[r#"the runtimes folder was not found: looked at DIR/runtimes, DIR/bin/runtimes and DIR/share/nuclio/runtimes; set NUCLIO_RUNTIMES to its path"#]]
            .assert_eq(&told(dir.path(), runtimes(&around(&[]))));
        let shared = dir.path().join("share/nuclio/runtimes");
        std::fs::create_dir_all(&shared).unwrap();
        assert_eq!(runtimes(&around(&[])).unwrap(), shared);
        std::fs::create_dir_all(exe_dir.join("runtimes")).unwrap();
        assert_eq!(runtimes(&around(&[])).unwrap(), exe_dir.join("runtimes"));
        std::fs::create_dir_all(dir.path().join("runtimes")).unwrap();
        assert_eq!(runtimes(&around(&[])).unwrap(), dir.path().join("runtimes"));
        assert!(runtimes(&around(&[("NUCLIO_RUNTIMES", "nowhere")])).is_err());
    }

    #[test]
    fn python_comes_from_the_flag_the_active_or_the_neighbouring_environment() {
        let dir = tempfile::tempdir().unwrap();
        let code = dir.path().join("code");
        std::fs::create_dir_all(&code).unwrap();
        let around = |vars: &[(&str, &str)]| Surroundings::made_up(dir.path(), dir.path(), vars);
        let find = |vars: &[(&str, &str)], flag: Option<&str>| {
            python(&around(vars), "--python", flag.map(OsStr::new), Some(&code))
        };
        assert_eq!(find(&[], None), Ok(None));

        program(&code.join("venv/bin/python"));
        assert_eq!(find(&[], None), Ok(None), "a folder without pyvenv.cfg is no environment");
        std::fs::write(code.join("venv/pyvenv.cfg"), "").unwrap();
        assert_eq!(find(&[], None), Ok(Some(code.join("venv/bin/python"))));

        program(&dir.path().join("active/bin/python3"));
        let active = [("VIRTUAL_ENV", "active")];
        assert_eq!(find(&active, None), Ok(Some(dir.path().join("active/bin/python3"))));
        assert_eq!(
            find(&active, Some("code/venv")),
            Ok(Some(code.join("venv/bin/python"))),
            "the flag wins, and takes the folder of an environment too"
        );
        let path = dir.path().join("active/bin");
        assert_eq!(
            find(&[("PATH", path.to_str().unwrap())], Some("python3")),
            Ok(Some(path.join("python3")))
        );
        expect![[r#"VIRTUAL_ENV: the virtual environment DIR/gone cannot be used: DIR/gone/bin/python3 does not exist; activate another, run deactivate, or name an interpreter with --python"#]]
            .assert_eq(&told(dir.path(), find(&[("VIRTUAL_ENV", "gone")], None)));
        expect!["--python: python9 does not exist here or in PATH; name a Python interpreter, such as python3"]
            .assert_eq(&told(dir.path(), find(&[], Some("python9"))));
        std::fs::write(dir.path().join("plain"), "").unwrap();
        expect!["--python: ./plain is not executable; name a Python interpreter"]
            .assert_eq(&told(dir.path(), find(&[], Some("./plain"))));
    }
}
