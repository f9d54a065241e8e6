//! `overlayctl status`

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::parse;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct StatusArgs {
    /// Wait until the node is ready, and tell on stderr what it waits for
    #[arg(long)]
    pub(crate) wait: bool,
    /// How long to wait; then it exits with 1 and says what is missing
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = parse::seconds, requires = "wait")]
    pub(crate) timeout: Duration,
    /// How to print the state
    #[arg(short = 'o', long, alias = "output", value_enum, default_value_t)]
    pub(crate) format: StatusFormat,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum StatusFormat {
    /// For people
    #[default]
    Text,
    /// A JSON object for programs
    Json,
}

const EXAMPLES: &str = "\
The exit code is 0 if the agent answers, ready or not; with --wait it is 0 only if
the node is ready.

Examples:
  overlayctl status
  overlayctl status --wait --timeout 30 && echo ready
  overlayctl status -o json | jq .drops";
