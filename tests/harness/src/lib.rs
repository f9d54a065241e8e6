//! The lab: network namespaces that stand for machines, real agents in them, and what to keep when a test fails.
//!
//! [`Lab::run`] builds it, hands it to the test and takes it down again, also after a panic. What a killed run left
//! behind, the next one sweeps away. Nothing here knows how the agent works inside: it speaks to it as people do,
//! through `overlayctl`, signals and packets.
//!
//! | module | holds |
//! |---|---|
//! | [`lab`] | [`Lab`]: nodes, the underlay between them, endpoints |
//! | [`node`] | [`Node`]: one machine, its agent's life and its command line |
//! | [`netns`] | [`Netns`]: a namespace, and how to act inside |
//! | [`traffic`] | one-off traffic that checks what arrives: ping, UDP, TCP |
//! | [`server`], [`client`] | a service's backend, and who asks it from [`outside`] of the cluster |
//! | [`load`] | many clients at once that go on while a test breaks something |
//! | [`probe`] | traffic that goes on while a test breaks something, and counts what is lost |
//! | [`mesh`] | such traffic between all pairs of some endpoints |
//! | [`capture`] | what passes on the wire |
//! | [`wait`] | [`eventually`]: wait for a condition, never for a time |

pub mod binaries;
pub mod capture;
pub mod client;
pub mod command;
mod evidence;
pub mod lab;
pub mod load;
pub mod mesh;
pub mod netns;
pub mod node;
pub mod outside;
pub mod probe;
pub mod server;
mod sweep;
pub mod traffic;
mod underlay;
pub mod wait;

pub use capture::Capture;
pub use lab::{Attached, Lab, Topology};
pub use mesh::Mesh;
pub use netns::Netns;
pub use node::Node;
pub use outside::Outside;
pub use server::Server;
pub use sweep::sweep;
pub use wait::eventually;
