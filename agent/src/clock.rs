//! The host's clock, for what happens at one time of day on several hosts. Their clocks may differ; what measures a span
//! on one host must not ask this one, which people set.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time since the Unix epoch.
pub fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// In whole seconds.
pub fn unix_seconds() -> u64 {
    since_epoch().as_secs()
}

/// In milliseconds.
pub fn unix_ms() -> u64 {
    u64::try_from(since_epoch().as_millis()).unwrap_or(u64::MAX)
}
