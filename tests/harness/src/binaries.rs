//! The programs under test, built before the first lab starts, so that no test runs against yesterday's.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use anyhow::{Context as _, Result, anyhow};

use crate::command;

const NEXT: &str = "overlayd-next";

/// The agent.
///
/// # Errors
/// It does not build.
pub fn overlayd() -> Result<PathBuf> {
    Ok(directory()?.join("overlayd"))
}

/// The agent of an imagined next release, whose maps have another layout. It is built only when it is asked for.
///
/// # Errors
/// It does not build.
pub fn overlayd_next() -> Result<PathBuf> {
    static BUILT: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| {
        build(&["--package", "overlayd", "--features", "next-abi", "--bin", NEXT])
            .map_err(|error| format!("{error:#}"))
    });
    match std::env::var_os("OVERLAY_BIN_DIR") {
        Some(directory) => Ok(Path::new(&directory).join(NEXT)),
        None => BUILT.clone().map(|directory| directory.join(NEXT)).map_err(|error| anyhow!("{error}")),
    }
}

/// The command line.
///
/// # Errors
/// It does not build.
pub fn overlayctl() -> Result<PathBuf> {
    Ok(directory()?.join("overlayctl"))
}

/// The checkout's top folder.
pub fn workspace() -> &'static Path {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("/")).into()
    });
    &ROOT
}

/// Cargo's target folder, from where the test itself is: `TARGET/PROFILE/deps/TEST`.
pub(crate) fn target() -> Result<PathBuf> {
    let test = std::env::current_exe().context("where the test is")?;
    Ok(test.ancestors().nth(3).context("the test is not in a target folder")?.to_owned())
}

/// `OVERLAY_BIN_DIR` names a folder with programs that are there already, to test those.
fn directory() -> Result<PathBuf> {
    static BUILT: LazyLock<Result<PathBuf, String>> =
        LazyLock::new(|| build(&[]).map_err(|error| format!("{error:#}")));
    match std::env::var_os("OVERLAY_BIN_DIR") {
        Some(directory) => Ok(directory.into()),
        None => {
            BUILT.clone().map_err(|error| anyhow!("{error}\nhint: fix the build, or set OVERLAY_BIN_DIR"))
        }
    }
}

fn build(what: &[&str]) -> Result<PathBuf> {
    let (profile, flags) =
        if cfg!(debug_assertions) { ("debug", None) } else { ("release", Some("--release")) };
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command::output(cargo.args(["build", "--quiet"]).args(what).args(flags).current_dir(workspace()))?;
    Ok(target()?.join(profile))
}
