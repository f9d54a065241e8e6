//! The lab as a whole: what a test asks for, and what it gets.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aya::Ebpf;
use overlay::api::EndpointRow;

use crate::capture::Recorder;
use crate::netns::Netns;
use crate::node::{Node, name_of};
use crate::sweep::{self, sweep};
use crate::{evidence, underlay};

/// How long a cluster may take to become Ready on a busy machine.
pub const FORMING: Duration = Duration::from_secs(30);

/// What a lab shall look like.
#[derive(Debug, Clone, Copy)]
pub struct Topology {
    nodes: u8,
    ipv6: bool,
    mtu: u16,
    cabled: bool,
    recorded: bool,
    wired: bool,
    config: &'static str,
}

impl Topology {
    /// That many nodes on one link of 1,500 bytes; they advertise their IPv4 addresses, and have IPv6 ones.
    pub fn of(nodes: u8) -> Self {
        Self { nodes, ipv6: false, mtu: 1500, cabled: false, recorded: true, wired: false, config: "" }
    }

    /// Two nodes joined by one veth pair, and no capture: nothing but the kernel's own path is timed.
    pub fn cabled() -> Self {
        Self { cabled: true, ..Self::of(2) }
    }

    /// What passes the switch is not captured, which takes time.
    #[must_use]
    pub fn unrecorded(self) -> Self {
        Self { recorded: false, ..self }
    }

    /// The nodes have IPv6 addresses alone.
    #[must_use]
    pub fn over_ipv6(self) -> Self {
        Self { ipv6: true, ..self }
    }

    /// What comes to the nodes is as from a wire, cut into packets with whole checksums, which XDP relies on; and
    /// the switch takes what XDP sends.
    #[must_use]
    pub fn wired(self) -> Self {
        Self { wired: true, ..self }
    }

    /// Further lines of the agents' configuration files.
    #[must_use]
    pub fn config(self, lines: &'static str) -> Self {
        Self { config: lines, ..self }
    }

    /// The underlay's MTU in bytes.
    #[must_use]
    pub fn mtu(self, mtu: u16) -> Self {
        Self { mtu, ..self }
    }
}

/// Nodes, and the underlay between them. Dropping it removes everything; if a test panics, first it saves what
/// tells why.
pub struct Lab {
    prefix: String,
    folder: PathBuf,
    topology: Topology,
    nodes: Vec<Node>,
    switch: Option<Netns>,
    netns: Mutex<Vec<Netns>>,
    recorder: Option<Recorder>,
    /// Of the switch's ports; each runs for as long as it is here.
    wires: Vec<Ebpf>,
}

/// An endpoint in the lab.
#[derive(Debug, Clone)]
pub struct Attached {
    /// Its network namespace.
    pub netns: Netns,
    /// What the agent said of it.
    pub row: EndpointRow,
}

impl Attached {
    /// Its IPv4 address.
    ///
    /// # Panics
    /// Its network has no IPv4 subnet.
    pub fn ip4(&self) -> IpAddr {
        self.row.endpoint.ip4.expect("an endpoint of a network with an IPv4 subnet").into()
    }

    /// Its IPv6 address.
    ///
    /// # Panics
    /// Its network has no IPv6 subnet.
    pub fn ip6(&self) -> IpAddr {
        self.row.endpoint.ip6.expect("an endpoint of a network with an IPv6 subnet").into()
    }
}

impl Lab {
    /// Builds a lab, runs a test in it and takes it down.
    ///
    /// # Panics
    /// The lab cannot be built, or the test fails.
    pub fn run(topology: Topology, test: impl FnOnce(&Self) -> Result<()>) {
        let lab = Self::new(topology).unwrap_or_else(|error| panic!("the lab cannot be built: {error:#}"));
        if let Err(error) = test(&lab) {
            panic!("{error:?}");
        }
    }

    /// Builds a lab; no agent runs yet.
    ///
    /// # Errors
    /// Above all: labs need root.
    pub fn new(topology: Topology) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        ensure!(nix::unistd::geteuid().is_root(), "labs need root\nhint: run the tests as root");
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        if number == 0 {
            sweep();
        }
        let mut lab = Self {
            prefix: sweep::netns_prefix(number),
            folder: sweep::folder(number),
            topology,
            nodes: Vec::new(),
            switch: None,
            netns: Mutex::default(),
            recorder: None,
            wires: Vec::new(),
        };
        std::fs::create_dir_all(&lab.folder).with_context(|| lab.folder.display().to_string())?;
        if !topology.cabled {
            let switch = lab.namespace("switch")?;
            underlay::bridge(&switch, topology.mtu)?;
            if topology.recorded {
                let file = lab.folder.join("underlay.pcap");
                lab.recorder = Some(Recorder::start(&switch, underlay::BRIDGE, &file)?);
            }
            lab.switch = Some(switch);
        }
        let nodes = (1..=topology.nodes).map(|number| lab.namespace(&format!("n{number}")));
        let nodes = nodes.collect::<Result<Vec<_>>>()?;
        if let (true, [one, two]) = (topology.cabled, nodes.as_slice()) {
            underlay::cable(one, two, topology.mtu)?;
        }
        for (number, netns) in (1..).zip(nodes) {
            lab.add_node(number, netns)?;
        }
        Ok(lab)
    }

    /// The nodes, by number.
    ///
    /// # Panics
    /// The lab has another number of them.
    pub fn nodes<const N: usize>(&self) -> [&Node; N] {
        let nodes: Vec<&Node> = self.nodes.iter().collect();
        nodes.try_into().unwrap_or_else(|nodes: Vec<_>| panic!("the lab has {} nodes, not {N}", nodes.len()))
    }

    /// All nodes.
    pub fn all_nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Makes all nodes one cluster, as [`Self::form_cluster_of`] does.
    ///
    /// # Errors
    /// What an agent or `overlayctl` said.
    pub fn form_cluster(&self) -> Result<()> {
        self.form_cluster_of(&self.nodes.iter().collect::<Vec<_>>()).map(drop)
    }

    /// Starts agents on these nodes and makes them one cluster, the first its manager; waits until all are
    /// Ready, and hands back the join token.
    ///
    /// # Errors
    /// What an agent or `overlayctl` said.
    pub fn form_cluster_of(&self, nodes: &[&Node]) -> Result<String> {
        let (manager, others) = nodes.split_first().context("a cluster of no nodes")?;
        manager.start()?;
        let token = manager.init_cluster()?;
        for node in others {
            node.start()?;
            node.join_cluster(&token, manager)?;
        }
        nodes.iter().try_for_each(|node| node.wait_ready(FORMING))?;
        Ok(token)
    }

    /// Makes all nodes one cluster, all of them managers; waits until all are Ready.
    ///
    /// # Errors
    /// What an agent or `overlayctl` said.
    pub fn form_managers(&self) -> Result<()> {
        self.form_managers_of(&self.nodes.iter().collect::<Vec<_>>())
    }

    /// As [`Lab::form_managers`], of these nodes alone.
    ///
    /// # Errors
    /// The same.
    pub fn form_managers_of(&self, nodes: &[&Node]) -> Result<()> {
        let [first, others @ ..] = nodes else { return Ok(()) };
        first.start()?;
        first.init_cluster()?;
        let token = first.ctl(&["cluster", "join-token", "-q", "manager"])?;
        for node in others {
            node.start()?;
            node.join_cluster(token.trim(), first)?;
        }
        nodes.iter().try_for_each(|node| node.wait_ready(FORMING))
    }

    /// Makes an empty network namespace, as a container runtime does before it has a container attached.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn namespace(&self, name: &str) -> Result<Netns> {
        let netns = Netns::create(&format!("{}-{name}", self.prefix))?;
        self.netns.lock().expect("no test panics while it holds this").push(netns.clone());
        Ok(netns)
    }

    /// Makes a namespace and attaches it as an endpoint of that name; `flags` are further ones of
    /// `overlayctl endpoint attach`.
    ///
    /// # Errors
    /// What `overlayctl` said.
    pub fn attach(&self, node: &Node, network: &str, name: &str, flags: &[&str]) -> Result<Attached> {
        let netns = self.namespace(&format!("{network}-{name}"))?;
        let row = node.attach(&netns, network, name, flags)?;
        Ok(Attached { netns, row })
    }

    /// Takes a node's underlay link down, at the switch.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn cut(&self, node: &Node) -> Result<()> {
        self.switch()?.ip(&format!("link set {} down", node.name())).map(drop)
    }

    /// Brings it up again.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn mend(&self, node: &Node) -> Result<()> {
        self.switch()?.ip(&format!("link set {} up", node.name())).map(drop)
    }

    /// The namespace of the bridge that joins the nodes; a node's port there has the node's name.
    ///
    /// # Errors
    /// The nodes are [`Topology::cabled`].
    pub fn switch(&self) -> Result<&Netns> {
        self.switch.as_ref().context("the lab has no switch")
    }

    /// The underlay's MTU in bytes.
    pub(crate) fn mtu(&self) -> u16 {
        self.topology.mtu
    }

    /// Where the lab keeps its files.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn all_netns(&self) -> Vec<Netns> {
        self.netns.lock().map(|netns| netns.clone()).unwrap_or_default()
    }

    /// A namespace's name without what makes it unique on the machine.
    pub(crate) fn short_name<'a>(&self, netns: &'a Netns) -> &'a str {
        netns.name().strip_prefix(&self.prefix).map_or(netns.name(), |rest| rest.trim_start_matches('-'))
    }

    fn add_node(&mut self, number: u8, netns: Netns) -> Result<()> {
        let advertised = underlay::address(number, self.topology.ipv6);
        let mut addresses = vec![underlay::address(number, true)];
        if !self.topology.ipv6 {
            addresses.push(advertised);
        }
        if let Some(switch) = &self.switch {
            underlay::join(switch, &netns, &name_of(number), self.topology.mtu)?;
            if self.topology.wired {
                self.wires.push(underlay::wire(switch, &name_of(number))?);
            }
        }
        underlay::bring_up(&netns, &addresses)?;
        self.nodes.push(Node::new(number, netns, advertised, &self.folder, self.topology.config)?);
        Ok(())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            evidence::save(self);
        }
        self.recorder = None;
        self.nodes.clear();
        for netns in self.all_netns() {
            // A test may have removed it itself.
            let _ = netns.delete();
        }
        sweep::remove_folder(&self.folder);
    }
}
