//! Waiting for a condition. A test waits for what it needs, and says what it waited for when that never came.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

const PAUSE: Duration = Duration::from_millis(50);

/// Tries until `attempt` succeeds, for at most `limit`, and hands on what it gave.
///
/// # Errors
/// The cause of the last attempt's failure, and what was waited for.
pub fn eventually<T>(what: &str, limit: Duration, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() >= deadline => {
                return Err(error).with_context(|| format!("not within {limit:?}: {what}"));
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_cause_is_told() {
        let mut tries = 0;
        let error = eventually("the impossible", Duration::from_millis(60), || {
            tries += 1;
            anyhow::bail!("attempt {tries}") as Result<()>
        })
        .unwrap_err();
        assert!(tries > 1);
        assert!(format!("{error:#}").ends_with(&format!("the impossible: attempt {tries}")), "{error:#}");
    }
}
