//! The only place that touches the kernel.

pub mod bpf;
pub mod netlink;
pub mod netns;
pub mod preflight;

#[cfg(test)]
mod testing;
