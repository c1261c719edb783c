//! Who may import whom, and what may not be said where: house rules as a gate.
//!
//! Crates are judged by what cargo resolves, text by the code without comments and strings.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::settle;
use crate::runner::Runner;
use crate::source;

/// The only files that may contain unsafe code.
const UNSAFE_FILES: [&str; 9] = [
    "rings/src/memory.rs",
    "rings/src/os.rs",
    "rings/src/portable.rs",
    "runtimes/python/src/buffer.rs",
    "runtimes/node/src/wake.rs",
    "shim/c/src/ffi.rs",
    "runtimes/native/src/door.rs",
    "sdk/rust/src/door.rs",
    "benches/src/shared_line.rs",
];
/// Crates that do not forbid unsafe code as a whole: they own one of the files above.
const UNSAFE_CRATES: [&str; 7] = [
    "rings",
    "nuclio-python",
    "nuclio-node",
    "nuclio-native",
    "nuclio-sdk",
    "nuclio-shim-c",
    "benches",
];
/// Product code without its tests, in lines: beyond this a file holds more than one idea.
const FILE_LINES_MAX: usize = 620;

/// Who must never be reached, through however many crates.
struct Ban {
    from: &'static str,
    never: &'static [&'static str],
    why: &'static str,
}

const BANS: [Ban; 13] = [
    Ban { from: "rings", never: OURS, why: "a leaf: memory and wire, no policy" },
    Ban { from: "spec", never: OURS, why: "a leaf: words and checks, no I/O" },
    Ban { from: "supervisor", never: &["shim", "cli", "kube"], why: "it starts workers, is none" },
    Ban { from: "shim", never: WORKER_BANS, why: "every worker carries it" },
    Ban { from: "nuclio-shim-c", never: WORKER_BANS, why: "foreign workers carry it" },
    Ban { from: "nuclio-native", never: WORKER_BANS, why: "it carries no processor" },
    Ban { from: "nuclio-sdk", never: OURS, why: "users build it: no protocol, no crates" },
    Ban { from: "nuclio-python", never: WORKER_BANS, why: "it runs in the user's interpreter" },
    Ban { from: "nuclio-node", never: WORKER_BANS, why: "it runs in the user's Node" },
    Ban { from: "nuclio-shell", never: WORKER_BANS, why: "a worker, and no part of the processor" },
    Ban { from: "nuclio-conformance", never: KIT_BANS, why: "a processor of its own, by docs/abi" },
    Ban { from: "cli", never: &["rings", "supervisor"], why: "it never touches a ring" },
    Ban { from: "xtask", never: OURS, why: "chores must not depend on what they build" },
];
const OURS: &[&str] = &[
    "rings",
    "shim",
    "nuclio-shim-c",
    "spec",
    "supervisor",
    "nuclio-python",
    "nuclio-node",
    "nuclio-shell",
    "cli",
];
const KIT_BANS: &[&str] = &["shim", "spec", "supervisor", "tokio", "cli"];
const WORKER_BANS: &[&str] = &["spec", "supervisor", "tokio", "cli"];

/// A word that must not stand in the code of a folder or file.
struct Word {
    below: &'static str,
    except: &'static [&'static str],
    words: &'static [&'static str],
    why: &'static str,
}

const WORDS: [Word; 6] = [
    Word {
        below: "supervisor/src/data",
        except: &[],
        words: &["tokio", ".await", "async", "Mutex", "RwLock", "Condvar", "sleep"],
        why: "the data thread never waits",
    },
    Word {
        below: "supervisor/src/data",
        except: &[],
        words: &["format!", "println!", "eprintln!", "print!", "eprint!"],
        why: "the data thread makes no text; the log thread does",
    },
    Word {
        below: "supervisor/src",
        except: &["supervisor/src/workers"],
        words: &["process::Command"],
        why: "only workers/ starts processes",
    },
    Word {
        below: "rings/src",
        except: &["rings/src/sync.rs", "rings/src/memory.rs", "rings/src/portable.rs"],
        words: &["sync::atomic"],
        why: "atomics come through sync.rs or memory.rs, so that the models check the rest",
    },
    Word {
        below: "supervisor/src/sources",
        except: &[],
        words: &["workers"],
        why: "sources and workers meet in dispatch and completion only",
    },
    Word {
        below: "supervisor/src/workers",
        except: &[],
        words: &["sources"],
        why: "sources and workers meet in dispatch and completion only",
    },
];

pub fn run(runner: &Runner) -> Result<()> {
    let metadata = metadata(runner)?;
    let graph = Graph::read(&metadata)?;
    let mut findings = graph.findings();
    findings.extend(roots_that_allow_unsafe(&metadata)?);
    for file in source::files_below(&runner.root, "rs")? {
        let name = file.strip_prefix(&runner.root)?.to_string_lossy().into_owned();
        file_findings(&name, &source::read(&file)?, &mut findings);
    }
    settle(runner, &findings)
}

/// What cargo knows about the workspace and everything it depends on, what is off by default too.
pub fn metadata(runner: &Runner) -> Result<Value> {
    let arguments = ["metadata", "--format-version", "1", "--filter-platform", "host-tuple"];
    let text = runner.capture(runner.cargo(arguments).args(["--features", "rings/portable"]))?;
    serde_json::from_str(&text).context("cargo metadata printed no JSON")
}

/// Package name to the names it needs at build or run time, tests aside.
struct Graph {
    needs: BTreeMap<String, BTreeSet<String>>,
    ours: BTreeSet<String>,
}

impl Graph {
    fn read(metadata: &Value) -> Result<Self> {
        let mut names = BTreeMap::new();
        for package in list(&metadata["packages"])? {
            names.insert(text(&package["id"])?, text(&package["name"])?);
        }
        let mut needs = BTreeMap::<String, BTreeSet<String>>::new();
        for node in list(&metadata["resolve"]["nodes"])? {
            let from = needs.entry(names[&text(&node["id"])?].clone()).or_default();
            for dependency in list(&node["deps"])? {
                let kinds = list(&dependency["dep_kinds"])?;
                if kinds.iter().any(|kind| kind["kind"] != "dev") {
                    from.insert(names[&text(&dependency["pkg"])?].clone());
                }
            }
        }
        let members = list(&metadata["workspace_members"])?;
        let ours = members.iter().map(|id| Ok(names[&text(id)?].clone())).collect::<Result<_>>()?;
        Ok(Self { needs, ours })
    }

    fn findings(&self) -> Vec<String> {
        let mut findings = Vec::new();
        for Ban { from, never, why } in &BANS {
            if !self.ours.contains(*from) {
                findings.push(format!("arrows.rs names the crate {from}, which is not there"));
            }
            for name in never.iter().filter(|name| *name != from) {
                if let Some(path) = self.path(from, name) {
                    findings.push(format!("{}: forbidden, {why}", path.join(" -> ")));
                }
            }
        }
        for name in &self.ours {
            let direct = self.needs.get(name);
            if direct.is_some_and(|needs| needs.contains("anyhow"))
                && !["cli", "xtask", "benches", "nuclio-conformance"].contains(&name.as_str())
            {
                findings.push(format!("{name} -> anyhow: an error of the product has a type"));
            }
        }
        findings
    }

    /// The shortest way from one crate to another.
    fn path(&self, from: &str, to: &str) -> Option<Vec<String>> {
        let mut ways = vec![vec![from.to_owned()]];
        let mut seen = BTreeSet::from([from.to_owned()]);
        let mut next = 0;
        while next < ways.len() {
            let way = ways[next].clone();
            if way.last().is_some_and(|last| last == to) {
                return Some(way);
            }
            for name in self.needs.get(way.last()?).into_iter().flatten() {
                if seen.insert(name.clone()) {
                    ways.push(way.iter().chain([name]).cloned().collect());
                }
            }
            next += 1;
        }
        None
    }
}

/// Root files of our crates without `#![forbid(unsafe_code)]`, the exceptions aside.
fn roots_that_allow_unsafe(metadata: &Value) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    let members = list(&metadata["workspace_members"])?;
    for package in list(&metadata["packages"])? {
        let name = text(&package["name"])?;
        if !members.contains(&package["id"]) || UNSAFE_CRATES.contains(&name.as_str()) {
            continue;
        }
        for target in list(&package["targets"])? {
            let kinds = list(&target["kind"])?;
            if !kinds.iter().any(|kind| kind == "lib" || kind == "bin" || kind == "cdylib") {
                continue;
            }
            let root = text(&target["src_path"])?;
            let code = source::code_only(&source::read(Path::new(&root))?);
            if !code.contains("#![forbid(unsafe_code)]") {
                findings.push(format!("{name}: {root} lacks #![forbid(unsafe_code)]"));
            }
        }
    }
    Ok(findings)
}

fn file_findings(name: &str, whole: &str, findings: &mut Vec<String>) {
    let code = source::code_only(whole);
    if !whole.starts_with("//!") && !whole.starts_with("#![") {
        findings.push(format!("{name}:1: the first line says what the file is for (//! ...)"));
    }
    for (number, line) in code.lines().enumerate() {
        if source::has_word(line, "unsafe") && !UNSAFE_FILES.contains(&name) {
            findings.push(format!("{name}:{}: unsafe code outside the marked files", number + 1));
        }
    }
    let code = source::without_tests(&code);
    let lines = code.lines().count();
    if lines > FILE_LINES_MAX && !is_test(name) {
        findings.push(format!("{name}: {lines} lines without tests; {FILE_LINES_MAX} at most"));
    }
    for Word { below, except, words, why } in &WORDS {
        let is_in = |place: &str| name == place || Path::new(name).starts_with(place);
        if is_test(name) || !is_in(below) || except.iter().any(|place| is_in(place)) {
            continue;
        }
        for (number, line) in code.lines().enumerate() {
            for word in words.iter().filter(|word| source::has_word(line, word)) {
                findings.push(format!("{name}:{}: `{word}`: {why}", number + 1));
            }
        }
    }
}

fn is_test(name: &str) -> bool {
    name.contains("/tests/") || name.ends_with("/tests.rs") || name.ends_with("_tests.rs")
}

fn list(value: &Value) -> Result<&Vec<Value>> {
    value.as_array().context("cargo metadata has another form than expected")
}

fn text(value: &Value) -> Result<String> {
    let text = value.as_str().context("cargo metadata has another form than expected")?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(&str, &str)]) -> Graph {
        let ours = BANS.iter().map(|ban| ban.from.to_owned()).collect();
        let mut needs = BTreeMap::<String, BTreeSet<String>>::new();
        for (from, to) in edges {
            needs.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        Graph { needs, ours }
    }

    #[test]
    fn the_intended_arrows_pass() {
        let graph = graph(&[
            ("supervisor", "rings"),
            ("supervisor", "spec"),
            ("supervisor", "tokio"),
            ("shim", "rings"),
            ("nuclio-python", "shim"),
            ("cli", "spec"),
            ("cli", "anyhow"),
        ]);
        assert_eq!(graph.findings(), Vec::<String>::new());
    }

    #[test]
    fn a_forbidden_crate_is_found_behind_others() {
        let findings = graph(&[("shim", "x"), ("x", "tokio"), ("spec", "anyhow")]).findings();
        assert_eq!(findings.len(), 2);
        assert!(findings[0].starts_with("shim -> x -> tokio: forbidden"), "{}", findings[0]);
        assert!(findings[1].starts_with("spec -> anyhow"), "{}", findings[1]);
    }

    #[test]
    fn words_are_banned_in_code_only_and_not_in_tests() {
        let mut findings = Vec::new();
        let text = "//! x\n// format!\nlet a = \"Mutex\";\nb.await;\n#[cfg(test)]\nmod tests {\n\
                    format!(\"\")\n}\n";
        file_findings("supervisor/src/data/dispatch.rs", text, &mut findings);
        assert_eq!(
            findings,
            ["supervisor/src/data/dispatch.rs:4: `.await`: the data thread never waits"]
        );
    }

    #[test]
    fn unsafe_code_stays_in_its_files() {
        let mut findings = Vec::new();
        file_findings("rings/src/memory.rs", "//! x\nunsafe { }\n", &mut findings);
        assert_eq!(findings, Vec::<String>::new());
        file_findings("rings/src/queue.rs", "//! x\nunsafe { }\n", &mut findings);
        assert_eq!(findings, ["rings/src/queue.rs:2: unsafe code outside the marked files"]);
    }
}
