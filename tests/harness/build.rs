//! Builds the program of the switch's ports and embeds the object in the harness.

fn main() -> anyhow::Result<()> {
    overlay_ebpf_build::build("overlay-wire", "tests/harness/wire", &[])
}
