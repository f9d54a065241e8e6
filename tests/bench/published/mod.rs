//! A published port of one node, asked by who is no node, while the backend is on another node: the mesh at both of its
//! hooks, beside the backend's node asked directly, what nftables makes of it over the classic layout, and the least that tc
//! programs can do where clients are hidden (`floor/published.rs`).

mod floor;
mod layouts;
mod switch;

use anyhow::{Context as _, Result};

use self::layouts::{Layout, Site};
use crate::report::{median, progress};
use crate::{Effort, Measurement, measure};

/// The layouts' places.
const BARE: usize = 0;
const NFTABLES: usize = 1;

/// The goals are multiples of nftables.
const MEASUREMENTS: [Measurement; 5] = [
    Measurement {
        name: "connections",
        unit: "1/s",
        figures: &[("", Some(1.4))],
        run: |ends, effort| measure::connections(ends, effort.duration),
    },
    Measurement {
        name: "64 B UDP packets",
        unit: "M/s",
        figures: &[("", Some(1.4))],
        run: |ends, effort| measure::flood(ends, effort.duration),
    },
    Measurement {
        name: "TCP, wire, 1 stream",
        unit: "Gbit/s",
        figures: &[("", None)],
        run: |ends, effort| measure::streams(ends, 1, effort.duration),
    },
    Measurement {
        name: "TCP, wire, 4 streams",
        unit: "Gbit/s",
        figures: &[("", None)],
        run: |ends, effort| measure::streams(ends, 4, effort.duration),
    },
    Measurement {
        name: "TCP request/response",
        unit: "us",
        figures: &[("p50", None), ("p99", None)],
        run: |ends, effort| measure::tcp_round_trips(ends, effort.round_trips),
    },
];

/// Prints the measurements whose name contains `chosen`.
pub(crate) fn print(effort: &Effort, chosen: &str) -> Result<()> {
    progress("making the labs of a published port");
    let sites = [
        Site::bare()?,
        Site::nftables()?,
        Site::floor()?,
        Site::mesh("tc", "mesh_hook = \"tc\"\n")?,
        Site::mesh("xdp", "mesh_hook = \"xdp\"\n")?,
    ];
    let layouts: Vec<&Layout> = sites.iter().flat_map(|site| &site.layouts).collect();
    heading(&layouts);
    for measurement in MEASUREMENTS.iter().filter(|measurement| measurement.name.contains(chosen)) {
        let name = measurement.name;
        // A stream takes a while until it is as fast as it gets.
        let effort = if name.contains("stream") { *effort } else { effort.in_short_rounds() };
        let rounds = rounds(measurement, &layouts, &effort).with_context(|| format!("measuring {name}"))?;
        for ((figure, goal), layouts) in measurement.figures.iter().zip(&rounds) {
            let space = if figure.is_empty() { "" } else { " " };
            print_figure(&format!("{name}{space}{figure}, {}", measurement.unit), layouts, *goal);
        }
    }
    sites.iter().try_for_each(Site::ensure_hook)
}

/// By figure, then by layout. These take turns, so that what else the machine does hits all.
fn rounds(measurement: &Measurement, layouts: &[&Layout], effort: &Effort) -> Result<Vec<Vec<Vec<f64>>>> {
    let mut rounds = vec![vec![Vec::new(); layouts.len()]; measurement.figures.len()];
    for round in 1..=effort.rounds {
        progress(&format!("published port, {}: round {round} of {}", measurement.name, effort.rounds));
        for (place, layout) in layouts.iter().enumerate() {
            let values = (measurement.run)(&layout.ends, effort).with_context(|| layout.name.clone())?;
            for (figure, value) in rounds.iter_mut().zip(values) {
                figure[place].push(value);
            }
        }
    }
    progress("");
    Ok(rounds)
}

fn heading(layouts: &[&Layout]) {
    println!("\nA published port of one node, a backend on another, a client on neither");
    let names: String = layouts.iter().map(|layout| format!("{:>14}", layout.name)).collect();
    println!("{:<36}{names}{:>7}", "medians of all rounds", "goal");
}

/// The values, and beneath them what they are of the bare underlay's and of nftables' in the same round.
fn print_figure(title: &str, rounds: &[Vec<f64>], goal: Option<f64>) {
    let medians: Vec<f64> = rounds.iter().map(|values| median(values)).collect();
    println!("{title:<36}{}", columns(&medians, 0));
    for (what, place, goal) in [("ratio to bare", BARE, None), ("ratio to nftables", NFTABLES, goal)] {
        let ratio = |values: &Vec<f64>| {
            let ratios: Vec<f64> =
                values.iter().zip(&rounds[place]).map(|(value, base)| value / base).collect();
            median(&ratios)
        };
        let ratios: Vec<f64> = rounds.iter().map(ratio).collect();
        let goal = goal.map_or(String::new(), |goal| format!("{goal:>7.2}"));
        println!("  {what:<34}{}{goal}", columns(&ratios, place));
    }
}

/// Blank up to the `first`.
fn columns(values: &[f64], first: usize) -> String {
    let column =
        |(place, value)| if place < first { format!("{:>14}", "") } else { format!("{value:>14.2}") };
    values.iter().enumerate().map(column).collect()
}
