//! `processor worker-init`: prepares a fresh process and becomes the worker.
//!
//! Runs between fork and the worker's program, in a process of its own, so that no code of ours
//! runs in a forked copy of a program with threads. Not for people.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::getppid;

/// The hidden subcommand's name.
pub const SUBCOMMAND: &str = "worker-init";
/// Said by the exit status when the worker's program could not be started.
pub const EXIT_NOT_STARTED: u8 = 2;
/// When memory runs out, a worker should go before the processor does.
const OOM_SCORE_ADDED: i32 = 500;
const OOM_SCORE_MAX: i32 = 1000;

/// What the pool asks of `worker-init`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InitOrder {
    /// Whoever else is the parent: the processor has died meanwhile.
    pub parent: i32,
    /// The limit of open files that the processor itself was started with; 0 = leave it.
    pub nofile: u64,
}

impl InitOrder {
    /// The arguments before the worker's own command line.
    pub fn to_arguments(self) -> [String; 4] {
        [SUBCOMMAND.into(), self.parent.to_string(), self.nofile.to_string(), "--".into()]
    }

    /// The opposite of [`Self::to_arguments`], without the subcommand; gives the rest as well.
    fn from_arguments(arguments: &[OsString]) -> Option<(InitOrder, &[OsString])> {
        let (own, command) = arguments.split_at_checked(3)?;
        let number = |index: usize| own[index].to_str();
        let order =
            InitOrder { parent: number(0)?.parse().ok()?, nofile: number(1)?.parse().ok()? };
        (own[2] == "--" && !command.is_empty()).then_some((order, command))
    }
}

/// Never comes back when all is well. `arguments` are those after the subcommand.
pub fn run(arguments: &[OsString]) -> ExitCode {
    let Some((order, command)) = InitOrder::from_arguments(arguments) else {
        eprintln!("{SUBCOMMAND} is for the processor's own use: run `processor --help`");
        return ExitCode::from(EXIT_NOT_STARTED);
    };
    if let Err(error) = prctl::set_pdeathsig(Signal::SIGKILL) {
        eprintln!("the worker cannot be tied to the life of the processor: {error}");
        return ExitCode::from(EXIT_NOT_STARTED);
    }
    // The processor may have died before the line above took effect.
    if getppid().as_raw() != order.parent {
        return ExitCode::from(EXIT_NOT_STARTED);
    }
    restore_nofile(order.nofile);
    raise_oom_score();
    // The processor blocks the signals that it reads from a descriptor; a mask is inherited.
    let _ = SigSet::empty().thread_set_mask();
    let error = Command::new(&command[0]).args(&command[1..]).exec();
    eprintln!("{} cannot be started: {error}", command[0].to_string_lossy());
    ExitCode::from(EXIT_NOT_STARTED)
}

fn restore_nofile(soft: u64) {
    if soft == 0 {
        return;
    }
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, soft.min(hard), hard);
    }
}

/// Best effort: some sandboxes have no such file.
fn raise_oom_score() {
    const PATH: &str = "/proc/self/oom_score_adj";
    let before: Option<i32> =
        std::fs::read_to_string(PATH).ok().and_then(|text| text.trim().parse().ok());
    let after = before.unwrap_or(0).saturating_add(OOM_SCORE_ADDED).min(OOM_SCORE_MAX);
    let _ = std::fs::write(PATH, after.to_string());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_there_and_back() {
        let order = InitOrder { parent: 42, nofile: 1024 };
        let mut arguments: Vec<OsString> =
            order.to_arguments().into_iter().skip(1).map(Into::into).collect();
        assert_eq!(InitOrder::from_arguments(&arguments), None, "a command is missing");
        arguments.push("python3".into());
        let (found, command) = InitOrder::from_arguments(&arguments).expect("complete");
        assert_eq!((found, command), (order, &["python3".into()][..]));
        arguments[0] = "x".into();
        assert_eq!(InitOrder::from_arguments(&arguments), None);
    }
}
