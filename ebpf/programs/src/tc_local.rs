//! What the host's own processes send to its own addresses, at the ingress of loopback: they are clients of published
//! ports too.

use aya_ebpf::programs::TcContext;
use overlay_abi::services::node_flag;

use crate::frame::{Outcome, Verdict};
use crate::{maps, mesh};

#[inline(always)]
pub fn run(ctx: &TcContext) -> Outcome {
    match maps::node() {
        Some(node) if node.flags & node_flag::MESH != 0 => mesh::ingress(ctx),
        _ => Ok(Verdict::Pass),
    }
}
