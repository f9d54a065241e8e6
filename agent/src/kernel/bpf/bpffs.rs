//! The bpffs that pins are on.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context as _, Result};
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

/// Makes `dir`, and mounts a bpffs on its parent where that is not on one.
///
/// # Errors
/// When the parent can't be made or mounted on.
pub fn ensure_bpffs(dir: &Path) -> Result<()> {
    let parent = dir.parent().with_context(|| format!("{} has no parent directory", dir.display()))?;
    fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
    let kind = statfs(parent).with_context(|| format!("looking at {}", parent.display()))?.filesystem_type();
    if kind != BPF_FS_MAGIC {
        mount(Some("bpf"), parent, Some("bpf"), MsFlags::empty(), None::<&str>).with_context(|| {
            format!("mounting a bpffs on {}; hint: the agent needs CAP_SYS_ADMIN for it", parent.display())
        })?;
    }
    fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))
}

/// Removes every pin below `dir`, and `dir`: the data path stops, a moment later. Programs go
/// before what they need.
///
/// # Errors
/// Names the first thing that can't be removed.
pub fn remove(dir: &Path) -> Result<()> {
    for path in [&dir.join("links"), dir] {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("removing {}", path.display()));
            }
            _ => {}
        }
    }
    Ok(())
}
