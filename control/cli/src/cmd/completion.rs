//! `nuclio completion`: the completion script of a shell, on stdout.

use std::io::{ErrorKind, Write};

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use crate::args::{Cli, CompletionArgs, CompletionShell};
use crate::output::{EXIT_OK, Failure};

pub fn completion(args: &CompletionArgs) -> Result<u8, Failure> {
    let shell = match args.shell {
        CompletionShell::Bash => Shell::Bash,
        CompletionShell::Zsh => Shell::Zsh,
        CompletionShell::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "nuclio", &mut script);
    match std::io::stdout().write_all(&script) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::failed(format!("the completion script could not be written: {e}")))
        }
        _ => Ok(EXIT_OK),
    }
}
