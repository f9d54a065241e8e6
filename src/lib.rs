//! The pure core of Overlay: what the network should be, decided without touching anything.
//!
//! No module here sees the clock, the kernel, a socket or the BPF maps' layout: time and randomness come
//! in as arguments, and decisions go out as values. The agent (`overlayd`) puts them into effect.
//!
//! | module | holds |
//! |---|---|
//! | [`model`] | the entities and their newtypes: an invalid value can't be built |
//! | [`config`] | the agent's configuration: schema, defaults, validation |
//! | [`api`] | what `overlayctl` and plugins say to the agent |
//! | [`intent`] | what users asked for: commands, `apply()`, allocation |
//! | [`attach`] | attaching an endpoint: every check, and the choice of what the user left out |
//! | [`facts`] | what each node alone knows, its encoding and its merge rule |
//! | [`flows`] | a node's flows: whose they are, and which of them are meant |
//! | [`hex`] | hexadecimal digits |
//! | [`lb`] | which backend takes a flow: Maglev tables, and where they and their backends are kept |
//! | [`reconcile`] | desired state, the difference to what the kernel holds, and the port to it |
//! | [`traffic`] | what nodes counted for services, and its sum |
#![forbid(unsafe_code)]

pub mod api;
pub mod attach;
pub mod config;
pub mod facts;
pub mod flows;
pub mod hex;
pub mod intent;
pub mod lb;
pub mod model;
pub mod reconcile;
pub mod traffic;

#[cfg(test)]
mod fixtures;
