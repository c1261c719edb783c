//! Where programs and files are found, and how to show a command line without this machine's
//! folders.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// Nuclio's programs, when not beside `compare` nor named by `NUCLIO_BIN_DIR`.
const NUCLIO_FOLDERS: [&str; 2] = ["target/quick", "target/dist/nuclio/bin"];

pub struct Places {
    /// The checkout.
    workspace: PathBuf,
    /// The folder of this program.
    programs: PathBuf,
    /// The peers' virtual environment.
    venv: PathBuf,
}

impl Places {
    pub fn find() -> Result<Self> {
        let benches = Path::new(env!("CARGO_MANIFEST_DIR"));
        let workspace = benches.parent().context("the crate lies in no workspace")?.to_owned();
        let program = env::current_exe()?;
        let programs = program.parent().context("this program lies in no folder")?.to_owned();
        let venv = match env::var_os("PEERS_VENV") {
            Some(folder) => PathBuf::from(folder),
            None => workspace.join("target/peers-venv"),
        };
        Ok(Self { workspace, programs, venv })
    }

    pub fn scenario_file(&self, name: &str) -> PathBuf {
        self.workspace.join("benches/scenarios").join(name)
    }

    pub fn peers_folder(&self) -> PathBuf {
        self.workspace.join("benches/peers")
    }

    pub fn results_folder(&self, date: &str) -> PathBuf {
        self.workspace.join("benches/results").join(date)
    }

    /// Where nuclio's registry of running functions goes meanwhile.
    pub fn state_folder(&self) -> Result<PathBuf> {
        let folder = self.programs.join("bench-state");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder)
    }

    pub fn floor(&self) -> Result<PathBuf> {
        let floor = self.programs.join("floor");
        ensure!(floor.is_file(), "no program `floor` beside `compare`; build the whole crate");
        Ok(floor)
    }

    pub fn nuclio(&self) -> Result<PathBuf> {
        if let Some(folder) = env::var_os("NUCLIO_BIN_DIR") {
            let nuclio = PathBuf::from(folder).join("nuclio");
            ensure!(nuclio.is_file(), "NUCLIO_BIN_DIR has no program `nuclio`");
            return Ok(nuclio);
        }
        let built = NUCLIO_FOLDERS.iter().map(|folder| self.workspace.join(folder));
        let mut folders = std::iter::once(self.programs.clone()).chain(built);
        let nuclio = folders.find_map(|folder| {
            let program = folder.join("nuclio");
            program.is_file().then_some(program)
        });
        nuclio.context("no program `nuclio`: build it, or name its folder in NUCLIO_BIN_DIR")
    }

    pub fn peers_python(&self) -> Option<PathBuf> {
        let python = self.venv.join("bin/python");
        python.exists().then_some(python)
    }

    /// What setup.sh had npm install.
    pub fn peers_node_modules(&self) -> PathBuf {
        self.venv.join("node_modules")
    }

    pub fn peer_module(&self, module: &str) -> Command {
        let mut command = self.python();
        command.args(["-m", module]);
        command
    }

    pub fn peer_script(&self, name: &str) -> Command {
        let mut command = self.python();
        command.arg(self.peers_folder().join(name));
        command
    }

    fn python(&self) -> Command {
        let mut command = Command::new(self.venv.join("bin/python"));
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// An error that says why the package is not there.
    pub fn ensure_peer(&self, package: &str) -> Result<()> {
        let Some(list) = self.peers_list() else {
            bail!("not installed: run benches/peers/setup.sh first");
        };
        let line = list.lines().find(|line| line.split('\t').next() == Some(package));
        match line.and_then(|line| line.split('\t').nth(2)) {
            Some("ok") => Ok(()),
            Some(reason) => bail!("not installed: {reason}"),
            None => bail!("not installed: benches/peers/setup.sh does not list it"),
        }
    }

    /// What setup.sh wrote: package, version, `ok` or why not.
    pub fn peers_list(&self) -> Option<String> {
        fs::read_to_string(self.venv.join("peers.tsv")).ok()
    }

    /// The command line as anybody could type it in their own checkout.
    pub fn show(&self, command: &Command) -> String {
        let program = file_name(Path::new(command.get_program()));
        let words = command.get_args().map(|word| self.show_word(word));
        std::iter::once(program).chain(words).collect::<Vec<_>>().join(" ")
    }

    /// A server's own words, the folder of this checkout left out.
    pub fn show_text(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.workspace.display()), "")
    }

    pub fn show_word(&self, word: &OsStr) -> String {
        let path = Path::new(word);
        match path.strip_prefix(&self.workspace) {
            Ok(inside) => inside.display().to_string(),
            Err(_) if path.is_absolute() => file_name(path),
            Err(_) => word.to_string_lossy().into_owned(),
        }
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
