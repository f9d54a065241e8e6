//! Load balancing: which backend of a service takes a new flow, and in which places of the data path's arrays a
//! service, its backends and its tables are kept.
//!
//! The choice ([`maglev`]) is part of what all nodes agree on, so it must never depend on what only one of them knows,
//! above all not on places. Places ([`slots`], [`regions`]) are a node's own, and stay as they are while what they
//! hold lives, agent restarts included.

mod hash;
pub mod maglev;
pub mod regions;
pub mod slots;

pub use maglev::{Member, Members};
pub use regions::{Region, Regions, Table};
pub use slots::{BackendSlot, Generation, ServiceSlot, Slot, Slots};
