//! For build scripts: builds a package of BPF programs. It knows which toolchain does that, and nothing of the programs.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use aya_build::{Package, Toolchain};

/// The toolchains that may build the programs, as `scripts/setup` provides them, best first.
const TOOLCHAINS: [&str; 2] = ["overlay-bpf", "nightly"];

/// Builds the package in `folder`, counted from the workspace's root. Its object is `OUT_DIR`/`package` then.
///
/// # Errors
/// When there is no toolchain for it, or it does not build.
pub fn build(package: &str, folder: &str, features: &[&str]) -> Result<()> {
    let Some(toolchain) = TOOLCHAINS.into_iter().find(|toolchain| has_rust_src(toolchain)) else {
        bail!("no Rust toolchain with rust-src builds the BPF programs; hint: run `make setup`");
    };
    // The linked toolchain is a stable release; this opens build-std to it. aya-build reads the environment.
    // SAFETY: a build script calls this, and has no other thread.
    unsafe { std::env::set_var("RUSTC_BOOTSTRAP", "1") };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("the workspace")?;
    println!("cargo:rerun-if-changed={}", root.join("ebpf").display());
    let folder = root.join(folder);
    let root_dir = folder.to_str().context("the checkout's path is not UTF-8")?;
    aya_build::build_ebpf(
        [Package { name: package, root_dir, features, ..Package::default() }],
        Toolchain::Custom(toolchain),
    )
}

fn has_rust_src(toolchain: &str) -> bool {
    let Ok(output) = Command::new("rustc").arg(format!("+{toolchain}")).args(["--print", "sysroot"]).output()
    else {
        return false;
    };
    let sysroot = String::from_utf8_lossy(&output.stdout);
    Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core/Cargo.toml").exists()
}
