//! What `nuclio run` is to serve: sorts out NAME, FILE, `-p` and `-f`, and finds the handler's file.
//!
//! Looks at files and opens them for reading; never says what is inside.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use crate::args::{Origins, RunArgs};
use crate::locate::Surroundings;
use crate::near::nearest;
use crate::output::Mistakes;
use crate::runtime_catalog::{Catalog, Runtime};

/// Names by which a folder's configuration is found, in this order.
const CONFIG_NAMES: [&str; 2] = ["function.yaml", "function.yml"];

/// The file that wins where a folder has several, without its ending: nuclio's own default.
const HANDLER_STEM: &str = "handler";

/// Files beside a handler that never hold one, by stem.
const NEVER_HANDLERS: [&str; 4] = ["__init__", "__main__", "setup", "conftest"];

pub const NOTHING_TO_SERVE: &str =
    "nothing to serve; write nuclio run FILE, such as nuclio run hello.py";

/// Most candidates named in one message.
const CANDIDATES_SHOWN_MAX: usize = 10;

/// What the user pointed at, as absolute paths; nothing of it has been opened yet.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Source {
    pub name: Option<String>,
    /// File or folder with the code.
    pub code: Option<PathBuf>,
    /// A function.yaml.
    pub config: Option<PathBuf>,
}

/// The code, found: what to serve and which language it is in.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// For the worker: the handler's file, or the folder that the handler's module is in.
    pub path: PathBuf,
    /// The handler's own file.
    pub file: PathBuf,
    pub runtime: Runtime,
}

/// Sorts out the arguments.
pub fn choose(
    args: &RunArgs,
    origins: &Origins,
    around: &Surroundings,
    catalog: &Catalog,
    mistakes: &mut Mistakes,
) -> Source {
    let mut source = Source::default();
    let mut given: Vec<(String, &str)> = Vec::new();
    let words = (args.first.as_deref(), args.second.as_deref());
    match words {
        (Some(name), Some(file)) => {
            source.name = Some(name.to_owned());
            given.push(("FILE".into(), file));
        }
        (Some(word), None) if is_file(word, around, catalog) => given.push(("FILE".into(), word)),
        (word, _) => source.name = word.map(str::to_owned),
    }
    given.extend(args.path.as_deref().map(|path| (origins.of("path"), path)));
    let mut configs: Vec<(String, &str)> = Vec::new();
    configs.extend(args.file.as_deref().map(|file| (origins.of("file"), file)));
    let (more, code): (Vec<_>, Vec<_>) = given.into_iter().partition(|(_, path)| is_config(path));
    configs.extend(more);
    let was_given = !code.is_empty() || !configs.is_empty();
    source.code = one_path(&code, "code", around, mistakes);
    source.config = one_path(&configs, "function.yaml", around, mistakes);
    if source.config.is_none() {
        source.config = source.code.as_deref().and_then(config_in);
    }
    if !was_given && let Some(program) = program_of_flags(args, around, catalog) {
        source.code = Some(program);
        return source;
    }
    match words {
        (Some(name), None) if !was_given => mistakes.add(format!(
            "there is no file {name}, and nothing to serve for a function of that name; write \
             nuclio run {name} FILE, or -f function.yaml"
        )),
        (Some(file), Some(name)) if source.code.is_none() && is_file(file, around, catalog) => {
            mistakes.add(format!("the name comes before the file; write nuclio run {name} {file}"))
        }
        (None, _) if !was_given => mistakes.add(NOTHING_TO_SERVE),
        _ => {}
    }
    source
}

/// `--handler jq` alone is enough: the program is the code.
fn program_of_flags(args: &RunArgs, around: &Surroundings, catalog: &Catalog) -> Option<PathBuf> {
    let runtime = match args.runtime.as_deref() {
        Some(name) => catalog.by_name(name).ok()?,
        None => catalog.of_programs()?,
    };
    runtime.program(args.handler.as_deref()?, around)
}

fn is_file(word: &str, around: &Surroundings, catalog: &Catalog) -> bool {
    around.absolute(Path::new(word)).exists()
        || word.contains('/')
        || catalog.knows_ending(word)
        || is_config(word)
}

fn is_config(path: &str) -> bool {
    [".yaml", ".yml", ".json"].iter().any(|ending| path.ends_with(ending))
}

/// The one path that all places agree on, made absolute; it exists.
fn one_path(
    given: &[(String, &str)],
    what: &str,
    around: &Surroundings,
    mistakes: &mut Mistakes,
) -> Option<PathBuf> {
    let (from, text) = given.first()?;
    let path = around.absolute(Path::new(text));
    if let Some((other_from, other)) = given.get(1) {
        let same = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if same(&path) != same(&around.absolute(Path::new(other))) {
            mistakes.add(format!(
                "{from} says {text} and {other_from} says {other}; name the {what} once"
            ));
        }
    }
    let found = exists(&path, text).map_err(|told| format!("{from}: {told}"));
    mistakes.keep(found.map(|()| path))
}

pub fn exists(path: &Path, shown: &str) -> Result<(), String> {
    if shown.contains("://") {
        return Err(format!("{shown} is a URL; get the code here first and name its file"));
    }
    let error = match path.metadata() {
        Ok(data) if data.is_file() || data.is_dir() => return Ok(()),
        Ok(_) => return Err(format!("{shown} is neither a file nor a folder")),
        Err(error) => error,
    };
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => Err(match neighbour(path) {
            Some(near) => format!("there is no file {shown}; did you mean {near}?"),
            None => format!("there is no file {shown}; write the path of one that exists"),
        }),
        ErrorKind::PermissionDenied => {
            Err(format!("{shown} cannot be reached: permission denied on a folder above it"))
        }
        _ => Err(format!("{shown} cannot be read: {error}")),
    }
}

/// A file in the same folder whose name differs by a slip.
fn neighbour(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let names = file_names(path.parent()?);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    nearest(name, &names).map(str::to_owned)
}

/// The function.yaml of a folder with code.
fn config_in(folder: &Path) -> Option<PathBuf> {
    CONFIG_NAMES.iter().map(|name| folder.join(name)).find(|path| path.is_file())
}

/// Finds the handler's file and its language. `handler` is what flags or function.yaml say.
pub fn find_code(
    path: &Path,
    handler: &str,
    runtime: Option<&Runtime>,
    catalog: &Catalog,
    around: &Surroundings,
) -> Result<Code, String> {
    if let Some(package) = package(path, runtime, catalog) {
        return Ok(package);
    }
    let by_programs = runtime.is_some_and(|runtime| runtime.programs).then_some(handler);
    let module = handler.split_once(':').map(|(module, _)| module).or(by_programs);
    let module = module.filter(|m| !m.is_empty());
    let program = runtime.and_then(|runtime| runtime.program(handler, around));
    let (file, path) = if path.is_dir() {
        match (module, program) {
            (Some(module), Some(program))
                if module_file(path, module, runtime, catalog).is_err() =>
            {
                (program.clone(), program)
            }
            (Some(module), _) => {
                let file = module_file(path, module, runtime, catalog).map_err(|told| {
                    format!(
                        "the handler names the module {module}, which is not in {}{told}; write one that is",
                        around.shown(path)
                    )
                })?;
                (file, path.to_owned())
            }
            (None, _) => {
                let file = only_candidate(path, runtime, catalog)
                    .map_err(|told| format!("{} {told}", around.shown(path)))?;
                (file.clone(), file)
            }
        }
    } else {
        if let Some(module) = module {
            check_module(path, module)?;
        }
        (path.to_owned(), path.to_owned())
    };
    let shown = around.shown(&file);
    let head = first_bytes(&file).map_err(|told| format!("{shown} {told}"))?;
    let of_programs = catalog.of_programs();
    let is_program = |r: &&Runtime| r.program(handler, around).as_deref() == Some(&*file);
    let runtime = match runtime.or(of_programs.filter(is_program)) {
        Some(runtime) => runtime.clone(),
        None => catalog.of_file(&shown, &head)?.clone(),
    };
    Ok(Code { path, file, runtime })
}

/// A folder that is code as a whole, in the language whose package file it holds; not if a handler
/// of another language is there, whose helper the package then is.
fn package(path: &Path, runtime: Option<&Runtime>, catalog: &Catalog) -> Option<Code> {
    let mut languages = catalog.runtimes.iter().filter(|r| runtime.is_none_or(|w| w.id == r.id));
    let (file, found) = languages.find_map(|r| Some((r.package_in(path)?, r)))?;
    let mut others = catalog.runtimes.iter().filter(|r| runtime.is_none() && r.id != found.id);
    if others.any(|other| !candidates(path, Some(other), catalog).is_empty()) {
        return None;
    }
    Some(Code { path: path.to_owned(), file, runtime: found.clone() })
}

/// `a.b:handler` and `b.py:handler` are both right for `.../b.py`.
fn check_module(file: &Path, module: &str) -> Result<(), String> {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    if module == name || module.rsplit('.').next() == Some(&*stem) {
        return Ok(());
    }
    Err(format!(
        "the handler names the module {module}, but the file is {name}; write {stem}:FUNCTION, or \
         name the other file"
    ))
}

/// `package.module` is `package/module.py`, or the package's own `__init__.py`; else the list of
/// files that there are.
fn module_file(
    folder: &Path,
    module: &str,
    runtime: Option<&Runtime>,
    catalog: &Catalog,
) -> Result<PathBuf, String> {
    let mut tried = vec![folder.join(module)];
    let base = folder.join(module.replace('.', "/"));
    for ending in endings(runtime, catalog) {
        tried.push(PathBuf::from(format!("{}{ending}", base.display())));
        tried.push(base.join(format!("__init__{ending}")));
    }
    let found = tried.into_iter().find(|path| path.is_file());
    found.ok_or_else(|| shown_list(&candidates(folder, runtime, catalog)))
}

/// The folder's `handler` file, else the only one that may be one.
fn only_candidate(
    folder: &Path,
    runtime: Option<&Runtime>,
    catalog: &Catalog,
) -> Result<PathBuf, String> {
    let names = candidates(folder, runtime, catalog);
    let stem_is = |name: &str| Path::new(name).file_stem().is_some_and(|s| s == HANDLER_STEM);
    let mut handlers = names.iter().filter(|name| stem_is(name));
    match (&names[..], handlers.next(), handlers.next()) {
        ([], ..) => Err(format!(
            "has no handler file; put one there that ends in {}, or name another folder",
            endings(runtime, catalog).join(" or ")
        )),
        ([name], ..) | (_, Some(name), None) => Ok(folder.join(name)),
        _ => Err(format!(
            "has several files that may hold the handler{}; name the one to serve, or say \
             --handler MODULE:FUNCTION",
            shown_list(&names)
        )),
    }
}

fn candidates(folder: &Path, runtime: Option<&Runtime>, catalog: &Catalog) -> Vec<String> {
    let endings = endings(runtime, catalog);
    let mut names = file_names(folder);
    names.retain(|name| {
        let Some(stem) = endings.iter().find_map(|end| name.strip_suffix(end)) else {
            return false;
        };
        let is_test = stem.starts_with("test_") || stem.ends_with("_test");
        !stem.is_empty() && !stem.starts_with('.') && !is_test && !NEVER_HANDLERS.contains(&stem)
    });
    names
}

fn endings<'a>(runtime: Option<&'a Runtime>, catalog: &'a Catalog) -> Vec<&'a str> {
    let all = catalog.runtimes.iter().filter(|r| runtime.is_none_or(|wanted| wanted.id == r.id));
    all.flat_map(|r| r.extensions.iter().map(String::as_str)).collect()
}

/// Sorted names of the files in a folder; none where it cannot be read.
fn file_names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.filter(|entry| entry.path().is_file());
    let mut names: Vec<String> =
        files.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

fn shown_list(names: &[String]) -> String {
    if names.is_empty() {
        return String::new();
    }
    let more = if names.len() > CANDIDATES_SHOWN_MAX { ", ..." } else { "" };
    let first = &names[..names.len().min(CANDIDATES_SHOWN_MAX)];
    format!(" ({}{more})", first.join(", "))
}

/// Opens the file as the worker will, and reads enough for its shebang.
fn first_bytes(file: &Path) -> Result<Vec<u8>, String> {
    let mut head = Vec::new();
    let read = File::open(file).and_then(|file| file.take(256).read_to_end(&mut head));
    match read {
        Ok(_) => Ok(head),
        Err(e) if e.kind() == ErrorKind::PermissionDenied => {
            Err("cannot be read: permission denied; let this user read it (chmod u+r)".into())
        }
        Err(e) => Err(format!("cannot be read: {e}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use expect_test::{Expect, expect};

    fn catalog() -> Catalog {
        let text = r#"
            id = "python"
            names = ["python"]
            extensions = [".py"]
            shebangs = ["python", "python3"]
        "#;
        Catalog { folder: "/r".into(), runtimes: vec![toml::from_str(text).unwrap()] }
    }

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        dir
    }

    /// What the arguments come to, or what is wrong with them.
    fn chosen(dir: &Path, words: &str) -> String {
        let line = ["nuclio", "run"].into_iter().chain(words.split_whitespace());
        let cli = crate::args::Cli::try_parse_from(line).unwrap();
        let crate::args::Command::Run(args) = cli.command else { panic!("{words}") };
        let around = Surroundings::made_up(dir, dir, &[]);
        let mut mistakes = Mistakes::default();
        let source = choose(&args, &Origins::default(), &around, &catalog(), &mut mistakes);
        let told = if mistakes.are_none() {
            let path = |path: Option<PathBuf>| path.map_or("-".into(), |p| p.display().to_string());
            let (code, config) = (path(source.code), path(source.config));
            format!("name {} code {code} config {config}", source.name.unwrap_or("-".into()))
        } else {
            mistakes.into_failure().lines.join("\n    ")
        };
        format!("{words}\n    {}", told.replace(dir.to_str().unwrap(), "DIR"))
    }

    fn check(files: &[&str], lines: &[&str], expected: &Expect) {
        let dir = folder(files);
        let told: Vec<_> = lines.iter().map(|line| chosen(dir.path(), line)).collect();
        expected.assert_eq(&told.join("\n"));
    }

    #[test]
    fn a_package_is_served_as_a_folder_unless_a_handler_is_beside_it() {
        let native = r#"
            id = "native"
            extensions = [".so", ".rs"]
            packages = ["Cargo.toml"]
        "#;
        let mut catalog = catalog();
        catalog.runtimes.push(toml::from_str(native).unwrap());
        let found = |files: &[&str]| {
            let dir = folder(files);
            let around = Surroundings::made_up(dir.path(), dir.path(), &[]);
            let code = find_code(dir.path(), "", None, &catalog, &around).unwrap();
            let path = code.path.strip_prefix(dir.path()).unwrap().display().to_string();
            (code.runtime.id, path)
        };
        let told = |id: &str, path: &str| (id.to_owned(), path.to_owned());
        assert_eq!(found(&["Cargo.toml", "build.rs", "src/lib.rs"]), told("native", ""));
        assert_eq!(found(&["Cargo.toml", "handler.py"]), told("python", "handler.py"));
        assert_eq!(found(&["handler.rs"]), told("native", "handler.rs"));
    }

    #[test]
    fn arguments_are_sorted_out() {
        check(
            &["hello.py", "plain", "f.yaml", "sub/function.yaml", "sub/a.py"],
            &[
                "hello.py",
                "./plain",
                "plain",
                "greeter hello.py",
                "greeter -p hello.py",
                "hello.py -p ./hello.py",
                "sub",
                "-f f.yaml",
                "f.yaml",
                "greeter -f f.yaml -p sub",
            ],
            &expect![[r#"
                hello.py
                    name - code DIR/hello.py config -
                ./plain
                    name - code DIR/plain config -
                plain
                    name - code DIR/plain config -
                greeter hello.py
                    name greeter code DIR/hello.py config -
                greeter -p hello.py
                    name greeter code DIR/hello.py config -
                hello.py -p ./hello.py
                    name - code DIR/hello.py config -
                sub
                    name - code DIR/sub config DIR/sub/function.yaml
                -f f.yaml
                    name - code - config DIR/f.yaml
                f.yaml
                    name - code - config DIR/f.yaml
                greeter -f f.yaml -p sub
                    name greeter code DIR/sub config DIR/f.yaml"#]],
        );
    }

    #[test]
    fn arguments_that_make_no_sense_are_told() {
        check(
            &["hello.py", "other.py", "f.yaml"],
            &[
                "",
                "greeter",
                "helo.py",
                "./nowhere/x",
                "hello.py greeter",
                "hello.py -p other.py",
                "f.yaml -f g.yaml",
                "-p https://example.org/x.py",
                "hello.py/x.py",
            ],
            &expect![[r#"

                    nothing to serve; write nuclio run FILE, such as nuclio run hello.py
                greeter
                    there is no file greeter, and nothing to serve for a function of that name; write nuclio run greeter FILE, or -f function.yaml
                helo.py
                    FILE: there is no file helo.py; did you mean hello.py?
                ./nowhere/x
                    FILE: there is no file ./nowhere/x; write the path of one that exists
                hello.py greeter
                    FILE: there is no file greeter; write the path of one that exists
                    the name comes before the file; write nuclio run greeter hello.py
                hello.py -p other.py
                    FILE says hello.py and --path says other.py; name the code once
                f.yaml -f g.yaml
                    --file says g.yaml and FILE says f.yaml; name the function.yaml once
                    --file: there is no file g.yaml; did you mean f.yaml?
                -p https://example.org/x.py
                    --path: https://example.org/x.py is a URL; get the code here first and name its file
                hello.py/x.py
                    FILE: there is no file hello.py/x.py; write the path of one that exists"#]],
        );
    }

    #[test]
    fn the_handlers_file_is_found() {
        let found = |files: &[&str], path: &str, handler: &str| {
            let dir = folder(files);
            let around = Surroundings::made_up(dir.path(), dir.path(), &[]);
            let path = around.absolute(Path::new(path));
            match find_code(&path, handler, None, &catalog(), &around) {
                Ok(code) => format!("{} for {}", code.path.display(), code.file.display()),
                Err(told) => told,
            }
            .replace(dir.path().to_str().unwrap(), "DIR")
        };
        let told = [
            found(&["hello.py"], "hello.py", ""),
            found(&["hello.py"], "hello.py", "hello:go"),
            found(&["hello.py"], "hello.py", "pkg.hello:go"),
            found(&["hello.py"], "hello.py", "other:go"),
            found(&["main.py", "test_main.py", "setup.py", ".x.py", "notes.txt"], ".", ""),
            found(&["handler.py", "lib.py"], ".", "go"),
            found(&["a.py", "b.py"], ".", ""),
            found(&["a.py", "b.py"], ".", "b:go"),
            found(&["a.py", "pkg/b.py"], ".", "pkg.b:go"),
            found(&["a.py", "pkg/__init__.py"], ".", "pkg:go"),
            found(&["a.py", "b.py"], ".", "c:go"),
            found(&["notes.txt"], ".", ""),
            found(&["hello.js"], "hello.js", ""),
        ];
        expect![[r#"
            DIR/hello.py for DIR/hello.py
            DIR/hello.py for DIR/hello.py
            DIR/hello.py for DIR/hello.py
            the handler names the module other, but the file is hello.py; write hello:FUNCTION, or name the other file
            DIR/main.py for DIR/main.py
            DIR/handler.py for DIR/handler.py
            this folder has several files that may hold the handler (a.py, b.py); name the one to serve, or say --handler MODULE:FUNCTION
            DIR for DIR/b.py
            DIR for DIR/pkg/b.py
            DIR for DIR/pkg/__init__.py
            the handler names the module c, which is not in this folder (a.py, b.py); write one that is
            this folder has no handler file; put one there that ends in .py, or name another folder
            hello.js: its runtime, nodejs, is not installed here; installed: python (.py)"#]].assert_eq(&told.join("\n"));
    }
}
