//! A gigabyte through the mesh, whatever the underlay's offloads.

use overlay_harness::client::Sees;

use crate::mesh::{Hook, a_gigabyte};

#[test]
fn a_gigabyte_arrives_whole_in_tc() {
    a_gigabyte(Hook::Tc, Sees::Client);
}

#[test]
fn a_gigabyte_arrives_whole_in_xdp() {
    a_gigabyte(Hook::Xdp, Sees::Client);
}

#[test]
fn a_gigabyte_arrives_whole_where_clients_are_hidden_in_tc() {
    a_gigabyte(Hook::Tc, Sees::Asked);
}

#[test]
fn a_gigabyte_arrives_whole_where_clients_are_hidden_in_xdp() {
    a_gigabyte(Hook::Xdp, Sees::Asked);
}
