//! Licences, sources and bans of everything we depend on, as `deny.toml` states them.
//!
//! cargo-deny does the whole job where it is installed; without it, this file reads the same
//! settings and checks the parts that need no advisory database.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::Value;
use toml::Table;

use super::{arrows, settle};
use crate::runner::Runner;
use crate::{setup, source};

pub fn run(runner: &Runner) -> Result<()> {
    if setup::on_path("cargo-deny").is_some() {
        let arguments = ["deny", "check", "licenses", "bans", "sources"];
        return runner.run(&mut runner.cargo(arguments));
    }
    runner.note("cargo-deny is not installed: checking licences, sources and bans ourselves");
    let settings: Table = toml::from_str(&source::read(&runner.root.join("deny.toml"))?)?;
    let metadata = arrows::metadata(runner)?;
    settle(runner, &findings(&settings, &metadata)?)
}

fn findings(settings: &Table, metadata: &Value) -> Result<Vec<String>> {
    let allowed: BTreeSet<&str> = texts(&settings["licenses"]["allow"]).collect();
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    let mut findings = Vec::new();
    for package in packages {
        let name = package["name"].as_str().context("a package without a name")?;
        let license = package["license"].as_str().unwrap_or("");
        let granted = exceptions(settings, name).chain(allowed.iter().copied()).collect();
        if !is_allowed(license, &granted) {
            findings.push(format!("{name}: licence `{license}` is not in deny.toml"));
        }
        let source = package["source"].as_str();
        if source.is_some_and(|source| !source.starts_with("registry+")) {
            findings.push(format!("{name}: comes from {source:?}, not from the registry"));
        }
    }
    let bans = settings["bans"]["deny"].as_array().context("bans.deny in deny.toml is no list")?;
    for ban in bans {
        let banned = ban["name"].as_str().context("a ban in deny.toml without a name")?;
        let wrappers: BTreeSet<&str> = ban.get("wrappers").into_iter().flat_map(texts).collect();
        for package in packages {
            let name = package["name"].as_str().unwrap_or_default();
            if needs(package, banned) && !wrappers.contains(name) {
                findings.push(format!("{name} -> {banned}: forbidden by deny.toml"));
            }
        }
    }
    Ok(findings)
}

/// Licences that only this package may have.
fn exceptions<'a>(settings: &'a Table, name: &str) -> impl Iterator<Item = &'a str> {
    let all = settings["licenses"].get("exceptions").and_then(toml::Value::as_array);
    let own = all.into_iter().flatten().filter(move |one| one["name"].as_str() == Some(name));
    own.flat_map(|one| texts(&one["allow"])).collect::<Vec<_>>().into_iter()
}

/// Whether a package needs another one beyond its tests.
fn needs(package: &Value, other: &str) -> bool {
    let dependencies = package["dependencies"].as_array().into_iter().flatten();
    dependencies
        .filter(|one| one["kind"] != "dev" && one["optional"] != true)
        .any(|one| one["name"] == other)
}

fn texts(value: &toml::Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(toml::Value::as_str)
}

/// Judges a licence expression: names, `AND`, `OR`, `WITH`, parentheses, and the old `/` for `OR`.
fn is_allowed(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut reader = Reader { words: &words, allowed };
    reader.either() && reader.words.is_empty()
}

struct Reader<'a> {
    words: &'a [&'a str],
    allowed: &'a BTreeSet<&'a str>,
}

impl Reader<'_> {
    fn either(&mut self) -> bool {
        let mut allowed = self.both();
        while self.take("OR") {
            allowed |= self.both();
        }
        allowed
    }

    fn both(&mut self) -> bool {
        let mut allowed = self.one();
        while self.take("AND") {
            allowed &= self.one();
        }
        allowed
    }

    fn one(&mut self) -> bool {
        if self.take("(") {
            let allowed = self.either();
            return self.take(")") && allowed;
        }
        let Some((name, rest)) = self.words.split_first() else { return false };
        self.words = rest;
        if self.take("WITH") {
            // An exception only adds permissions.
            self.words = self.words.get(1..).unwrap_or_default();
        }
        self.allowed.contains(name)
    }

    fn take(&mut self, word: &str) -> bool {
        let is_next = self.words.first() == Some(&word);
        if is_next {
            self.words = &self.words[1..];
        }
        is_next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licence_expressions_are_judged() {
        let allowed = BTreeSet::from(["MIT", "Apache-2.0", "Unicode-3.0"]);
        let allows = |expression| is_allowed(expression, &allowed);
        assert!(allows("MIT"));
        assert!(allows("GPL-2.0 OR MIT"));
        assert!(allows("MIT/Apache-2.0"));
        assert!(allows("(MIT OR GPL-3.0) AND Unicode-3.0"));
        assert!(allows("Apache-2.0 WITH LLVM-exception OR GPL-3.0"));
        assert!(!allows("MIT AND GPL-3.0"));
        assert!(!allows("(MIT OR Apache-2.0) AND OpenSSL"));
        assert!(!allows(""));
        assert!(!allows("(MIT"));
    }

    #[test]
    fn an_exception_is_for_the_crate_named() {
        let settings: Table = toml::from_str(
            "bans.deny = []\n[licenses]\nallow = ['MIT']\n\
             exceptions = [{ name = 'tool', allow = ['MPL-2.0'] }]",
        )
        .unwrap();
        let metadata = serde_json::json!({ "packages": [
            { "name": "tool", "license": "MPL-2.0", "dependencies": [] },
            { "name": "other", "license": "MPL-2.0", "dependencies": [] },
        ]});
        let findings = findings(&settings, &metadata).unwrap();
        assert_eq!(findings, ["other: licence `MPL-2.0` is not in deny.toml"]);
    }

    #[test]
    fn a_banned_crate_may_be_wrapped_by_the_crates_named() {
        let settings: Table = toml::from_str(
            "licenses.allow = ['MIT']\n[bans]\ndeny = [{ name = 'x', wrappers = ['a'] }]",
        )
        .unwrap();
        let metadata = serde_json::json!({ "packages": [
            { "name": "a", "license": "MIT", "dependencies": [{ "name": "x", "kind": null }] },
            { "name": "b", "license": "MIT", "dependencies": [{ "name": "x", "kind": null }] },
            { "name": "c", "license": "MIT", "dependencies": [{ "name": "x", "kind": "dev" }] },
        ]});
        let findings = findings(&settings, &metadata).unwrap();
        assert_eq!(findings, ["b -> x: forbidden by deny.toml"]);
    }
}
