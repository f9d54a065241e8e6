//! Lab tests: real agents in network namespaces, real packets, the real command line.
#![cfg(test)]

mod lab;
