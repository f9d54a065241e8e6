//! What the host's own processes send to its own addresses, at the ingress of loopback: they are clients of published
//! ports too.

use aya_ebpf::programs::TcContext;
use overlay_abi::services::node_flag;

use crate::frame::{Outcome, Verdict};
use crate::{maps, mesh, work};

#[inline(always)]
pub fn run(ctx: &TcContext) -> Outcome {
    let Some(node) = maps::node() else { return Ok(Verdict::Pass) };
    let Some(work) = maps::work() else { return Ok(Verdict::Pass) };
    if node.flags & node_flag::MESH == 0 {
        return Ok(Verdict::Pass);
    }
    work.begin();
    if work::read(ctx, work, 0) { mesh::ingress(ctx, work) } else { Ok(Verdict::Pass) }
}
