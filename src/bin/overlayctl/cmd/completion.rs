//! `overlayctl completion`

use std::io::Write;

use clap::CommandFactory;

use crate::args::{Cli, CompletionArgs};
use crate::error::Error;

pub(super) fn completion(args: &CompletionArgs, out: &mut dyn Write) -> Result<(), Error> {
    let mut command = Cli::command();
    let name = command.get_name().to_owned();
    // Into memory first: the generator panics where it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    Ok(out.write_all(&script)?)
}
