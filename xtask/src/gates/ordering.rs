//! Weakens each memory ordering and fence of the rings in turn; some model must fail each time.
//!
//! A site is a line of `rings/src` that ends in `// ord: NAME`. An ordering becomes `Relaxed`, a
//! fence disappears. A mutant that no model notices is an ordering without proof. What no model can
//! run, such as a signal handler, says so in its line: `// no model: REASON`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use super::{loom, settle};
use crate::runner::Runner;
use crate::source;

const MARK: &str = "// ord: ";
const NO_MODEL: &str = "// no model: ";
const STRONG: [&str; 4] = ["Release", "Acquire", "AcqRel", "SeqCst"];

/// One marked line.
#[derive(Debug, PartialEq, Eq)]
struct Site {
    name: String,
    /// Below `rings/src`.
    file: PathBuf,
    /// From zero.
    line: usize,
}

pub fn run(runner: &Runner) -> Result<()> {
    let (sites, mut findings) = sites(&runner.root.join("rings/src"))?;
    if !findings.is_empty() {
        return settle(runner, &findings).context("sites are marked wrongly");
    }
    ensure!(!sites.is_empty(), "no line of rings/src is marked `{MARK}NAME`");
    let copy = Copy::make(runner)?;
    let unchanged = copy.judge(runner, "unchanged")?;
    ensure!(unchanged == Verdict::Survived, "the models fail without any change: {unchanged:?}");
    for site in &sites {
        let begun = Instant::now();
        copy.weaken(site)?;
        let verdict = copy.judge(runner, &site.name)?;
        copy.restore(runner, site)?;
        let place = format!("{}:{}", site.file.display(), site.line + 1);
        let seconds = begun.elapsed().as_secs_f64();
        runner.note(format!("{:<28} {place:<24} {verdict:?} {seconds:.1} s", site.name));
        if verdict != Verdict::Caught {
            findings.push(format!("{}: {verdict:?} when {place} was weakened", site.name));
        }
    }
    runner.note(format!("{} sites, {} without proof", sites.len(), findings.len()));
    settle(runner, &findings)
}

/// What the models said about one mutant.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Caught,
    Survived,
    DoesNotCompile,
}

fn sites(folder: &Path) -> Result<(Vec<Site>, Vec<String>)> {
    let (mut sites, mut findings) = (Vec::<Site>::new(), Vec::new());
    for path in source::files_below(folder, "rs")? {
        let file = path.strip_prefix(folder)?;
        for site in sites_of(file, &source::read(&path)?, &mut findings) {
            match sites.iter().find(|other| other.name == site.name) {
                Some(_) => findings.push(format!("two sites are called {}", site.name)),
                None => sites.push(site),
            }
        }
    }
    Ok((sites, findings))
}

/// The marked lines of one file; a strong ordering without a mark is a finding.
fn sites_of(file: &Path, text: &str, findings: &mut Vec<String>) -> Vec<Site> {
    let code = source::code_only(text);
    let code = source::without_tests(&code);
    let mut sites = Vec::new();
    for (line, (code, whole)) in code.lines().zip(text.lines()).enumerate() {
        let marked = whole.rsplit_once(MARK).map(|(_, name)| name.trim());
        let place = format!("{}:{}", file.display(), line + 1);
        match (marked, is_strong(code)) {
            (Some(name), true) => {
                sites.push(Site { name: name.to_owned(), file: file.to_owned(), line });
            }
            (Some(name), false) => {
                findings.push(format!("{place}: the mark {name} is on no strong ordering"));
            }
            (None, true) if whole.contains(NO_MODEL) => {}
            (None, true) => findings.push(format!("{place}: a strong ordering without a mark")),
            (None, false) => {}
        }
    }
    sites
}

/// Written as `Ordering::Release` and the like; a bare name imported from there goes unseen.
fn is_strong(code: &str) -> bool {
    STRONG.iter().any(|name| code.contains(&format!("Ordering::{name}")))
}

fn weakened(line: &str) -> String {
    let (code, mark) = line.split_once("//").unwrap_or((line, ""));
    if source::has_word(code, "fence") {
        let indent = code.len() - code.trim_start().len();
        return format!("{}// removed: {}", &code[..indent], code.trim());
    }
    let code = STRONG.iter().fold(code.to_owned(), |code, name| {
        code.replace(&format!("Ordering::{name}"), "Ordering::Relaxed")
    });
    format!("{code}//{mark}")
}

/// A workspace of `rings` alone, in which lines are changed.
struct Copy {
    root: PathBuf,
}

impl Copy {
    fn make(runner: &Runner) -> Result<Self> {
        let root = runner.target.join("ordering");
        if root.exists() {
            std::fs::remove_dir_all(&root)?;
        }
        for file in files_of(&runner.root.join("rings"))? {
            let to = root.join(file.strip_prefix(&runner.root)?);
            std::fs::create_dir_all(to.parent().context("a file stands in no folder")?)?;
            std::fs::copy(&file, to)?;
        }
        std::fs::copy(runner.root.join("Cargo.lock"), root.join("Cargo.lock"))?;
        let mut manifest: toml::Table =
            toml::from_str(&source::read(&runner.root.join("Cargo.toml"))?)?;
        let workspace = manifest["workspace"].as_table_mut().context("no [workspace]")?;
        workspace.insert("members".into(), toml::Value::Array(vec!["rings".into()]));
        std::fs::write(root.join("Cargo.toml"), toml::to_string(&manifest)?)?;
        Ok(Self { root })
    }

    fn weaken(&self, site: &Site) -> Result<()> {
        let path = self.root.join("rings/src").join(&site.file);
        let text = source::read(&path)?;
        let lines = text.lines().enumerate();
        let lines: Vec<String> = lines
            .map(|(at, line)| if at == site.line { weakened(line) } else { line.to_owned() })
            .collect();
        std::fs::write(&path, lines.join("\n") + "\n")?;
        Ok(())
    }

    fn restore(&self, runner: &Runner, site: &Site) -> Result<()> {
        let place = Path::new("rings/src").join(&site.file);
        std::fs::write(self.root.join(&place), std::fs::read(runner.root.join(&place))?)?;
        Ok(())
    }

    fn judge(&self, runner: &Runner, name: &str) -> Result<Verdict> {
        runner.note(format!("--- {name}"));
        if !runner.status(&mut self.models(runner, "--no-run"))?.success() {
            return Ok(Verdict::DoesNotCompile);
        }
        let status = runner.status(&mut self.models(runner, "--quiet"))?;
        match status.code() {
            Some(0) => Ok(Verdict::Survived),
            Some(101) => Ok(Verdict::Caught),
            _ => bail!("the models of {name} ended with {status}"),
        }
    }

    fn models(&self, runner: &Runner, option: &str) -> Command {
        let mut command = loom::models_of(runner, &[option]);
        command.current_dir(&self.root).env("RUST_BACKTRACE", "0");
        // Cargo takes two copies of one crate in one target folder for the same: the real models
        // must never run against a mutant.
        command.env("CARGO_TARGET_DIR", runner.target.join("loom-ordering"));
        command
    }
}

fn files_of(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = source::files_below(folder, "rs")?;
    files.extend(source::files_below(folder, "toml")?);
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_lines_are_sites_and_unmarked_ones_findings() {
        let text = "tail.store(1, Ordering::Release); // ord: publish\n\
                    fence(Ordering::SeqCst); // ord: bell\n\
                    head.load(Ordering::Acquire);\n\
                    head.load(Ordering::Relaxed); // ord: nothing\n\
                    place.load(Ordering::Acquire); // no model: in a signal handler\n";
        let mut findings = Vec::new();
        let sites = sites_of(Path::new("queue.rs"), text, &mut findings);
        let names: Vec<&str> = sites.iter().map(|site| site.name.as_str()).collect();
        assert_eq!(names, ["publish", "bell"]);
        assert_eq!(findings.len(), 2);
        assert!(findings[0].contains("queue.rs:3") && findings[0].contains("without a mark"));
        assert!(findings[1].contains("queue.rs:4") && findings[1].contains("mark nothing"));
    }

    #[test]
    fn an_ordering_is_relaxed_and_a_fence_removed() {
        assert_eq!(
            weakened("  tail.store(1, Ordering::Release); // ord: publish"),
            "  tail.store(1, Ordering::Relaxed); // ord: publish"
        );
        assert_eq!(
            weakened("  fence(Ordering::SeqCst); // ord: bell"),
            "  // removed: fence(Ordering::SeqCst);"
        );
    }
}
