//! `overlayd`, the agent: it feeds events to the pure core and puts what the core decides into effect.
//!
//! | module | is |
//! |---|---|
//! | [`agent`] | one agent from start to end |
//! | [`eventloop`] | the one loop where events meet the core; [`state`] is what it shows |
//! | [`localapi`] | the local API, on a Unix socket |
//! | [`member`] | a membership in effect: the following three together |
//! | [`describe`] | how this node describes itself |
//! | [`identity`] | the cluster's CA, the node's certificate, the join token, TLS settings |
//! | [`manager`] | where intent lives: the log, its server for other nodes, and the client that follows it |
//! | [`gossip`] | how facts travel |
//! | [`reconciler`] | puts the core's plans into effect |
//! | [`kernel`] | the only place that touches the kernel: devices (netlink) and the data path (BPF) |
//! | [`clock`] | the time of day |
//! | `strangers` | what whoever reaches a port may cost: connections that no flood takes away, lines of the log |
//! | [`store`] | what survives a restart |
//! | [`cleanup`] | removes everything that the agent made |
//! | [`refusal`] | what the local API refuses, where several requests do |
//! | [`report`] | how an error that ends the agent is shown |

pub mod agent;
pub mod cleanup;
pub mod clock;
pub mod describe;
pub mod eventloop;
pub mod gossip;
pub mod identity;
pub mod kernel;
pub mod localapi;
pub mod manager;
pub mod member;
pub mod reconciler;
pub mod refusal;
pub mod report;
pub mod state;
pub mod store;
mod strangers;
