//! Makes a shared library out of a Rust source or package, by cargo.
//!
//! A single file gets a manifest in a folder of its own below the user's cache; crates that it needs
//! stand in a block of its first comment, `//! ```cargo`. Nothing is written beside the code.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs, thread};

use serde_json::Value;

use crate::Refusal;

/// Of the compiler's words this much is passed on: the first errors matter, the rest follows.
const WORDS_BYTES_MAX: u64 = 32 * 1024;
/// Cargo's own notes about what it makes, all of them; a few hundred bytes a crate.
const NOTES_BYTES_MAX: u64 = 16 << 20;
/// A source in which the block is looked for; it stands at the top.
const SOURCE_BYTES_MAX: u64 = 1 << 20;
const MANIFEST: &str = "Cargo.toml";

/// True for a Rust source, a package's folder and its manifest.
pub fn is_rust(code: &Path) -> bool {
    code.extension().is_some_and(|ending| ending == "rs")
        || code.file_name().is_some_and(|name| name == MANIFEST)
        || code.is_dir()
}

/// Builds the code and returns its library.
pub fn library_of(code: &Path) -> Result<PathBuf, Refusal> {
    let sdk = sdk_folder()?;
    let own = own_folder(code)?;
    let manifest = if code.is_dir() {
        code.join(MANIFEST)
    } else if code.file_name().is_some_and(|name| name == MANIFEST) {
        code.to_path_buf()
    } else if let Some(manifest) = package_of(code) {
        manifest
    } else {
        let manifest = write_manifest(code, &sdk, &own)?;
        let built = build(&manifest, &sdk, &own.join("target"));
        return built.map_err(|refusal| with_block_hint(refusal, code));
    };
    build(&manifest, &sdk, &own.join("target"))
}

/// The compiler tells of `cargo add`, for which a file alone has no place.
fn with_block_hint(mut refusal: Refusal, code: &Path) -> Refusal {
    if let Some(name) = missing_crate(&refusal.text) {
        refusal.text = format!(
            "{}\n{} alone has no Cargo.toml: name the crate in the first comment of the file:\n\
             //! ```cargo\n//! [dependencies]\n//! {name} = \"*\"\n//! ```",
            refusal.text,
            code.display()
        );
    }
    refusal
}

/// The crate that the compiler did not find.
fn missing_crate(words: &str) -> Option<&str> {
    let (_, rest) = words.split_once("or unlinked crate `")?;
    rest.split_once('`').map(|(name, _)| name)
}

/// The package that `src/lib.rs` is the root of: then its own manifest counts.
fn package_of(code: &Path) -> Option<PathBuf> {
    let source = code.parent().filter(|_| code.ends_with("src/lib.rs"))?;
    let manifest = source.parent()?.join(MANIFEST);
    manifest.is_file().then_some(manifest)
}

/// The SDK beside this program.
fn sdk_folder() -> Result<PathBuf, Refusal> {
    let program = env::current_exe().unwrap_or_default();
    let sdk = program.with_file_name("sdk");
    if sdk.join(MANIFEST).is_file() {
        return Ok(sdk);
    }
    Err(Refusal::usage(format!(
        "the Rust SDK is missing: {} has no {MANIFEST}; install nuclio anew",
        sdk.display()
    )))
}

/// Where what is made of this code is kept, from one start to the next.
fn own_folder(code: &Path) -> Result<PathBuf, Refusal> {
    let named = |name: &str| env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    let cache = named("XDG_CACHE_HOME")
        .or_else(|| Some(named("HOME")?.join(".cache")))
        .unwrap_or_else(env::temp_dir);
    let mut hasher = DefaultHasher::new();
    code.hash(&mut hasher);
    let folder = format!("{}-{:016x}", crate_name(code), hasher.finish());
    let own = cache.join("nuclio/native").join(folder);
    match fs::create_dir_all(&own) {
        Ok(()) => Ok(own),
        Err(error) => Err(Refusal::usage(format!(
            "{} cannot be made: {error}; set XDG_CACHE_HOME to a folder that can be written",
            own.display()
        ))),
    }
}

/// A name that cargo takes, from the file's.
fn crate_name(code: &Path) -> String {
    let stem = code.file_stem().unwrap_or_default().to_string_lossy();
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    format!("handler_{}", stem.chars().map(plain).collect::<String>())
}

fn write_manifest(code: &Path, sdk: &Path, own: &Path) -> Result<PathBuf, Refusal> {
    let shown = code.display();
    let mut source = String::new();
    fs::File::open(code)
        .and_then(|file| file.take(SOURCE_BYTES_MAX).read_to_string(&mut source))
        .map_err(|error| Refusal::usage(format!("{shown} cannot be read: {error}")))?;
    let name = crate_name(code);
    let (code, sdk) = (quoted(code)?, quoted(sdk)?);
    let text = format!(
        "# Made by nuclio for {shown}.\n\
         [package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
         [lib]\npath = {code}\ncrate-type = [\"cdylib\"]\n\n[workspace]\n\n\
         [dependencies.nuclio-sdk]\npath = {sdk}\n\n{}",
        block_of(&source)
    );
    let manifest = own.join(MANIFEST);
    // An unchanged one keeps its time, so that cargo has nothing to do; a new one is complete at
    // once, for another worker may read it.
    if fs::read_to_string(&manifest).is_ok_and(|have| have == text) {
        return Ok(manifest);
    }
    let fresh = own.join(format!("{MANIFEST}.{}", std::process::id()));
    match fs::write(&fresh, text).and_then(|()| fs::rename(&fresh, &manifest)) {
        Ok(()) => Ok(manifest),
        Err(error) => {
            Err(Refusal::usage(format!("{} cannot be written: {error}", manifest.display())))
        }
    }
}

/// A path as a string of TOML.
fn quoted(path: &Path) -> Result<String, Refusal> {
    match path.to_str() {
        Some(text) => Ok(Value::from(text).to_string()),
        None => Err(Refusal::usage(format!("{} is not UTF-8, as cargo wants", path.display()))),
    }
}

/// What stands between `//! ```cargo` and `//! ```.
fn block_of(source: &str) -> String {
    let comments = source.lines().map_while(|line| line.strip_prefix("//!"));
    let lines = comments.map(|line| line.strip_prefix(' ').unwrap_or(line));
    let block = lines.skip_while(|line| line.trim_end() != "```cargo").skip(1);
    block.take_while(|line| line.trim_end() != "```").flat_map(|line| [line, "\n"]).collect()
}

fn build(manifest: &Path, sdk: &Path, target: &Path) -> Result<PathBuf, Refusal> {
    let program = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut cargo = Command::new(program);
    cargo
        .args(["build", "--release", "--lib", "--quiet", "--color", "never"])
        .args(["--message-format", "json-render-diagnostics", "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(target)
        // A package may ask for the crate by its version: it gets the one that came with nuclio.
        .args(["--config", &format!("patch.crates-io.nuclio-sdk.path={}", quoted(sdk)?)])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = cargo.spawn().map_err(|error| {
        Refusal::usage(format!(
            "cargo cannot be started: {error}; install Rust (https://rustup.rs), or build the \
             library elsewhere and serve its .so"
        ))
    })?;
    let errors = child.stderr.take();
    let words = thread::spawn(move || errors.map(words_of).unwrap_or_default());
    let library = child.stdout.take().and_then(|notes| library_in(notes, manifest));
    let status = child.wait();
    let words = words.join().unwrap_or_default();
    match (status, library) {
        (Ok(status), Some(library)) if status.success() => Ok(library),
        (Ok(status), None) if status.success() => Err(Refusal::usage(format!(
            "{} makes no shared library; write crate-type = [\"cdylib\"] into its [lib]",
            manifest.display()
        ))),
        _ => Err(Refusal::usage(format!("the build failed:\n{}", words.trim_end()))),
    }
}

/// The compiler's words, the rest read and forgotten so that it does not wait for us.
fn words_of(errors: impl Read) -> String {
    let mut errors = BufReader::new(errors);
    let mut words = Vec::new();
    let _ = errors.by_ref().take(WORDS_BYTES_MAX).read_to_end(&mut words);
    let _ = std::io::copy(&mut errors, &mut std::io::sink());
    String::from_utf8_lossy(&words).into_owned()
}

/// The library that cargo says it has made of this package.
fn library_in(notes: impl Read, manifest: &Path) -> Option<PathBuf> {
    let mut library = None;
    let mut notes = BufReader::new(notes).take(NOTES_BYTES_MAX);
    let mut line = String::new();
    while notes.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
        if let Some(found) = library_of_note(&line, manifest) {
            library = Some(found);
        }
        line.clear();
    }
    let _ = std::io::copy(&mut notes.into_inner(), &mut std::io::sink());
    library
}

fn library_of_note(line: &str, manifest: &Path) -> Option<PathBuf> {
    let note: Value = serde_json::from_str(line).ok()?;
    let same = Path::new(note["manifest_path"].as_str()?).canonicalize().ok()
        == manifest.canonicalize().ok();
    let kinds = note["target"]["kind"].as_array()?;
    if note["reason"] != "compiler-artifact" || !same || !kinds.iter().any(|k| k == "cdylib") {
        return None;
    }
    let files = note["filenames"].as_array()?.iter().filter_map(Value::as_str);
    files.map(PathBuf::from).find(|file| file.extension().is_some_and(|ending| ending == "so"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_of_crates_is_found() {
        let source = "//! Scans.\n//!\n//! ```cargo\n//! [dependencies]\n//! regex = \"1\"\n//! ```\n\
                      use regex::Regex;\n//! ```cargo\n//! no\n//! ```\n";
        assert_eq!(block_of(source), "[dependencies]\nregex = \"1\"\n");
        assert_eq!(block_of("fn main() {}\n"), "");
        assert_eq!(block_of("//! ```cargo\n//! [a]"), "[a]\n");
    }

    #[test]
    fn a_missing_crate_is_named() {
        let words = "  | ^^^^^ use of unresolved module or unlinked crate `serde`\n";
        assert_eq!(missing_crate(words), Some("serde"));
        assert_eq!(missing_crate("error: expected `;`"), None);
    }

    #[test]
    fn names_suit_cargo() {
        assert_eq!(crate_name(Path::new("/x/my handler-2.rs")), "handler_my_handler_2");
        assert_eq!(crate_name(Path::new("/x/ünder.rs")), "handler__nder");
    }

    #[test]
    fn only_the_packages_own_library_counts() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = folder.path().join(MANIFEST);
        fs::write(&manifest, "").unwrap();
        let note = |kind: &str, path: &Path| {
            serde_json::json!({
                "reason": "compiler-artifact",
                "manifest_path": path,
                "target": { "kind": [kind] },
                "filenames": ["/t/libx.rlib", "/t/libx.so"],
            })
            .to_string()
        };
        let found = |line: &str| library_of_note(line, &manifest);
        assert_eq!(found(&note("cdylib", &manifest)), Some("/t/libx.so".into()));
        assert_eq!(found(&note("proc-macro", &manifest)), None);
        assert_eq!(found(&note("cdylib", Path::new("/elsewhere/Cargo.toml"))), None);
        assert_eq!(found("no JSON"), None);
    }
}
