//! Packs an assembled folder into a Python wheel, so that `pip install FILE.whl` gives `nuclio`.
//!
//! Programs go to the environment's `bin`, runtimes to `share/nuclio/runtimes` beside it (where the
//! processor looks), and `nuclio_sdk` with its extension also to `site-packages`, for editors and unit tests.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::{python, source, tarball};

/// The module with the fixtures of `nuclio_sdk.testing`.
const PYTEST_PLUGIN: &str = "nuclio_sdk.testing.pytest_plugin";

/// Writes the wheel into `into` and returns its path.
pub fn write(root: &Path, folder: &Path, version: &str, into: &Path) -> Result<PathBuf> {
    // Honest: only a build against an old C library may claim a manylinux tag.
    let tag = format!("py3-none-linux_{}", std::env::consts::ARCH);
    std::fs::create_dir_all(into)?;
    let path = into.join(format!("nuclio-{version}-{tag}.whl"));
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut wheel = Wheel { zip: ZipWriter::new(file), record: String::new() };
    let data = format!("nuclio-{version}.data");
    wheel.add_below(&folder.join("bin"), &format!("{data}/scripts"))?;
    wheel.add_below(&folder.join("runtimes"), &format!("{data}/data/share/nuclio/runtimes"))?;
    wheel.add_below(&folder.join("runtimes/python/nuclio_sdk"), "nuclio_sdk")?;
    // The SDK's Event and Response are the extension's, also where no processor runs.
    let extension = std::fs::read(folder.join("runtimes/python/_nuclio.abi3.so"));
    let extension = extension.context("cannot read the extension")?;
    wheel.add("_nuclio.abi3.so", 0o755, &extension)?;

    let info = format!("nuclio-{version}.dist-info");
    let readme = source::read(&root.join("README.md"))?;
    wheel.add(&format!("{info}/METADATA"), 0o644, metadata(version, &readme).as_bytes())?;
    wheel.add(&format!("{info}/WHEEL"), 0o644, about(&tag).as_bytes())?;
    wheel.add(&format!("{info}/entry_points.txt"), 0o644, entry_points().as_bytes())?;
    let license = std::fs::read(root.join("LICENSE")).context("cannot read LICENSE")?;
    wheel.add(&format!("{info}/licenses/LICENSE"), 0o644, &license)?;
    wheel.finish(&format!("{info}/RECORD"))?;
    Ok(path)
}

struct Wheel {
    zip: ZipWriter<File>,
    record: String,
}

impl Wheel {
    /// Every file below `folder`, under the name `to`.
    fn add_below(&mut self, folder: &Path, to: &str) -> Result<()> {
        for path in tarball::everything_below(folder)? {
            if path.is_file() {
                let name = format!("{to}/{}", path.strip_prefix(folder)?.display());
                self.add(&name, tarball::mode_of(&path)?, &std::fs::read(&path)?)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, name: &str, mode: u32, bytes: &[u8]) -> Result<()> {
        self.put(name, mode, bytes)?;
        let digest = URL_SAFE_NO_PAD.encode(Sha256::digest(bytes));
        self.record.push_str(&format!("{name},sha256={digest},{}\n", bytes.len()));
        Ok(())
    }

    fn put(&mut self, name: &str, mode: u32, bytes: &[u8]) -> Result<()> {
        // The default time is the format's first one, so that same files give same bytes.
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .unix_permissions(mode);
        self.zip.start_file(name, options)?;
        self.zip.write_all(bytes).with_context(|| format!("cannot pack {name}"))
    }

    /// The list of everything comes last and names itself without a digest.
    fn finish(mut self, name: &str) -> Result<()> {
        let record = format!("{}{name},,\n", self.record);
        self.put(name, 0o644, record.as_bytes())?;
        self.zip.finish()?.sync_all()?;
        Ok(())
    }
}

fn metadata(version: &str, readme: &str) -> String {
    let (major, minor) = python::OLDEST;
    format!(
        "Metadata-Version: 2.4\nName: nuclio\nVersion: {version}\n\
         Summary: Functions for events: command line, processor, Python runtime and SDK\n\
         License-Expression: Apache-2.0\nLicense-File: LICENSE\n\
         Requires-Python: >={major}.{minor}\n\
         Description-Content-Type: text/markdown\n\n{readme}"
    )
}

/// pytest finds the fixtures of the test kit by itself. Under the module's own name, so that a
/// `conftest.py` that names it as well loads it once.
fn entry_points() -> String {
    format!("[pytest11]\n{PYTEST_PLUGIN} = {PYTEST_PLUGIN}\n")
}

fn about(tag: &str) -> String {
    format!("Wheel-Version: 1.0\nGenerator: nuclio-xtask\nRoot-Is-Purelib: false\nTag: {tag}\n")
}
