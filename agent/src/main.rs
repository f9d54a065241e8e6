//! `overlayd`.
fn main() {}
