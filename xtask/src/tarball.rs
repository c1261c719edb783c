//! Packs a folder into a `.tar.gz` that depends on the files alone: same files, same bytes.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header};

/// Writes `archive` with `folder` as its only top entry.
pub fn write(folder: &Path, archive: &Path) -> Result<()> {
    let file =
        File::create(archive).with_context(|| format!("cannot write {}", archive.display()))?;
    let mut builder = Builder::new(GzBuilder::new().mtime(0).write(file, Compression::best()));
    let top = folder.parent().context("the folder stands in no folder")?;
    for path in everything_below(folder)? {
        append(&mut builder, &path, path.strip_prefix(top)?)?;
    }
    builder.into_inner()?.finish()?.sync_all()?;
    Ok(())
}

/// `folder`, its folders and its files, each folder before what is in it, sorted.
pub fn everything_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![folder.to_path_buf()];
    let mut next = 0;
    while next < found.len() {
        if found[next].is_dir() {
            for entry in std::fs::read_dir(&found[next])? {
                let path = entry?.path();
                // Python writes byte code beside its files as soon as somebody runs them.
                if path.file_name().is_some_and(|name| name != "__pycache__") {
                    found.push(path);
                }
            }
        }
        next += 1;
    }
    found.sort();
    Ok(found)
}

/// Only "may be executed" is kept of a file's mode, so that no umask leaks in.
pub fn mode_of(path: &Path) -> Result<u32> {
    let executable = path.metadata()?.permissions().mode() & 0o100 != 0;
    Ok(if executable { 0o755 } else { 0o644 })
}

fn append(builder: &mut Builder<impl std::io::Write>, path: &Path, name: &Path) -> Result<()> {
    let mut header = Header::new_ustar();
    header.set_mode(mode_of(path)?);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    let written = if path.is_dir() {
        header.set_entry_type(EntryType::Directory);
        header.set_size(0);
        builder.append_data(&mut header, name, std::io::empty())
    } else {
        header.set_entry_type(EntryType::Regular);
        header.set_size(path.metadata()?.len());
        builder.append_data(&mut header, name, File::open(path)?)
    };
    written.with_context(|| format!("cannot pack {}", path.display()))
}
