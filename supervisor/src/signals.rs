//! Signals as things to read: blocked in every thread, read from a descriptor by the pool.

use std::fs::File;
use std::io;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Taken when nothing is waiting any more.
const READS_MAX: usize = 64;

/// `SI_KERNEL`: no process has sent it.
const SENT_BY_KERNEL: i32 = 0x80;

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// SIGTERM: end in good order.
    Drain {
        /// The process that sent it.
        sender: i32,
    },
    /// SIGINT: the first like SIGTERM, the second at once.
    Interrupt,
    /// The same by Ctrl-C, which all programs in the terminal's foreground get.
    TerminalInterrupt,
    /// SIGHUP from a person or a program.
    Reload,
    /// SIGHUP because the terminal has gone.
    HungUp,
    /// SIGCHLD.
    ChildEnded,
}

/// The signals of this process.
pub struct Signals {
    fd: SignalFd,
    had_terminal: bool,
}

impl Signals {
    /// Call before any other thread is started: a mask is inherited.
    pub fn take_over() -> io::Result<Signals> {
        let mut mask = SigSet::empty();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD] {
            mask.add(signal);
        }
        if !is_ignored(Signal::SIGHUP) {
            mask.add(Signal::SIGHUP);
        }
        mask.thread_block()?;
        let fd = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Signals { fd, had_terminal: has_terminal() })
    }

    /// What has arrived; several SIGCHLD may have become one.
    pub fn read(&self) -> Vec<Wish> {
        let mut wishes = Vec::new();
        for _ in 0..READS_MAX {
            let Ok(Some(info)) = self.fd.read_signal() else { break };
            match Signal::try_from(info.ssi_signo as i32) {
                Ok(Signal::SIGTERM) => {
                    wishes.push(Wish::Drain { sender: info.ssi_pid as i32 });
                }
                Ok(Signal::SIGINT) if info.ssi_code == SENT_BY_KERNEL => {
                    wishes.push(Wish::TerminalInterrupt);
                }
                Ok(Signal::SIGINT) => wishes.push(Wish::Interrupt),
                Ok(Signal::SIGHUP) if self.had_terminal && !has_terminal() => {
                    wishes.push(Wish::HungUp);
                }
                Ok(Signal::SIGHUP) => wishes.push(Wish::Reload),
                Ok(Signal::SIGCHLD) => wishes.push(Wish::ChildEnded),
                _ => {}
            }
        }
        wishes
    }
}

impl std::os::fd::AsFd for Signals {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The kernel takes a terminal that has hung up from all of its programs.
fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}

/// Whether we were started with this signal ignored. It still reaches the descriptor, since it is
/// blocked: right for SIGINT, which a shell without job control ignores in `program &`, but the
/// purpose of `nohup` is that SIGHUP does nothing.
fn is_ignored(signal: Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0);
    ignored & (1 << (signal as i32 - 1)) != 0
}
