//! How the agent says no.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a request was refused or failed, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// What kind it is, for programs.
    pub code: ErrorCode,
    /// The cause, for people.
    pub error: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// The kinds of refusal and failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request itself is wrong (400).
    Invalid,
    /// It is not this node's to ask for (403).
    Forbidden,
    /// What it names is not there (404).
    NotFound,
    /// It clashes with what is there (409).
    Conflict,
    /// It cannot be done now, and may be later (503).
    Unavailable,
    /// The agent failed (500).
    Internal,
}

impl ErrorCode {
    /// The HTTP status that goes with it (RFC 9110, section 15).
    pub const fn http_status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::Unavailable => 503,
            Self::Internal => 500,
        }
    }
}

impl ApiError {
    /// Without a hint.
    pub fn new(code: ErrorCode, error: impl Into<String>) -> Self {
        Self { code, error: error.into(), hint: None }
    }

    /// With what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error)
    }
}

impl std::error::Error for ApiError {}
