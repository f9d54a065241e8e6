//! `overlayctl`: the command line. It says to the agent what the user typed and shows what the agent answers;
//! it decides nothing, keeps nothing and never touches the kernel.

mod args;
mod client;
mod cmd;
mod error;
mod render;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::args::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut stdout = io::stdout().lock();
    let done = cmd::run(&cli, &mut stdout, &mut io::stderr()).and_then(|()| Ok(stdout.flush()?));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // Who reads the output has seen enough, as with `overlayctl endpoint ls | head`.
        Err(error) if error.is_closed_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("{}", render::error(&error));
            ExitCode::FAILURE
        }
    }
}
