//! Which languages are installed: reads `runtimes/*/runtime.toml` and matches files to them.
//!
//! Knows only what choosing a language needs; how its workers are started is the processor's.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::locate::Surroundings;
use crate::near::nearest;

/// Endings of languages that exist in the world, so that a file whose runtime is not installed
/// is told apart from a file that no runtime could ever run.
const KNOWN_ENDINGS: [(&str, &str); 14] = [
    (".py", "python"),
    (".js", "nodejs"),
    (".mjs", "nodejs"),
    (".cjs", "nodejs"),
    (".ts", "nodejs"),
    (".sh", "shell"),
    (".rb", "ruby"),
    (".go", "golang"),
    (".java", "java"),
    (".cs", "dotnetcore"),
    (".lua", "lua"),
    (".php", "php"),
    (".pl", "perl"),
    (".rs", "rust"),
];

/// Longest first line read in search of a shebang; the kernel itself reads 256 bytes.
const SHEBANG_BYTES_MAX: usize = 256;

/// One installed language.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub struct Runtime {
    pub id: String,
    #[serde(default)]
    pub names: Vec<String>,
    #[serde(default)]
    pub extensions: Vec<String>,
    #[serde(default)]
    pub shebangs: Vec<String>,
    /// Files that make the folder they stand in one piece of code, such as `Cargo.toml`.
    #[serde(default)]
    pub packages: Vec<String>,
    /// The `nuclio run` flag that names another interpreter, without its dashes.
    #[serde(default)]
    pub interpreter_flag: Option<String>,
    /// The interpreter unless another is named, and its name when a version is asked for.
    #[serde(default)]
    pub interpreter: String,
    #[serde(default)]
    pub interpreter_versioned: String,
    /// The command that installs what `{code}` needs and prints the interpreter to use.
    #[serde(default)]
    pub install: Vec<String>,
    /// Any program on `PATH` can be its handler.
    #[serde(default)]
    pub programs: bool,
}

impl Runtime {
    /// How line comments of the language start.
    pub fn comment_prefix(&self) -> &'static str {
        match &*self.id {
            "nodejs" | "golang" | "java" | "dotnetcore" | "rust" | "php" => "//",
            "lua" => "--",
            _ => "#",
        }
    }

    /// The program on `PATH` that a handler names, where this runtime runs programs.
    pub fn program(&self, handler: &str, around: &Surroundings) -> Option<PathBuf> {
        let name = handler.split_once(':').map_or(handler, |(name, _)| name);
        let may_be = self.programs && !name.is_empty() && !name.contains('/');
        may_be.then(|| around.in_path(name))?
    }

    fn has_ending_of(&self, name: &str) -> bool {
        self.extensions.iter().any(|ending| ends_with(name, ending))
            || self.packages.iter().any(|package| package == name)
    }

    /// The file in a folder that makes it a package of this language.
    pub fn package_in(&self, folder: &Path) -> Option<PathBuf> {
        self.packages.iter().map(|name| folder.join(name)).find(|file| file.is_file())
    }

    /// "python (.py)"
    fn shown(&self) -> String {
        if self.extensions.is_empty() {
            self.id.clone()
        } else {
            format!("{} ({})", self.id, self.extensions.join(" "))
        }
    }
}

/// Every installed language.
#[derive(Debug, Default)]
pub struct Catalog {
    pub folder: PathBuf,
    pub runtimes: Vec<Runtime>,
}

impl Catalog {
    /// Reads every `runtime.toml` one level below `folder`; one message a file that is wrong.
    pub fn read(folder: &Path) -> Result<Self, Vec<String>> {
        let entries = std::fs::read_dir(folder).map_err(|e| {
            vec![format!("the runtimes folder {} cannot be read: {e}", folder.display())]
        })?;
        let (mut runtimes, mut wrong) = (Vec::new(), Vec::new());
        for entry in entries.flatten() {
            let file = entry.path().join("runtime.toml");
            if !file.is_file() {
                continue;
            }
            match read_one(&file) {
                Ok(runtime) => runtimes.push(runtime),
                Err(problem) => wrong.push(format!("{}: {problem}", file.display())),
            }
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        if runtimes.is_empty() {
            return Err(vec![format!(
                "no runtime is installed: the folder {} holds no */runtime.toml; set \
                 NUCLIO_RUNTIMES to the folder that does",
                folder.display()
            )]);
        }
        runtimes.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(Self { folder: folder.to_owned(), runtimes })
    }

    /// The language that runs programs, if one does.
    pub fn of_programs(&self) -> Option<&Runtime> {
        self.runtimes.iter().find(|runtime| runtime.programs)
    }

    /// Finds "python" and "python:3.13".
    pub fn by_name(&self, name: &str) -> Result<&Runtime, String> {
        let language = name.split_once(':').map_or(name, |(language, _version)| language);
        let wanted = |r: &&Runtime| r.id == language || r.names.iter().any(|n| n == language);
        if let Some(runtime) = self.runtimes.iter().find(wanted) {
            return Ok(runtime);
        }
        let installed = self.names();
        if let Some(near) = nearest(language, &installed) {
            return Err(format!("{language} is no runtime; did you mean {near}?"));
        }
        if KNOWN_ENDINGS.iter().any(|(_, known)| *known == language) {
            return Err(format!(
                "the runtime {language} is not installed here; installed: {}",
                self.shown()
            ));
        }
        Err(format!("{language} is no runtime; installed: {}", self.shown()))
    }

    /// Chooses the language of a file by its ending, else by its first line.
    pub fn of_file(&self, shown: &str, first_bytes: &[u8]) -> Result<&Runtime, String> {
        let name = shown.rsplit('/').next().unwrap_or(shown);
        let installed = self.runtimes.iter().find(|r| r.has_ending_of(name));
        if let Some(runtime) = installed {
            return Ok(runtime);
        }
        if let Some((_, language)) = known_ending(name) {
            return Err(format!(
                "{shown}: its runtime, {language}, is not installed here; installed: {}",
                self.shown()
            ));
        }
        match shebang_program(first_bytes) {
            Some(program) => self.by_shebang(&program).ok_or_else(|| {
                format!(
                    "{shown}: no installed runtime runs files that begin with #! and {program}; \
                     installed: {}",
                    self.shown()
                )
            }),
            None => Err(format!(
                "{shown}: its name does not tell its runtime; say --runtime NAME; installed: {}",
                self.shown()
            )),
        }
    }

    /// Whether the name ends like a source file of any language, installed or not.
    pub fn knows_ending(&self, name: &str) -> bool {
        known_ending(name).is_some() || self.runtimes.iter().any(|r| r.has_ending_of(name))
    }

    /// "nodejs (.js .mjs), python (.py)"
    pub fn shown(&self) -> String {
        self.runtimes.iter().map(Runtime::shown).collect::<Vec<_>>().join(", ")
    }

    /// Every name of every installed language.
    pub fn names(&self) -> Vec<&str> {
        self.runtimes
            .iter()
            .flat_map(|r| std::iter::once(&*r.id).chain(r.names.iter().map(|n| &**n)))
            .collect()
    }

    /// `python3.11` is looked up whole, then as `python3`, then as `python`.
    fn by_shebang(&self, program: &str) -> Option<&Runtime> {
        let (mut name, mut shorter) = (program, true);
        while shorter {
            let found = self.runtimes.iter().find(|r| r.shebangs.iter().any(|s| s == name));
            if found.is_some() {
                return found;
            }
            let cut = name.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('.');
            shorter = cut.len() < name.len() && !cut.is_empty();
            name = cut;
        }
        None
    }
}

fn read_one(file: &Path) -> Result<Runtime, String> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("cannot be read: {e}"))?;
    // The parser's message spans several lines and draws the place; the last line says what.
    toml::from_str(&text).map_err(|e| format!("is no runtime description: {}", e.message()))
}

fn known_ending(name: &str) -> Option<(&'static str, &'static str)> {
    KNOWN_ENDINGS.into_iter().find(|(ending, _)| ends_with(name, ending))
}

/// A name that is nothing but an ending has none: `.py` is a hidden file.
fn ends_with(name: &str, ending: &str) -> bool {
    name.len() > ending.len() && name.ends_with(ending)
}

/// The program's base name in `#!/usr/bin/env -S python3 -u` or `#!/usr/bin/python3`.
fn shebang_program(first_bytes: &[u8]) -> Option<String> {
    let head = &first_bytes[..first_bytes.len().min(SHEBANG_BYTES_MAX)];
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let base = |word: &str| word.rsplit('/').next().unwrap_or(word).to_owned();
    let mut words = line.split_whitespace();
    let program = base(words.next()?);
    if program != "env" {
        return Some(program);
    }
    words.find(|word| !word.starts_with('-') && !word.contains('=')).map(base)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn python() -> Runtime {
        let words = |list: &[&str]| list.iter().map(|&word| word.to_owned()).collect();
        Runtime {
            id: "python".into(),
            names: words(&["python"]),
            extensions: words(&[".py"]),
            shebangs: words(&["python", "python3"]),
            packages: Vec::new(),
            interpreter_flag: Some("python".into()),
            interpreter: "python3".into(),
            interpreter_versioned: "python{version}".into(),
            install: Vec::new(),
            programs: false,
        }
    }

    fn only_python() -> Catalog {
        Catalog { folder: "/r".into(), runtimes: vec![python()] }
    }

    #[test]
    fn a_file_is_matched_by_its_ending_then_by_its_first_line() {
        let catalog = only_python();
        let choose =
            |name: &str, head: &str| catalog.of_file(name, head.as_bytes()).map(|r| r.id.clone());
        for (name, head) in [
            ("hello.py", ""),
            ("hello", "#!/usr/bin/python3.11\n"),
            ("hello", "#!/usr/bin/env python3\nx"),
            ("hello.bin", "#!/usr/bin/env -S PYTHONUTF8=1 python -u"),
        ] {
            assert_eq!(choose(name, head), Ok("python".into()), "{name} {head}");
        }
        let wrong = [
            ("hello.js", ""),
            ("hello.xyz", "x = 1"),
            ("hello", "#!/usr/bin/awk -f\n"),
            (".py", ""),
        ];
        let told: Vec<_> =
            wrong.iter().map(|(n, h)| choose(n, h).unwrap_or_else(|problem| problem)).collect();
        expect![[r#"
            hello.js: its runtime, nodejs, is not installed here; installed: python (.py)
            hello.xyz: its name does not tell its runtime; say --runtime NAME; installed: python (.py)
            hello: no installed runtime runs files that begin with #! and awk; installed: python (.py)
            .py: its name does not tell its runtime; say --runtime NAME; installed: python (.py)"#]]
        .assert_eq(&told.join("\n"));
    }

    #[test]
    fn a_runtime_is_named_with_or_without_its_version() {
        let catalog = only_python();
        assert_eq!(catalog.by_name("python:3.13").unwrap().id, "python");
        let told = ["pyhton", "golang", "cobol"].map(|n| catalog.by_name(n).unwrap_err());
        expect![[r#"
            pyhton is no runtime; did you mean python?
            the runtime golang is not installed here; installed: python (.py)
            cobol is no runtime; installed: python (.py)"#]]
        .assert_eq(&told.join("\n"));
    }

    #[test]
    fn a_broken_description_is_named() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Catalog::read(dir.path()).unwrap_err()[0].contains("no runtime is installed"));
        std::fs::create_dir(dir.path().join("odd")).unwrap();
        std::fs::write(dir.path().join("odd/runtime.toml"), "names = 3").unwrap();
        let told = Catalog::read(dir.path()).unwrap_err().join("\n");
        expect![[r#"DIR/odd/runtime.toml: is no runtime description: invalid type: integer `3`, expected a sequence"#]]
            .assert_eq(&told.replace(dir.path().to_str().unwrap(), "DIR"));
    }
}
