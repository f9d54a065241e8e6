//! Against the real kernel, as root, in namespaces of the tests' own.

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

use netlink_packet_route::link::InfoKind;
use overlay::model::MacAddr;
use overlay::reconcile::links::VethSpec;

use super::*;
use crate::kernel::netns;
use crate::kernel::testing::{Netns, in_own_netns, ip};

const PORT: u16 = 4789;

fn vxlan() -> Vxlan {
    Vxlan { name: "overlay0".into(), port: PORT, up: true }
}

fn spec(netns: &Netns, number: u8) -> VethSpec {
    VethSpec {
        host_ifname: format!("ovl{number:011}"),
        netns: netns.reference(),
        ifname: "eth1".into(),
        mac: MacAddr::new([2, 0, 0, 0, 0, number]).unwrap(),
        addresses: vec![
            format!("10.1.0.{number}/24").parse().unwrap(),
            format!("fd00::{number}/64").parse().unwrap(),
        ],
        gateways: vec!["10.1.0.254".parse().unwrap(), "fd00::ffff".parse().unwrap()],
        mtu: 1450,
    }
}

async fn observe(netlink: &Netlink) -> Links {
    netlink.observe("overlay0", "ovl").await.unwrap().links
}

#[test]
fn a_vxlan_device_is_made_found_and_removed() {
    in_own_netns(async || {
        let netlink = Netlink::open().unwrap();
        assert_eq!(netlink.observe("overlay0", "ovl").await.unwrap(), Observed::default());
        for _ in 0..2 {
            netlink.apply(&LinkAction::CreateVxlan(vxlan())).await.unwrap();
            let observed = netlink.observe("overlay0", "ovl").await.unwrap();
            assert_eq!(observed.links.vxlan, Some(vxlan()));
            assert!(observed.ifindexes["overlay0"] > 0);
        }
        let shown = ip("-details link show overlay0");
        for property in ["external", "nolearning", "udp6zerocsumrx", "mtu 65535", "addrgenmode none"] {
            assert!(shown.contains(property), "{property}: {shown}");
        }
        assert!(!ip("address show overlay0").contains("inet"));
        for _ in 0..2 {
            netlink.apply(&LinkAction::Delete("overlay0".into())).await.unwrap();
            assert_eq!(observe(&netlink).await, Links::default());
        }
    });
}

#[test]
fn a_device_that_is_not_ours_is_left_alone() {
    in_own_netns(async || {
        ip("link add overlay0 type vxlan id 7 dstport 4789");
        let netlink = Netlink::open().unwrap();
        let error = netlink.observe("overlay0", "ovl").await.unwrap_err().to_string();
        assert!(error.contains("overlay0") && error.contains("hint:"), "{error}");
        netlink.apply(&LinkAction::CreateVxlan(vxlan())).await.unwrap_err();
        ip("link show overlay0");
    });
}

#[test]
fn a_taken_data_port_leaves_no_vxlan_device_behind() {
    in_own_netns(async || {
        let _holder = UdpSocket::bind(("0.0.0.0", PORT)).unwrap();
        let netlink = Netlink::open().unwrap();
        let error = netlink.apply(&LinkAction::CreateVxlan(vxlan())).await.unwrap_err();
        assert!(format!("{error:#}").contains("UDP port 4789 is taken"), "{error:#}");
        assert_eq!(observe(&netlink).await.vxlan, None);
    });
}

#[test]
fn a_kind_that_the_kernel_lacks_is_told_from_vxlan_and_neither_is_made() {
    in_own_netns(async || {
        let netlink = Netlink::open().unwrap();
        assert!(netlink.supports_vxlan().await);
        assert!(netlink.is_unknown(InfoKind::Other("no-such-kind".into())).await);
        assert_eq!(
            netlink.devices().await.unwrap().iter().filter(|device| device.vxlan.is_some()).count(),
            0
        );
    });
}

/// An ARP request that is lost is repeated only after a second.
#[test]
fn what_an_endpoint_sends_at_once_is_not_dropped() {
    in_own_netns(async || {
        let (netlink, netns) = (Netlink::open().unwrap(), Netns::new());
        for number in 1..100 {
            let mut spec = spec(&netns, number);
            // Of IPv6, the kernel sends something itself.
            spec.addresses.truncate(1);
            spec.gateways.truncate(1);
            let host = spec.host_ifname.clone();
            netlink.apply(&LinkAction::CreateVeth(spec)).await.unwrap();
            let ask = || Ok(UdpSocket::bind("0.0.0.0:0")?.send_to(b"?", "10.1.0.200:7")?);
            netns::inside(&netns.reference(), ask).await.unwrap();
            let shown = netns.ip("-j -s link show eth1").await;
            assert!(
                shown.contains(r#""tx":{"bytes":42,"packets":1,"errors":0,"dropped":0"#),
                "{number}: {shown}"
            );
            netlink.apply(&LinkAction::Delete(host)).await.unwrap();
        }
    });
}

#[test]
fn a_veth_pair_is_made_found_and_removed() {
    in_own_netns(async || {
        let (netlink, netns) = (Netlink::open().unwrap(), Netns::new());
        for _ in 0..2 {
            netlink.apply(&LinkAction::CreateVeth(spec(&netns, 1))).await.unwrap();
            let links = observe(&netlink).await;
            assert_eq!(
                links.veths,
                BTreeMap::from([("ovl00000000001".into(), Veth { mtu: 1450, up: true })])
            );
        }
        assert!(ip("-details link show ovl00000000001").contains("addrgenmode none"));
        assert!(!ip("address show ovl00000000001").contains("inet"));
        let far = netns.ip("address show eth1").await;
        for property in ["UP", "mtu 1450", "02:00:00:00:00:01", "inet 10.1.0.1/24", "inet6 fd00::1/64"] {
            assert!(far.contains(property), "{property}: {far}");
        }
        for _ in 0..2 {
            netlink.apply(&LinkAction::Delete("ovl00000000001".into())).await.unwrap();
            assert_eq!(observe(&netlink).await, Links::default());
        }
        assert_eq!(Netlink::interfaces_in(&netns.reference()).await.unwrap().len(), 1);
    });
}

#[test]
fn the_default_routes_are_the_first_endpoints_behind_those_that_are_there() {
    in_own_netns(async || {
        let (netlink, netns) = (Netlink::open().unwrap(), Netns::new());
        let second = |netns: &Netns| VethSpec { ifname: "eth2".into(), ..spec(netns, 2) };
        netlink.apply(&LinkAction::CreateVeth(spec(&netns, 1))).await.unwrap();
        netlink.apply(&LinkAction::CreateVeth(second(&netns))).await.unwrap();
        assert!(netns.ip("route show default").await.starts_with("default via 10.1.0.254 dev eth1"));
        assert!(netns.ip("-6 route show default").await.starts_with("default via fd00::ffff dev eth1"));
        assert_eq!(netns.ip("route show default").await.lines().count(), 1);
        netns.ip("route add default dev eth2").await;
        assert!(netns.ip("route get 192.0.2.1").await.contains("dev eth2"));
    });
}

#[test]
fn what_an_endpoint_answers_leaves_by_its_own_network() {
    in_own_netns(async || {
        let (netlink, netns) = (Netlink::open().unwrap(), Netns::new());
        let second = |netns: &Netns| VethSpec {
            ifname: "eth2".into(),
            addresses: ["10.2.0.2/24", "fd02::2/64"].map(|address| address.parse().unwrap()).into(),
            gateways: ["10.2.0.254", "fd02::ffff"].map(|address| address.parse().unwrap()).into(),
            ..spec(netns, 2)
        };
        // As a container runtime does.
        netns.ip("link add docker0 type bridge").await;
        netns.ip("address add 172.17.0.2/16 dev docker0").await;
        netns.ip("link set docker0 up").await;
        netns.ip("route add default via 172.17.0.1").await;
        // The second is made twice, as after a restart in between; then the pair is made anew.
        netlink.apply(&LinkAction::CreateVeth(spec(&netns, 1))).await.unwrap();
        for made_anew in [false, false, true] {
            if made_anew {
                netlink.apply(&LinkAction::Delete(second(&netns).host_ifname)).await.unwrap();
            }
            netlink.apply(&LinkAction::CreateVeth(second(&netns))).await.unwrap();
            for (get, way) in [
                ("route get 192.0.2.1 from 10.1.0.1", "via 10.1.0.254 dev eth1"),
                ("route get 192.0.2.1 from 10.2.0.2", "via 10.2.0.254 dev eth2"),
                ("route get 192.0.2.1", "via 172.17.0.1 dev docker0"),
                ("route get 10.1.0.7 from 10.2.0.2", "dev eth1"),
                ("route get 2001:db8::1 from fd02::2", "via fd02::ffff dev eth2"),
                ("route get 2001:db8::1 from fd00::1", "via fd00::ffff dev eth1"),
            ] {
                let found = netns.ip(get).await;
                assert!(found.contains(way), "{get}: {found}");
            }
            let rules = netns.ip("rule show").await;
            assert_eq!(rules.matches("from 10.2.0.2 ").count(), 2, "{rules}");
        }
    });
}

#[test]
fn an_endpoint_can_use_its_addresses_at_once() {
    in_own_netns(async || {
        let (netlink, one, other) = (Netlink::open().unwrap(), Netns::new(), Netns::new());
        ip("link add bridge type bridge mcast_snooping 0");
        ip("link set bridge up");
        for (number, netns) in [(1, &one), (2, &other)] {
            let spec = spec(netns, number);
            let host_ifname = spec.host_ifname.clone();
            netlink.apply(&LinkAction::CreateVeth(spec)).await.unwrap();
            ip(&format!("link set {host_ifname} master bridge"));
        }
        for address in ["10.1.0.1:0", "[fd00::1]:0"] {
            let listen = move || Ok(TcpListener::bind(address.parse::<SocketAddr>()?)?);
            let listener = netns::inside(&one.reference(), listen).await.unwrap();
            let target = listener.local_addr().unwrap();
            netns::inside(&other.reference(), move || Ok(TcpStream::connect(target)?)).await.unwrap();
        }
    });
}

#[test]
fn ipv6_is_on_where_it_is_wanted_only() {
    in_own_netns(async || {
        let (netlink, netns) = (Netlink::open().unwrap(), Netns::new());
        // As Docker leaves it.
        netns::inside(&netns.reference(), || {
            Ok(std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1")?)
        })
        .await
        .unwrap();
        netlink.apply(&LinkAction::CreateVeth(spec(&netns, 1))).await.unwrap();
        assert!(netns.ip("address show eth1").await.contains("inet6 fd00::1/64"));
        let accept_ra = || Ok(std::fs::read_to_string("/proc/sys/net/ipv6/conf/eth1/accept_ra")?);
        assert_eq!(netns::inside(&netns.reference(), accept_ra).await.unwrap().trim(), "0");
        netlink.apply(&LinkAction::Delete("ovl00000000001".into())).await.unwrap();
        let mut spec = spec(&netns, 1);
        spec.addresses.pop();
        spec.gateways.pop();
        netlink.apply(&LinkAction::CreateVeth(spec)).await.unwrap();
        assert!(!netns.ip("address show eth1").await.contains("inet6"));
    });
}

#[test]
fn a_veth_pair_that_was_left_half_made_is_completed_and_not_replaced() {
    in_own_netns(async || {
        let (netlink, netns) = (Netlink::open().unwrap(), Netns::new());
        netlink.add_veth(&spec(&netns, 1)).await.unwrap();
        let index = netlink.observe("overlay0", "ovl").await.unwrap().ifindexes["ovl00000000001"];
        assert!(!observe(&netlink).await.veths["ovl00000000001"].up);
        netlink.apply(&LinkAction::CreateVeth(spec(&netns, 1))).await.unwrap();
        let observed = netlink.observe("overlay0", "ovl").await.unwrap();
        assert_eq!(observed.ifindexes["ovl00000000001"], index);
        assert!(observed.links.veths["ovl00000000001"].up);
        assert!(netns.ip("address show eth1").await.contains("inet6 fd00::1/64"));
    });
}

#[test]
fn a_veth_pair_that_leads_elsewhere_is_made_anew() {
    in_own_netns(async || {
        let (netlink, old, new) = (Netlink::open().unwrap(), Netns::new(), Netns::new());
        netlink.apply(&LinkAction::CreateVeth(spec(&old, 1))).await.unwrap();
        netlink.apply(&LinkAction::CreateVeth(spec(&new, 1))).await.unwrap();
        assert!(!Netlink::interfaces_in(&old.reference()).await.unwrap().contains("eth1"));
        assert!(Netlink::interfaces_in(&new.reference()).await.unwrap().contains("eth1"));
    });
}

#[test]
fn the_mtu_changes_at_both_ends() {
    in_own_netns(async || {
        let (netlink, netns) = (Netlink::open().unwrap(), Netns::new());
        let mut spec = spec(&netns, 1);
        netlink.apply(&LinkAction::CreateVeth(spec.clone())).await.unwrap();
        spec.mtu = 1400;
        netlink.apply(&LinkAction::SetMtu(spec)).await.unwrap();
        assert_eq!(observe(&netlink).await.veths["ovl00000000001"].mtu, 1400);
        assert!(netns.ip("link show eth1").await.contains("mtu 1400"));
    });
}

#[test]
fn a_device_is_taken_up() {
    in_own_netns(async || {
        let (netlink, netns) = (Netlink::open().unwrap(), Netns::new());
        netlink.apply(&LinkAction::CreateVeth(spec(&netns, 1))).await.unwrap();
        ip("link set ovl00000000001 down");
        assert!(!observe(&netlink).await.veths["ovl00000000001"].up);
        netlink.apply(&LinkAction::SetUp("ovl00000000001".into())).await.unwrap();
        assert!(observe(&netlink).await.veths["ovl00000000001"].up);
    });
}

#[test]
fn a_veth_pair_that_cannot_be_configured_is_removed() {
    in_own_netns(async || {
        let (netlink, netns) = (Netlink::open().unwrap(), Netns::new());
        let mut spec = spec(&netns, 1);
        // The kernel takes no such address.
        spec.addresses.push("ff02::1/64".parse().unwrap());
        let error = netlink.apply(&LinkAction::CreateVeth(spec)).await.unwrap_err();
        assert!(format!("{error:#}").contains("adding ff02::1/64 to eth1"), "{error:#}");
        assert_eq!(observe(&netlink).await, Links::default());
        assert_eq!(Netlink::interfaces_in(&netns.reference()).await.unwrap().len(), 1);
    });
}

#[test]
fn errors_name_what_is_in_the_way() {
    in_own_netns(async || {
        let (netlink, netns) = (Netlink::open().unwrap(), Netns::new());
        netns.ip("link add eth1 type bridge").await;
        let error = netlink.apply(&LinkAction::CreateVeth(spec(&netns, 1))).await.unwrap_err();
        assert!(format!("{error:#}").contains("an interface named eth1 is in the namespace"), "{error:#}");
        let gone = spec(&netns, 1);
        drop(netns);
        let error = netlink.apply(&LinkAction::CreateVeth(gone)).await.unwrap_err();
        assert!(format!("{error:#}").contains("is gone"), "{error:#}");
    });
}

/// An interface with a default route behind it, whose other end is nowhere.
fn uplink() {
    ip("link add up0 mtu 1400 type veth peer name up1");
    ip("address add 192.0.2.7/24 dev up0");
    ip("address add 2001:db8::7/64 dev up0 nodad");
    ip("link set up0 up");
    ip("link set up1 up");
}

#[test]
fn the_underlay_and_the_sources_are_what_routing_says() {
    in_own_netns(async || {
        uplink();
        let netlink = Netlink::open().unwrap();
        for vtep in ["192.0.2.7", "2001:db8::7"] {
            let vtep = vtep.parse().unwrap();
            let underlay = netlink.underlay(vtep).await.unwrap();
            assert_eq!((underlay.device.as_str(), underlay.mtu, underlay.vtep), ("up0", 1400, vtep));
        }
        let error = netlink.underlay("192.0.2.8".parse().unwrap()).await.unwrap_err();
        assert!(error.to_string().contains("192.0.2.8 is on no interface"), "{error:#}");

        let source = async |target: &str| netlink.source_towards(Some(target.parse().unwrap())).await;
        assert_eq!(source("192.0.2.9").await.unwrap().to_string(), "192.0.2.7");
        assert_eq!(source("2001:db8::9").await.unwrap().to_string(), "2001:db8::7");
        assert!(source("198.51.100.1").await.is_err());
        assert!(netlink.source_towards(None).await.is_err());
        ip("route add default via 2001:db8::1");
        assert_eq!(netlink.source_towards(None).await.unwrap().to_string(), "2001:db8::7");
        ip("route add default via 192.0.2.1");
        assert_eq!(netlink.source_towards(None).await.unwrap().to_string(), "192.0.2.7");
    });
}

#[test]
fn subnets_are_those_of_others() {
    in_own_netns(async || {
        uplink();
        ip("link add ovl00000000001 type bridge");
        ip("address add 10.1.0.1/24 dev ovl00000000001");
        let subnets = Netlink::open().unwrap().interface_subnets("overlay0", "ovl").await.unwrap();
        let expected: Vec<ipnet::IpNet> =
            vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::/64".parse().unwrap()];
        assert_eq!(subnets, expected);
    });
}

#[test]
fn changes_are_signalled() {
    in_own_netns(async || {
        // On loopback, where the kernel has nothing to add later.
        for change in [
            "route add 10.2.0.0/24 dev lo",
            "-6 route add fd02::/64 dev lo",
            "address add 10.1.0.1/24 dev lo noprefixroute",
            "address add fd00::1/64 dev lo nodad noprefixroute",
            "link set lo mtu 1400",
        ] {
            let mut changes = Netlink::monitor().unwrap();
            ip(change);
            changes.recv().await.unwrap();
        }
    });
}
