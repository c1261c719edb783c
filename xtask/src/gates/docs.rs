//! The documents against the tree: files they name exist, links lead somewhere, commands agree.

use std::path::Path;

use anyhow::{Context, Result};

use super::settle;
use crate::runner::Runner;
use crate::source;

/// README's two commands, in this order; `.ci/run` is the second.
const RUN_COMMAND: &str = "cargo xtask run";
const TEST_COMMAND: &str = "cargo xtask test";

pub fn run(runner: &Runner) -> Result<()> {
    let root = &runner.root;
    let mut findings = Vec::new();
    for page in source::files_below(root, "md")? {
        let name = page.strip_prefix(root)?.display().to_string();
        if name.contains("/src/") {
            // A piece that code puts into a page elsewhere; the page itself is checked.
            continue;
        }
        let text = source::read(&page)?;
        let folder = page.parent().context("a page stands in no folder")?;
        for (line, target) in links(&text) {
            if let Some(problem) = dead(folder, &text, &target) {
                findings.push(format!("{name}:{line}: {target}: {problem}"));
            }
        }
        if name.starts_with("docs/ARCHITECTURE") {
            findings.extend(missing_files(root, &name, &text));
        }
    }
    for file in source::files_below(root, "py")? {
        let name = file.strip_prefix(root)?.display().to_string();
        if !source::read(&file)?.starts_with(['"', '#']) {
            findings.push(format!("{name}:1: the first line says what the file is for"));
        }
    }
    findings.extend(commands(root)?);
    settle(runner, &findings)
}

/// Every link target of a page with its line, code aside.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        let mut rest = line.as_str();
        while let Some((_, after)) = rest.split_once("](") {
            let Some((target, after)) = after.split_once(')') else { break };
            found.push((number, target.to_owned()));
            rest = after;
        }
    }
    found
}

/// The numbered lines outside code blocks, code spans blanked.
fn prose(text: &str) -> Vec<(usize, String)> {
    let mut is_code = false;
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            let parts = line.split('`').enumerate();
            let kept = parts.map(|(at, part)| if at % 2 == 0 { part } else { "" });
            lines.push((number + 1, kept.collect::<Vec<_>>().join("`")));
        }
    }
    lines
}

/// Why a link leads nowhere; `None` if it is good or leads out of the project.
fn dead(folder: &Path, page: &str, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, heading) = target.split_once('#').unwrap_or((target, ""));
    let file = folder.join(path);
    if !file.exists() {
        return Some("no such file".to_owned());
    }
    if heading.is_empty() {
        return None;
    }
    let other = if path.is_empty() { page.to_owned() } else { source::read(&file).ok()? };
    let has_it = headings(&other).any(|one| one == heading);
    (!has_it).then(|| format!("no heading #{heading}"))
}

/// The anchors of a page's headings, as code hosts make them.
fn headings(text: &str) -> impl Iterator<Item = String> {
    text.lines().filter(|line| line.starts_with('#')).map(|line| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}

/// Code spans that look like a file of this project and are none.
fn missing_files(root: &Path, name: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for span in line.split('`').skip(1).step_by(2) {
            let is_path = span.contains('/')
                && !span.contains(' ')
                && Path::new(span).extension().is_some_and(|extension| {
                    ["rs", "py", "toml", "md", "h", "js"].iter().any(|one| extension == *one)
                });
            if is_path && !root.join(span).is_file() {
                findings.push(format!("{name}:{}: no file {span}", number + 1));
            }
        }
    }
    findings
}

/// README names both commands, and `.ci/run` runs the second.
fn commands(root: &Path) -> Result<Vec<String>> {
    let readme = source::read(&root.join("README.md"))?;
    let mut findings = Vec::new();
    match (readme.find(RUN_COMMAND), readme.find(TEST_COMMAND)) {
        (Some(run), Some(test)) if run < test => {}
        _ => findings.push(format!("README.md: `{RUN_COMMAND}`, then `{TEST_COMMAND}`")),
    }
    let ci = source::read(&root.join(".ci/run"))?;
    if !ci.trim_end().ends_with(TEST_COMMAND) {
        findings.push(format!(".ci/run: its last command is `{TEST_COMMAND}`"));
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_outside_code() {
        let text = "[a](x.md) and [b](y.md#z)\n```\n[c](no.md)\n```\n`[d](no.md)` [e](w.md)\n";
        let targets: Vec<(usize, String)> = links(text);
        let expected = [(1, "x.md"), (1, "y.md#z"), (5, "w.md")];
        assert_eq!(targets, expected.map(|(line, target)| (line, target.to_owned())));
    }

    #[test]
    fn headings_become_anchors() {
        let anchors: Vec<String> =
            headings("# One event\ntext\n## `rings`: memory & wire\n").collect();
        assert_eq!(anchors, ["one-event", "rings-memory--wire"]);
    }
}
