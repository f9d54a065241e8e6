//! Builds the floor's BPF programs, and the data path's with what times them, and embeds both objects in the bench.

fn main() -> anyhow::Result<()> {
    overlay_ebpf_build::build("overlay-floor", "tests/bench/floor", &[])?;
    overlay_ebpf_build::build("overlay-programs", "ebpf/programs", &["bench"])
}
