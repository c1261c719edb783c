//! The list of gates: what must hold before a change is taken, one command each.
//!
//! A gate is one line here and one file beside this one, or one call of cargo.

mod arrows;
pub mod codegen;
mod deny;
mod docs;
mod installed;
mod loom;
mod node;
mod ordering;
mod readme;
mod served;
pub mod tests;

use anyhow::{Result, bail};

use crate::conformance;
use crate::runner::Runner;

pub struct Gate {
    pub name: &'static str,
    /// Generous for a build from nothing; a gate that hangs ends here.
    pub limit_s: u64,
    /// Reads the folder `cargo xtask build` makes.
    pub needs_build: bool,
    pub run: fn(&Runner) -> Result<()>,
}

/// In the order of `cargo xtask test`: quick ones first.
pub const GATES: [Gate; 15] = [
    Gate { name: "fmt", limit_s: 60, needs_build: false, run: fmt },
    Gate { name: "docs", limit_s: 60, needs_build: false, run: docs::run },
    Gate { name: "arrows", limit_s: 60, needs_build: false, run: arrows::run },
    Gate { name: "deny", limit_s: 60, needs_build: false, run: deny::run },
    Gate { name: "clippy", limit_s: 900, needs_build: false, run: clippy },
    Gate { name: "codegen", limit_s: 300, needs_build: false, run: codegen::check },
    Gate { name: "test", limit_s: 1500, needs_build: true, run: tests::rust },
    Gate { name: "loom", limit_s: 600, needs_build: false, run: loom::run },
    Gate { name: "ordering", limit_s: 1200, needs_build: false, run: ordering::run },
    Gate { name: "python", limit_s: 600, needs_build: true, run: tests::python },
    Gate { name: "node", limit_s: 600, needs_build: true, run: node::run },
    Gate { name: "conformance", limit_s: 600, needs_build: true, run: conformance::gate },
    Gate { name: "readme", limit_s: 60, needs_build: true, run: readme::run },
    Gate { name: "wheel", limit_s: 120, needs_build: true, run: installed::run },
    Gate { name: "blackbox", limit_s: 1200, needs_build: true, run: tests::black_box },
];

pub fn find(name: &str) -> Option<&'static Gate> {
    GATES.iter().find(|gate| gate.name == name)
}

pub fn names() -> String {
    GATES.iter().map(|gate| gate.name).collect::<Vec<_>>().join(", ")
}

fn fmt(runner: &Runner) -> Result<()> {
    runner.run(&mut runner.cargo(["fmt", "--all", "--check"]))
}

fn clippy(runner: &Runner) -> Result<()> {
    let rules = ["--all-targets", "--", "-D", "warnings"];
    runner.run(runner.cargo(["clippy", "--workspace"]).args(rules))?;
    let portable = ["clippy", "-p", "rings", "-p", "supervisor", "-p", "nuclio-conformance"];
    let features = ["--features", "rings/portable,supervisor/portable"];
    runner.run(runner.cargo(portable).args(features).args(rules))
}

/// Prints every finding and fails when there is one.
fn settle(runner: &Runner, findings: &[String]) -> Result<()> {
    for finding in findings {
        runner.note(finding);
    }
    match findings.len() {
        0 => Ok(()),
        1 => bail!("1 finding"),
        count => bail!("{count} findings"),
    }
}
