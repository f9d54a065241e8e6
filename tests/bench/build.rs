//! Builds the floor's BPF programs and embeds the object in the bench.

fn main() -> anyhow::Result<()> {
    overlay_ebpf_build::build("overlay-floor", "tests/bench/floor", &[])
}
