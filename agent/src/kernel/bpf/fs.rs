//! The bpffs that pins are on.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context as _, Result};
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

/// Makes `dir` a folder on a bpffs. Where it is on another file system, a bpffs is mounted on it; below `/sys`,
/// where folders can't be made, on its parent.
///
/// # Errors
/// When it can't be made or mounted on.
pub fn ensure_bpffs(dir: &Path) -> Result<()> {
    if fs::create_dir_all(dir).is_err() {
        let parent = dir.parent().with_context(|| format!("{} has no parent directory", dir.display()))?;
        mount_bpffs(parent)?;
        fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    }
    let kind = statfs(dir).with_context(|| format!("looking at {}", dir.display()))?.filesystem_type();
    if kind == BPF_FS_MAGIC { Ok(()) } else { mount_bpffs(dir) }
}

fn mount_bpffs(on: &Path) -> Result<()> {
    mount(Some("bpf"), on, Some("bpf"), MsFlags::empty(), None::<&str>).with_context(|| {
        format!("mounting a bpffs on {}; hint: the agent needs CAP_SYS_ADMIN for it", on.display())
    })
}

/// Removes every pin below `dir`: the data path stops. Links go before what they need. `dir` goes, too, unless a
/// bpffs is mounted right there.
///
/// # Errors
/// Names the first thing that can't be removed.
pub fn remove(dir: &Path) -> Result<()> {
    empty(&dir.join("links"))?;
    empty(dir)?;
    match fs::remove_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => Ok(()),
        result => absent_is_fine(result).with_context(|| format!("removing {}", dir.display())),
    }
}

/// Removes what is in a folder, if it is there.
fn empty(folder: &Path) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| format!("reading {}", folder.display()))?,
    };
    for entry in entries {
        let path = entry.with_context(|| format!("reading {}", folder.display()))?.path();
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        absent_is_fine(removed).with_context(|| format!("removing {}", path.display()))?;
    }
    Ok(())
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
