//! Builds the BPF programs and embeds the object in the agent.

fn main() -> anyhow::Result<()> {
    let features: &[&str] = if cfg!(feature = "next-abi") { &["next-abi"] } else { &[] };
    overlay_ebpf_build::build("overlay-programs", "ebpf/programs", features)
}
