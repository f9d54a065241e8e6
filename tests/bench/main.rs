//! `make bench`: the overlay beside the bare underlay, on the same two nodes, turn by turn in one run.
//!
//! Figures on such a machine mean nothing alone; the ratios do. Each is the median of seven rounds.

mod measure;

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use overlay_harness::{Lab, Netns, Topology};

/// Odd, so that a median is one of the rounds.
const ROUNDS: usize = 7;

/// Two namespaces, and the address of the second.
struct Path<'a> {
    from: &'a Netns,
    to: &'a Netns,
    address: IpAddr,
}

/// One thing that is measured on each path.
struct Measurement {
    name: &'static str,
    unit: &'static str,
    run: fn(&Path<'_>) -> Result<f64>,
}

const MEASUREMENTS: [Measurement; 4] = [
    Measurement { name: "TCP, 1 stream", unit: "Gbit/s", run: |path| measure::tcp_throughput(path, 1) },
    Measurement { name: "TCP, 4 streams", unit: "Gbit/s", run: |path| measure::tcp_throughput(path, 4) },
    Measurement {
        name: "UDP, 64 B request/response, p50",
        unit: "us",
        run: |path| measure::round_trip(path, 50),
    },
    Measurement {
        name: "UDP, 64 B request/response, p99",
        unit: "us",
        run: |path| measure::round_trip(path, 99),
    },
];

fn main() -> Result<()> {
    let lab = Lab::new(Topology::of(2))?;
    lab.form_cluster()?;
    let [one, two] = lab.nodes();
    one.ctl(&["network", "create", "bench"])?;
    let (near, far) = (lab.attach(one, "bench", "near", &[])?, lab.attach(two, "bench", "far", &[])?);
    let bare = Path { from: one.netns(), to: two.netns(), address: two.addr() };
    let ours = Path { from: &near.netns, to: &far.netns, address: far.ip4() };

    println!("{:<34}{:>10}{:>10}{:>10}", "median of 7 rounds", "bare", "overlay", "ratio");
    for Measurement { name, unit, run } in MEASUREMENTS {
        let (bare, ours) = rounds(run, &bare, &ours).with_context(|| format!("measuring {name}"))?;
        println!("{:<34}{bare:>10.2}{ours:>10.2}{:>10.2}", format!("{name}, {unit}"), ours / bare);
    }
    Ok(())
}

/// Both medians; the paths take turns, so that what else the machine does hits both.
fn rounds(run: fn(&Path<'_>) -> Result<f64>, bare: &Path<'_>, ours: &Path<'_>) -> Result<(f64, f64)> {
    let (mut bares, mut ourss) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        eprint!("\rround {} of {ROUNDS} ", round + 1);
        bares.push(run(bare)?);
        ourss.push(run(ours)?);
    }
    eprint!("\r                \r");
    Ok((median(bares), median(ourss)))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
