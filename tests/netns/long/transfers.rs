//! A gigabyte through the mesh, whatever the underlay's offloads.

use crate::mesh::{Hook, a_gigabyte};

#[test]
fn a_gigabyte_arrives_whole_in_tc() {
    a_gigabyte(Hook::Tc);
}

#[test]
fn a_gigabyte_arrives_whole_in_xdp() {
    a_gigabyte(Hook::Xdp);
}
