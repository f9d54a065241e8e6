//! Where the overlay's time goes: what each program takes for a packet, by the kernel's own statistics.

use anyhow::{Context as _, Result};
use aya::programs::{ProgramInfo, SchedClassifier, TcAttachType};
use aya::sys::{Stats, enable_stats};
use overlay_harness::Netns;

use crate::Effort;
use crate::measure;
use crate::paths::Paths;
use crate::report::{BARE, OVERLAY, Row, progress};

/// A program on a packet's way, in the order of the way.
struct Step<'a> {
    what: &'static str,
    node: &'a Netns,
    device: &'a str,
    hook: TcAttachType,
}

/// Prints the way of a small packet, step by step. `round_trip` is the row of the UDP round trip's median.
pub(crate) fn print(paths: &Paths, effort: &Effort, round_trip: &Row) -> Result<()> {
    progress("timing the programs");
    let [sender, receiver] = &paths.overlay().nodes;
    let device = paths.device();
    let steps = [
        Step { what: "tc_endpoint", node: sender, device: &paths.host_ends[0], hook: TcAttachType::Ingress },
        Step { what: "tc_guard", node: sender, device, hook: TcAttachType::Egress },
        Step { what: "tc_underlay", node: receiver, device, hook: TcAttachType::Ingress },
    ];
    let _statistics = enable_stats(Stats::RunTime).context("switching the kernel's BPF statistics on")?;
    let before = readings(&steps)?;
    measure::udp_round_trips(&paths.overlay().ends, effort.round_trips)?;
    let after = readings(&steps)?;
    progress("");

    println!("\na small packet's way, ns");
    let mut known = 0.0;
    for (step, (before, after)) in steps.iter().zip(before.into_iter().zip(after)) {
        let nanoseconds = (after.0 - before.0) / (after.1 - before.1).max(1.0);
        known += nanoseconds;
        println!("{:<60}{nanoseconds:>9.0}", step.what);
    }
    let one_way = |path| round_trip.median(path) * 1e3 / 2.0;
    let (bare, overlay) = (one_way(BARE), one_way(OVERLAY));
    println!("{:<60}{:>9.0}", "the endpoints' veth pairs, redirects, next hop", overlay - bare - known);
    println!("{:<60}{bare:>9.0}", "bare: two sockets' ends, a wake-up, the underlay");
    println!("{:<60}{overlay:>9.0}", "overlay: the sum, half a round trip");
    Ok(())
}

/// Nanoseconds and runs so far, by step.
fn readings(steps: &[Step<'_>]) -> Result<Vec<(f64, f64)>> {
    steps.iter().map(|step| reading(step).with_context(|| format!("reading {}", step.what))).collect()
}

fn reading(step: &Step<'_>) -> Result<(f64, f64)> {
    step.node.run(|| {
        let (_, programs) = SchedClassifier::query_tcx(step.device, step.hook)?;
        let ours = programs.iter().find(|info| info.name_as_str() == Some(step.what));
        let info: &ProgramInfo = ours.context("it is not attached")?;
        Ok((info.run_time().as_nanos() as f64, info.run_count() as f64))
    })
}
