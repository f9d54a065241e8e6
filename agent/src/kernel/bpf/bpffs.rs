//! The bpffs that pins are on.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context as _, Result};
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

/// The folder of the links' pins.
pub(super) const LINKS: &str = "links";

/// The folder of what is pinned in one version of the layouts.
pub(super) fn version(abi: u32) -> String {
    format!("v{abi}")
}

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
/// bpffs is mounted right there; so does not what others keep in it.
///
/// # Errors
/// Names the first thing that can't be removed.
pub fn remove(dir: &Path) -> Result<()> {
    remove_folder(&dir.join(LINKS))?;
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| format!("reading {}", dir.display()))?,
    };
    for entry in entries {
        let path = entry.with_context(|| format!("reading {}", dir.display()))?.path();
        if path.is_dir() {
            remove_folder(&path)?;
        }
    }
    match fs::remove_dir(dir) {
        Err(error)
            if matches!(error.kind(), io::ErrorKind::ResourceBusy | io::ErrorKind::DirectoryNotEmpty) =>
        {
            Ok(())
        }
        result => result.with_context(|| format!("removing {}", dir.display())),
    }
}

/// Removes what is pinned below `dir` in other versions of the layouts than this one, and names the folders.
pub(super) fn remove_other_versions(dir: &Path, abi: u32) -> Result<Vec<String>> {
    let mut removed = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
        let entry = entry.with_context(|| format!("reading {}", dir.display()))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let is_version = name.strip_prefix('v').is_some_and(|number| number.parse::<u32>().is_ok());
        if is_version && name != version(abi) {
            remove_folder(&entry.path())?;
            removed.push(name);
        }
    }
    Ok(removed)
}

fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.with_context(|| format!("removing {}", folder.display())),
    }
}
