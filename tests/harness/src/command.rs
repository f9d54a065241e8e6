//! Running programs: output captured, failures told in full.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// Runs it to its end without input, and hands back what it printed.
///
/// # Errors
/// It cannot be started, or fails; then with everything that it printed.
pub fn output(command: &mut Command) -> Result<String> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {}", text(command)))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{}: {}\n{}{}", text(command), output.status, stderr.trim_end(), stdout.trim_end());
    }
    Ok(stdout)
}

/// Runs one `ip` command, given as on the command line.
///
/// # Errors
/// What `ip` said.
pub fn ip(arguments: &str) -> Result<String> {
    output(Command::new("ip").args(arguments.split_whitespace()))
}

/// The command as people would type it.
pub(crate) fn text(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
