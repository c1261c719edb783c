//! Does what README tells a newcomer to do, in an empty folder, and compares what it shows.
//!
//! A line `<!-- test: file NAME -->`, `<!-- test: serve -->` or `<!-- test: replies -->` before a
//! code block says what the block is. Lines that begin with `$ ` are commands, the others output.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::served::{self, Served};
use crate::runner::Runner;
use crate::{assemble, source};

/// What README serves on; the gate serves on a free port instead.
const PORT: &str = "8080";

#[derive(Debug, PartialEq, Eq)]
struct Block {
    does: String,
    lines: Vec<String>,
}

pub fn run(runner: &Runner) -> Result<()> {
    let folder = runner.target.join("readme-test");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    follow(runner, &folder)?;
    first_command(runner, &folder)
}

fn follow(runner: &Runner, folder: &Path) -> Result<()> {
    let blocks = blocks(&source::read(&runner.root.join("README.md"))?);
    let port = served::free_port()?;
    let mut served = None;
    for Block { does, lines } in &blocks {
        match does.split_once(' ').unwrap_or((does, "")) {
            ("file", name) => std::fs::write(folder.join(name), lines.join("\n") + "\n")?,
            ("serve", "") => served = Some(serve(runner, folder, lines, port)?),
            ("replies", "") => replies(runner, folder, lines, port)?,
            _ => bail!("README.md: no test is called `{does}`"),
        }
    }
    served.context("README.md serves nothing (`<!-- test: serve -->`)")?.stop(runner)
}

fn serve(runner: &Runner, folder: &Path, lines: &[String], port: u16) -> Result<Served> {
    let line = lines.iter().find_map(|line| line.strip_prefix("$ ")).context("no command")?;
    let words = words(line);
    let (program, arguments) = words.split_first().context("an empty command")?;
    let program = assemble::dev_folder(runner).join("bin").join(program);
    let mut command = runner.command(program, arguments);
    command.current_dir(folder).env("PORT", port.to_string());
    command.env("NUCLIO_STATE_DIR", folder.join("state"));
    let served = Served::start(runner, &mut command)?;
    let shown = lines.iter().find(|line| line.contains(" is ready: "));
    let name = shown.and_then(|line| line.split_once(' ')).context("README shows no ready line")?;
    ensure!(served.ready_line.starts_with(&format!("{} (", name.0)), "another function is ready");
    Ok(served)
}

fn replies(runner: &Runner, folder: &Path, lines: &[String], port: u16) -> Result<()> {
    let mut rest = lines;
    while let Some((line, after)) = rest.split_first() {
        let line = line.strip_prefix("$ ").context("README.md: output without a command")?;
        let count = after.iter().take_while(|line| !line.starts_with("$ ")).count();
        let expected = after[..count].join("\n");
        let words = words(&line.replace(PORT, &port.to_string()));
        let (program, arguments) = words.split_first().context("an empty command")?;
        let got = runner.capture(runner.command(program, arguments).current_dir(folder))?;
        ensure!(got.trim_end() == expected, "`{line}` printed {got:?}, README shows {expected:?}");
        rest = &after[count..];
    }
    Ok(())
}

/// README's first command, from the sources.
fn first_command(runner: &Runner, folder: &Path) -> Result<()> {
    let port = served::free_port()?;
    let us = std::env::current_exe()?;
    let arguments = ["run", "--", "--port"].map(str::to_owned);
    let mut command = runner.command(us, arguments.into_iter().chain([port.to_string()]));
    command.env("NUCLIO_STATE_DIR", folder.join("state"));
    let served = Served::start(runner, &mut command)?;
    let reply = served::ask(runner, port)?;
    ensure!(!reply.is_empty(), "the example replied with nothing");
    served.stop(runner)
}

/// The code blocks that have a test line before them.
fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let does = line.strip_prefix("<!-- test: ").and_then(|rest| rest.strip_suffix(" -->"));
        let Some(does) = does else { continue };
        let block = lines.by_ref().skip_while(|line| !line.starts_with("```")).skip(1);
        let block = block.take_while(|line| !line.starts_with("```"));
        blocks.push(Block { does: does.to_owned(), lines: block.map(str::to_owned).collect() });
    }
    blocks
}

/// A command line cut into words; single quotes keep spaces. Nothing else is special.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut is_quoted, mut has_word) = (String::new(), false, false);
    for c in line.chars() {
        match c {
            '\'' => (is_quoted, has_word) = (!is_quoted, true),
            ' ' if !is_quoted => {
                if has_word {
                    words.push(std::mem::take(&mut word));
                }
                has_word = false;
            }
            c => {
                word.push(c);
                has_word = true;
            }
        }
    }
    if has_word {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_with_a_test_line_are_found() {
        let text = "a\n<!-- test: file hello.py -->\n```python\nx = 1\n```\n```\nno\n```\n\
                    <!-- test: serve -->\n\n```console\n$ nuclio run hello.py\n```\n";
        let found = blocks(text);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0], Block { does: "file hello.py".into(), lines: vec!["x = 1".into()] });
        assert_eq!(found[1].lines, ["$ nuclio run hello.py"]);
    }

    #[test]
    fn words_keep_quoted_spaces() {
        assert_eq!(words("curl -d 'a b' ''  x"), ["curl", "-d", "a b", "", "x"]);
    }
}
