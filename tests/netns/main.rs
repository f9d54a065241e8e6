//! Lab tests: real agents in network namespaces, real packets, the real command line.
#![cfg(test)]

mod cleanup;
mod errors;
mod forwarders;
mod forwarding;
mod guard;
mod hostile;
mod lab;
mod manager;
mod membership;
mod repair;
mod restart;
mod scripts;
mod steps;
mod wire;
