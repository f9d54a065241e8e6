//! The table on standard output, and the progress on standard error.

use std::io::IsTerminal as _;

use crate::Measurement;

/// The paths' places in a row.
pub(crate) const BARE: usize = 0;
/// The least that tc programs can do on this kernel: no lookup, no check.
pub(crate) const FLOOR: usize = 1;
pub(crate) const OVERLAY: usize = 2;
pub(crate) const CLASSIC: usize = 3;

/// One figure's rounds, by path.
pub(crate) struct Row {
    measurement: &'static str,
    figure: &'static str,
    unit: &'static str,
    goal: Option<f64>,
    pub(crate) rounds: [Vec<f64>; 4],
}

impl Row {
    pub(crate) fn new(measurement: &Measurement, figure: &'static str, goal: Option<f64>) -> Self {
        let Measurement { name, unit, .. } = measurement;
        Self { measurement: name, figure, unit, goal, rounds: Default::default() }
    }

    pub(crate) fn is(&self, measurement: &str, figure: &str) -> bool {
        (self.measurement, self.figure) == (measurement, figure)
    }

    pub(crate) fn median(&self, path: usize) -> f64 {
        median(&self.rounds[path])
    }

    pub(crate) fn print(&self) {
        let [bare, floor, overlay, classic] = [BARE, FLOOR, OVERLAY, CLASSIC].map(|path| self.median(path));
        let space = if self.figure.is_empty() { "" } else { " " };
        let title = format!("{}{space}{}, {}", self.measurement, self.figure, self.unit);
        let goal = self.goal.map_or(String::new(), |goal| format!("{goal:.2}"));
        println!(
            "{title:<36}{bare:>9.2}{floor:>9.2}{overlay:>9.2}{classic:>9.2}{:>11.2}{:>9.2}{:>9.2}{goal:>7}",
            floor / bare,
            overlay / bare,
            classic / bare
        );
    }
}

pub(crate) fn heading(rounds: usize) {
    println!("{:>74}{:>24}", "", "ratio to bare");
    println!(
        "{:<36}{:>9}{:>9}{:>9}{:>9}{:>11}{:>9}{:>9}{:>7}",
        format!("medians of {rounds} rounds"),
        "bare",
        "floor",
        "overlay",
        "classic",
        "floor",
        "overlay",
        "classic",
        "goal"
    );
}

/// What is being done, on one line that the next call overwrites.
pub(crate) fn progress(what: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r{what:<70}\r");
    } else if !what.is_empty() {
        eprintln!("{what}");
    }
}

/// The middle value; of no values, 0.
pub(crate) fn median(values: &[f64]) -> f64 {
    percentile(values, 50)
}

/// Of no values, 0.
pub(crate) fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}
