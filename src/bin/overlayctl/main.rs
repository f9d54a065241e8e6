//! `overlayctl`: the command line.
fn main() {}
