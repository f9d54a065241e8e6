//! Lab tests: real agents in network namespaces, real packets, the real command line.
#![cfg(test)]

mod cleanup;
mod egress;
mod errors;
mod flows;
mod forwarders;
mod forwarding;
mod guard;
mod hostile;
mod lab;
mod local_api;
#[cfg(feature = "long")]
mod long;
mod manager;
mod managers;
mod membership;
mod mesh;
mod nodes;
mod nonsense;
mod odd;
mod outsiders;
mod repair;
mod restart;
mod scripts;
mod service_tables;
mod services;
mod stats;
mod steps;
mod underlay;
mod vip;
mod wire;
