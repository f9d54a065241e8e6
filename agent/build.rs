//! Builds the BPF programs and embeds the object in the agent.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use aya_build::{Package, Toolchain};

/// The toolchains that may build the programs, as `scripts/setup` provides them, best first.
const TOOLCHAINS: [&str; 2] = ["overlay-bpf", "nightly"];

fn main() -> Result<()> {
    let Some(toolchain) = TOOLCHAINS.into_iter().find(|toolchain| has_rust_src(toolchain)) else {
        bail!("no Rust toolchain with rust-src builds the BPF programs; hint: run `make setup`");
    };
    // The linked toolchain is a stable release; this opens build-std to it. aya-build reads the environment.
    // SAFETY: nothing else runs in this process yet.
    unsafe { std::env::set_var("RUSTC_BOOTSTRAP", "1") };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace")?;
    let programs = root.join("ebpf/programs");
    println!("cargo:rerun-if-changed={}", root.join("ebpf").display());
    aya_build::build_ebpf(
        [Package {
            name: "overlay-programs",
            root_dir: programs.to_str().context("the checkout's path is not UTF-8")?,
            features: if cfg!(feature = "next-abi") { &["next-abi"] } else { &[] },
            ..Package::default()
        }],
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
