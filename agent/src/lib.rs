//! `overlayd`, the agent: it feeds events to the pure core and puts what the core decides into effect.
//!
//! | module | is |
//! |---|---|
//! | [`identity`] | the cluster's CA, the node's certificate, the join token, TLS settings |
//! | [`manager`] | where intent lives: the log, its server for other nodes, and the client that follows it |
//! | [`gossip`] | how facts travel |
//! | [`kernel`] | the only place that touches the kernel: devices (netlink) and the data path (BPF) |
//! | [`store`] | what survives a restart |

pub mod gossip;
pub mod identity;
pub mod kernel;
pub mod manager;
pub mod store;
