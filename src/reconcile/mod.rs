//! From what is wanted to what must be done: desired state, what the kernel holds (observed), and the plan
//! that leads from the one to the other. Plans are data, so the agent can apply them, count their failures and
//! show them, and tests can apply them to a model.
//!
//! Devices come first ([`links`]), since the data path's tables name them by their index ([`tables`]).

pub mod desired;
mod display;
pub mod links;
pub mod mesh;
pub mod plan;
pub mod tables;

#[cfg(test)]
mod tests;

#[cfg(test)]
mod properties;
