//! Golden packets: every branch of every BPF program, run by the kernel (`BPF_PROG_TEST_RUN`).
#![cfg(test)]
