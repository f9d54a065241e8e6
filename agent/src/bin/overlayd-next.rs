//! The agent of an imagined next release: all is the same but the layout of the maps. Tests upgrade to it.

use std::process::ExitCode;

#[path = "../main.rs"]
mod agent;

fn main() -> ExitCode {
    agent::main()
}
