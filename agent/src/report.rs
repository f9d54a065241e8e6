//! How the agent shows an error that ends it: the cause, then what to do.

use overlay::api::ApiError;

/// An error with what a person can do about it; it travels in `anyhow` chains.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub struct Advice {
    /// The cause, a sentence without a full stop.
    pub cause: String,
    /// What to do.
    pub hint: String,
}

/// An [`Advice`] as an `anyhow` error.
pub fn advice(cause: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
    Advice { cause: cause.into(), hint: hint.into() }.into()
}

/// Prints `error:` with the whole chain of causes, and `hint:` if any of them knows what to do.
pub fn print(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
    if let Some(hint) = hint(error) {
        eprintln!("hint: {hint}");
    }
}

fn hint(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| {
        let advice = cause.downcast_ref::<Advice>().map(|advice| advice.hint.clone());
        let api = cause.downcast_ref::<ApiError>().and_then(|error| error.hint.clone());
        let config = cause.downcast_ref::<overlay::config::ConfigError>().and_then(|error| error.hint());
        advice.or(api).or(config)
    })
}
