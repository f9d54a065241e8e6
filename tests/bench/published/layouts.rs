//! The ways to the backend that are compared. Each has a lab of its own, so that none pays for what another has made.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use aya::Ebpf;
use overlay_harness::{Lab, Netns, Node, Outside, Topology, eventually};

use super::{floor, switch};

use crate::measure::{self, Ends};
use crate::paths::{self, BRIDGE, UNDERLAY};

/// Where the backend listens.
pub(super) const TARGET: u16 = 80;
/// Where the nodes do in its place: a port for each way to treat the client's address.
pub(super) const PUBLISHED: u16 = 8080;

const SOON: Duration = Duration::from_secs(10);

/// One way to the backend.
pub(super) struct Layout {
    pub(super) name: String,
    pub(super) ends: Ends,
}

/// Two nodes, the machine that asks, and what is set up there.
pub(super) struct Site {
    pub(super) layouts: Vec<Layout>,
    /// What the mesh shall have run in.
    hook: Option<&'static str>,
    lab: Lab,
    /// Forwards for as long as it is here.
    _switch: Ebpf,
    /// The floor's programs, likewise.
    _floor: Vec<Ebpf>,
}

impl Site {
    /// The backend's node itself is asked.
    pub(super) fn bare() -> Result<Self> {
        Self::new("", None, |lab, client| {
            let [_, node] = lab.nodes();
            let listens = SocketAddr::new(node.addr(), 0);
            let ends = Ends { from: client, to: node.netns().clone(), listens, published: None };
            Ok(vec![Layout { name: "bare".to_owned(), ends }])
        })
    }

    /// A bridge and a VXLAN device on each node; the one that is asked translates both addresses.
    pub(super) fn nftables() -> Result<Self> {
        Self::new("", None, |lab, client| {
            let container = lab.namespace("container")?;
            let address = translated(lab, &container)?;
            let [asked, _] = lab.nodes();
            let ends = Ends {
                from: client,
                to: container,
                listens: SocketAddr::new(address, TARGET),
                published: Some(SocketAddr::new(asked.addr(), PUBLISHED)),
            };
            Ok(vec![Layout { name: "nftables".to_owned(), ends }])
        })
    }

    /// tc programs that know everything beforehand, and hide the client.
    pub(super) fn floor() -> Result<Self> {
        let mut programs = Vec::new();
        let site = Self::new("", None, |lab, client| {
            let container = lab.namespace("container")?;
            programs = floor::attach(lab, &client, &container)?.into();
            let [asked, _] = lab.nodes();
            let ends = Ends {
                from: client,
                to: container,
                listens: SocketAddr::new(paths::endpoint_address(1).into(), TARGET),
                published: Some(SocketAddr::new(asked.addr(), PUBLISHED)),
            };
            Ok(vec![Layout { name: "floor snat".to_owned(), ends }])
        })?;
        Ok(Self { _floor: programs, ..site })
    }

    /// The mesh at one hook: a service for each way to treat the client's address.
    pub(super) fn mesh(hook: &'static str, config: &'static str) -> Result<Self> {
        Self::new(config, Some(hook), |lab, client| {
            let [asked, node] = lab.nodes();
            lab.form_cluster()?;
            asked.ctl(&["network", "create", "bench"])?;
            let layouts = (PUBLISHED..).zip(["preserve", "snat"]).map(|(port, source)| {
                let [tcp, udp] = ["tcp", "udp"].map(|protocol| format!("{port}:{TARGET}/{protocol}"));
                let service = ["service", "create", source, "--network", "bench", "--source-ip", source];
                asked.ctl(&[&service[..], &["--publish", &tcp, "--publish", &udp]].concat())?;
                let backend = lab.attach(node, "bench", source, &["--service", source])?;
                let ends = Ends {
                    from: client.clone(),
                    listens: SocketAddr::new(backend.ip4(), TARGET),
                    to: backend.netns,
                    published: Some(SocketAddr::new(asked.addr(), port)),
                };
                Ok(Layout { name: format!("{hook} {source}"), ends })
            });
            layouts.collect()
        })
    }

    fn new(
        config: &'static str,
        hook: Option<&'static str>,
        build: impl FnOnce(&Lab, Netns) -> Result<Vec<Layout>>,
    ) -> Result<Self> {
        let lab = Lab::new(Topology::of(2).unrecorded().config(config))?;
        // A machine on the nodes' link.
        let client = Outside::of(&lab)?.router().clone();
        // So many connections one after the other need ports that were used a moment ago.
        client.sysctl("net.ipv4.ip_local_port_range", "1024 65535")?;
        client.sysctl("net.ipv4.tcp_tw_reuse", "1")?;
        let [one, two] = lab.nodes().map(Node::netns);
        let machines = [("n1", one), ("n2", two), ("router", &client)];
        for (_, machine) in machines {
            // At most 1500 B cross each link: segments are cut by who sends them, and merged by who receives them.
            ethtool(machine, UNDERLAY, "tso off tx off gro on")?;
        }
        let _switch = switch::attach(lab.switch()?, machines)?;
        let layouts = build(&lab, client.clone())?;
        for Layout { name, ends } in &layouts {
            eventually("the backend answers", SOON, || measure::udp_round_trips(ends, 1))
                .and_then(|_| paths::ensure_as_on_a_wire(ends, two))
                .with_context(|| name.clone())?;
        }
        Ok(Self { layouts, hook, lab, _switch, _floor: Vec::new() })
    }

    /// What was measured is what its name says.
    pub(super) fn ensure_hook(&self) -> Result<()> {
        let Some(hook) = self.hook else { return Ok(()) };
        let [asked, _] = self.lab.nodes();
        let mesh = asked.status()?.mesh.context("no mesh, in the status")?;
        ensure!(mesh.hook.eq_ignore_ascii_case(hook), "{mesh:?}");
        let counters = asked.netns().output(Command::new("ethtool").args(["-S", UNDERLAY]))?;
        let sent = counters.lines().filter_map(|line| line.trim().split_once("_xdp_redirect: "));
        let sent: u64 = sent.filter_map(|(_, count)| count.parse::<u64>().ok()).sum();
        ensure!((sent > 0) == (hook == "xdp"), "XDP sent {sent} packets");
        Ok(())
    }
}

fn ethtool(netns: &Netns, device: &str, features: &str) -> Result<()> {
    let mut ethtool = Command::new("ethtool");
    netns.output(ethtool.args(["-K", device]).args(features.split_whitespace())).map(drop)
}

pub(super) fn v4(address: IpAddr) -> Result<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(address) => bail!("{address} is none of the lab's"),
    }
}

/// Makes the classic layout with a container on the second node, and the first one translate to its address.
fn translated(lab: &Lab, container: &Netns) -> Result<IpAddr> {
    let [asked, node] = lab.nodes();
    let [first, second] = [v4(asked.addr())?, v4(node.addr())?];
    paths::bridge_and_vxlan(asked.netns(), 0, [first, second])?;
    paths::configure(asked.netns(), BRIDGE, 0)?;
    paths::bridge_and_vxlan(node.netns(), 1, [second, first])?;
    paths::bridged(node.netns(), container, 1)?;
    let address = paths::endpoint_address(1);
    asked.netns().sysctl("net.ipv4.ip_forward", "1")?;
    let rules = format!(
        "table ip published {{
             chain to {{
                 type nat hook prerouting priority dstnat
                 meta l4proto {{ tcp, udp }} th dport {PUBLISHED} dnat to {address}:{TARGET}
             }}
             chain from {{
                 type nat hook postrouting priority srcnat
                 oifname {BRIDGE} ct status dnat masquerade
             }}
         }}"
    );
    asked.netns().output(Command::new("nft").arg(rules))?;
    Ok(address.into())
}
