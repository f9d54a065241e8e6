//! The data path as the kernel runs it: golden packets through every branch of every program
//! (`BPF_PROG_TEST_RUN`), and real traffic between two nodes. Needs root; every test works in network and mount
//! namespaces of its own, which end with it.
#![cfg(test)]

mod bench;
mod counting;
mod cut;
mod forgery;
mod frames;
mod golden_affinity;
mod golden_egress;
mod golden_endpoint;
mod golden_fragments;
mod golden_hop;
mod golden_mesh;
mod golden_mss;
mod golden_related;
mod golden_snat;
mod golden_underlay;
mod golden_vip;
mod golden_xdp;
mod golden_xdp_answer;
mod lab;
mod lifecycle;
mod netns;
mod observer;
mod services;
mod serving;
mod traffic;
