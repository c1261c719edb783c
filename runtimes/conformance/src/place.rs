//! What is under test: a runtime's folder, and the functions written for the kit.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::limits::DESCRIPTION_BYTES;

/// Names another interpreter than runtime.toml does.
const INTERPRETER_ENV: &str = "NUCLIO_CONFORMANCE_INTERPRETER";

/// The words of runtime.toml that starting a worker needs.
#[derive(Debug, Deserialize)]
pub struct Runtime {
    pub id: String,
    pub command: Vec<String>,
    #[serde(default)]
    pub interpreter: String,
    #[serde(default)]
    pub batches: bool,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}

/// One function of conformance.toml.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Function {
    pub name: String,
    /// The code, beside conformance.toml.
    pub code: PathBuf,
    #[serde(default)]
    pub handler: String,
    /// Code that cannot be a function as it stands.
    #[serde(default)]
    pub broken: Option<PathBuf>,
    /// runtimeAttributes.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// For the kit's own test: exactly these checks must fail.
    #[serde(default)]
    pub fails: BTreeSet<String>,
    /// Checks that make no sense for this function, each with its reason.
    #[serde(default)]
    pub without: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Functions {
    function: Vec<Function>,
}

/// See the module.
#[derive(Debug)]
pub struct Place {
    pub runtime: Runtime,
    pub functions: Vec<Function>,
    /// The folder of runtime.toml.
    home: PathBuf,
}

impl Place {
    pub fn read(runtime: &Path, functions: &Path) -> Result<Self> {
        let home = absolute(runtime)?;
        let beside = absolute(functions)?;
        let mut all: Functions = described(&beside.join("conformance.toml"))?;
        let known: Vec<&str> = crate::checks::all().iter().map(|(name, _)| *name).collect();
        for function in &mut all.function {
            function.code = absolute(&beside.join(&function.code))?;
            if let Some(broken) = &mut function.broken {
                *broken = absolute(&beside.join(&*broken))?;
            }
            for name in function.without.keys().chain(&function.fails) {
                let names = known.join(", ");
                ensure!(known.contains(&&**name), "there is no check {name}; there are: {names}");
            }
        }
        Ok(Self { runtime: described(&home.join("runtime.toml"))?, functions: all.function, home })
    }

    /// The worker's command line, as the processor makes it.
    pub fn command(&self) -> Result<Command> {
        let interpreter = std::env::var(INTERPRETER_ENV).ok().filter(|name| !name.is_empty());
        let interpreter = interpreter.unwrap_or_else(|| self.runtime.interpreter.clone());
        let home = self.home.to_str().context("the runtime's folder is not UTF-8")?;
        let mut words = self
            .runtime
            .command
            .iter()
            .map(|word| word.replace("{interpreter}", &interpreter).replace("{runtime}", home));
        let mut command = Command::new(words.next().context("command in runtime.toml is empty")?);
        command.args(words).envs(&self.runtime.env);
        Ok(command)
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    path.canonicalize().with_context(|| format!("{} is not there", path.display()))
}

fn described<T: DeserializeOwned>(file: &Path) -> Result<T> {
    let mut text = String::new();
    File::open(file)
        .and_then(|file| file.take(DESCRIPTION_BYTES).read_to_string(&mut text))
        .with_context(|| format!("cannot read {}", file.display()))?;
    toml::from_str(&text).with_context(|| format!("{} is wrong", file.display()))
}
