//! Answers what clap could not read: help and version on stdout, mistakes as one line.

use std::process::ExitCode;

use clap::error::ErrorKind;

use crate::output::{EXIT_OK, EXIT_USAGE, Failure, report};

pub fn answer(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // Nobody is left to tell when stdout is closed.
            let _ = error.print();
            EXIT_OK.into()
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            EXIT_USAGE.into()
        }
        _ => {
            report(&Failure::usage(one_sentence(&error.to_string())));
            EXIT_USAGE.into()
        }
    }
}

/// Clap draws a paragraph, its tips and a usage section; the sentence keeps the first two.
fn one_sentence(drawn: &str) -> String {
    let told = drawn.trim_start().strip_prefix("error: ").unwrap_or(drawn);
    let mut sentence = String::new();
    for line in told.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:")) {
        if line.is_empty() || line.starts_with("For more information") {
            continue;
        }
        let line = line.strip_prefix("tip: ").unwrap_or(line);
        sentence.push_str(match sentence.chars().next_back() {
            None => "",
            Some(':') => " ",
            Some(_) => "; ",
        });
        sentence.push_str(line);
    }
    format!("{sentence}; --help shows how it is used")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Cli;
    use clap::Parser;
    use expect_test::expect;

    #[test]
    fn mistakes_are_one_line() {
        let told = |words: &str| {
            let line = ["nuclio"].into_iter().chain(words.split_whitespace());
            one_sentence(&Cli::try_parse_from(line).unwrap_err().to_string())
        };
        let told = [
            "rnu hello.py",
            "deploy x",
            "run --prot 80",
            "run --port",
            "run a b c",
            "exec",
            "completion powershell",
            "run -o xml",
            "run x.py --watch=maybe",
            "run x.py --port 1 --port 2",
        ]
        .map(told);
        expect![[r#"
            unrecognized subcommand 'rnu'; --help shows how it is used
            unrecognized subcommand 'deploy'; a similar subcommand exists: 'replay'; --help shows how it is used
            unexpected argument '--prot' found; a similar argument exists: '--port'; --help shows how it is used
            a value is required for '--port <PORT>' but none was supplied; --help shows how it is used
            unexpected argument 'c' found; --help shows how it is used
            the following required arguments were not provided: <NAME|URL>; --help shows how it is used
            invalid value 'powershell' for '<SHELL>'; [possible values: bash, zsh, fish]; --help shows how it is used
            invalid value 'xml' for '--output <FORM>'; [possible values: text, wide, json, yaml]; a similar value exists: 'yaml'; --help shows how it is used
            unexpected value 'maybe' for '--watch' found; no more were expected; --help shows how it is used
            the argument '--port <PORT>' cannot be used multiple times; --help shows how it is used"#]].assert_eq(&told.join("\n"));
    }
}
