//! `make bench`: the overlay beside the bare underlay, the classic layout, and the *floor*, which is the least that tc
//! programs can do on this kernel (no lookup, no check); turn by turn in one run.
//!
//! Figures on such a machine mean nothing alone; the ratios do. Each is the median of its rounds. `BENCH_QUICK=1`
//! makes fewer and shorter ones: enough to see that everything runs. An argument chooses the measurements whose
//! name contains it, and leaves out the rest; `packets`, `published`, `agent`, `managers`, `reconcile`, `services` and `intent`
//! are such names too, and the first two take a second one of that kind. The last three time the core itself, so they want an
//! optimized build, but neither root nor a lab.

mod agent;
mod floors;
mod intent;
mod managers;
mod measure;
mod packets;
mod paths;
mod programs;
mod published;
mod reconcile;
mod report;
mod services;

use std::time::Duration;

use anyhow::{Context as _, Result};
use overlay_harness::{Lab, Topology};

use crate::measure::Ends;
use crate::paths::Paths;
use crate::report::Row;

/// How much is measured.
#[derive(Clone, Copy)]
struct Effort {
    /// Odd, so that a median is one of the rounds.
    rounds: usize,
    /// Of packets, alone.
    packet_rounds: usize,
    /// Of one stream or flood.
    duration: Duration,
    /// In one round of request and response.
    round_trips: usize,
    attaches: usize,
    idle: Duration,
}

impl Effort {
    fn asked_for() -> Self {
        if std::env::var_os("BENCH_QUICK").is_some_and(|value| !value.is_empty()) {
            let duration = Duration::from_millis(150);
            Self {
                rounds: 3,
                packet_rounds: 11,
                duration,
                round_trips: 1_000,
                attaches: 5,
                idle: Duration::from_secs(2),
            }
        } else {
            let duration = Duration::from_millis(500);
            Self {
                rounds: 9,
                packet_rounds: 51,
                duration,
                round_trips: 5_000,
                attaches: 100,
                idle: Duration::from_secs(10),
            }
        }
    }

    /// As long in all, in rounds so short that what else the machine does for a while hits one path like the next.
    fn in_short_rounds(self) -> Self {
        const SHORTER: usize = 5;
        Self {
            rounds: self.rounds * SHORTER,
            duration: self.duration / SHORTER as u32,
            round_trips: self.round_trips / SHORTER,
            ..self
        }
    }
}

/// One thing that is measured on each path.
struct Measurement {
    name: &'static str,
    unit: &'static str,
    /// What each of the run's results is called, and the overlay's goal, as a ratio to the bare underlay's.
    figures: &'static [(&'static str, Option<f64>)],
    run: fn(&Ends, &Effort) -> Result<Vec<f64>>,
}

/// Of packets that never fill a frame, so how large frames may become does not matter.
const SMALL: [Measurement; 3] = [
    Measurement {
        name: "TCP request/response",
        unit: "us",
        figures: &[("p50", Some(1.15)), ("p99", None)],
        run: |ends, effort| measure::tcp_round_trips(ends, effort.round_trips),
    },
    Measurement {
        name: "UDP request/response",
        unit: "us",
        figures: &[("p50", Some(1.15)), ("p99", None)],
        run: |ends, effort| measure::udp_round_trips(ends, effort.round_trips),
    },
    Measurement {
        name: "64 B UDP packets",
        unit: "M/s",
        figures: &[("", Some(0.80))],
        run: |ends, effort| measure::flood(ends, effort.duration),
    },
];

/// 64 KB frames cross the underlay, as between two ends of a veth pair or over a NIC that segments tunnels.
const LARGE: [Measurement; 2] = [
    Measurement {
        name: "TCP, 64 KB frames, 1 stream",
        unit: "Gbit/s",
        figures: &[("", Some(0.75))],
        run: |ends, effort| measure::streams(ends, 1, effort.duration),
    },
    Measurement {
        name: "TCP, 64 KB frames, 4 streams",
        unit: "Gbit/s",
        figures: &[("", Some(0.75))],
        run: |ends, effort| measure::streams(ends, 4, effort.duration),
    },
];

/// At most 1500 B cross it.
const WIRE: [Measurement; 2] = [
    Measurement {
        name: "TCP, wire, 1 stream",
        unit: "Gbit/s",
        figures: &[("", Some(0.98))],
        run: |ends, effort| measure::streams(ends, 1, effort.duration),
    },
    Measurement {
        name: "TCP, wire, 4 streams",
        unit: "Gbit/s",
        figures: &[("", Some(0.98))],
        run: |ends, effort| measure::streams(ends, 4, effort.duration),
    },
];

fn main() -> Result<()> {
    let effort = Effort::asked_for();
    let chosen = std::env::args().nth(1).unwrap_or_default();
    let of_these = std::env::args().nth(2).unwrap_or_default();
    match chosen.as_str() {
        "packets" => return packets::print(effort.packet_rounds, &of_these),
        "published" => return published::print(&effort, &of_these),
        "agent" => return agent::print(&effort),
        "managers" => return managers::print(),
        "reconcile" => return reconcile::print(),
        "services" => return services::print(),
        "intent" => return intent::print(),
        _ => {}
    }
    {
        let lab = Lab::new(Topology::cabled())?;
        let paths = Paths::build(&lab)?;
        report::heading(effort.rounds);
        let small = measure_all(&SMALL, &chosen, &paths, &effort)?;
        measure_all(&LARGE, &chosen, &paths, &effort)?;
        paths.as_on_a_wire()?;
        measure_all(&WIRE, &chosen, &paths, &effort)?;
        paths.as_made()?;
        if let Some(round_trip) = small.iter().find(|row| row.is("UDP request/response", "p50")) {
            programs::print(&paths, &effort, round_trip)?;
        }
    }
    if chosen.is_empty() {
        packets::print(effort.packet_rounds, "")?;
        published::print(&effort, "")?;
        agent::print(&effort)?;
        managers::print()?;
    }
    Ok(())
}

/// Measures what is chosen, prints it, and hands back what was printed.
fn measure_all(
    measurements: &[Measurement],
    chosen: &str,
    paths: &Paths,
    effort: &Effort,
) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for measurement in measurements.iter().filter(|measurement| measurement.name.contains(chosen)) {
        let name = measurement.name;
        for row in rounds(measurement, paths, effort).with_context(|| format!("measuring {name}"))? {
            row.print();
            rows.push(row);
        }
    }
    Ok(rows)
}

/// The paths take turns, so that what else the machine does hits all.
fn rounds(measurement: &Measurement, paths: &Paths, effort: &Effort) -> Result<Vec<Row>> {
    let mut rows: Vec<_> =
        measurement.figures.iter().map(|(figure, goal)| Row::new(measurement, figure, *goal)).collect();
    for round in 0..effort.rounds {
        report::progress(&format!("{}: round {} of {}", measurement.name, round + 1, effort.rounds));
        let results = paths.all().map(|path| {
            (measurement.run)(&path.ends, effort).with_context(|| format!("over the {} path", path.name))
        });
        for (path, values) in results.into_iter().enumerate() {
            for (row, value) in rows.iter_mut().zip(values?) {
                row.rounds[path].push(value);
            }
        }
    }
    report::progress("");
    Ok(rows)
}
