//! What was given to whom, as the answers alone tell it: a second opinion on what the intent holds.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use overlay::intent::{Block, Command, Intent, Reply};
use overlay::model::{Network, NetworkId, Protocol, Service, ServiceId, Vip};

/// What is given and not taken back, after the commands so far.
#[derive(Debug, Default)]
pub(super) struct Given {
    networks: BTreeMap<NetworkId, Network>,
    services: BTreeMap<ServiceId, Service>,
    /// By the block's first address.
    blocks: BTreeMap<(NetworkId, IpAddr), Block>,
}

impl Given {
    /// The next command was answered with that. It must not give what somebody else has.
    pub(super) fn take(&mut self, command: &Command, reply: &Reply) {
        match (command, reply) {
            (Command::CreateNetwork(_), Reply::Network(network)) => self.add_network(network),
            (Command::RemoveNetwork { id }, Reply::Done) => {
                self.networks.remove(id);
                self.blocks.retain(|(network, _), _| network != id);
            }
            (Command::GrantBlock(request), Reply::Block(block)) => self.add_block(request.network, *block),
            (Command::ReleaseBlock(request), Reply::Done) => {
                self.blocks
                    .retain(|(network, _), block| (*network, *block) != (request.network, request.block));
            }
            (Command::CreateService(_) | Command::UpdateService { .. }, Reply::Service(service)) => {
                self.services.insert(service.id, service.clone());
                self.check_ports();
                self.check_vips();
            }
            (Command::RemoveService { id }, Reply::Done) => drop(self.services.remove(id)),
            (Command::WantGossipKey, Reply::Done) => {}
            (command, reply) => panic!("{reply:?} is no answer to {command:?}"),
        }
    }

    /// Whether the intent holds just that.
    pub(super) fn check(&self, intent: &Intent) {
        assert_eq!(self.networks, intent.networks, "the networks are not those that were given");
        assert_eq!(self.services, intent.services, "the services are not those that were given");
        let blocks = intent.grants.iter().flat_map(|(network, grants)| {
            grants.blocks.iter().map(|block| ((*network, block.first), *block))
        });
        assert_eq!(self.blocks, blocks.collect(), "the blocks are not those that were given");
    }

    fn add_network(&mut self, network: &Network) {
        for other in self.networks.values() {
            assert_ne!(other.vni, network.vni, "a VNI twice");
            assert_ne!(other.name, network.name, "a name twice");
            assert!(!other.overlaps(network), "a subnet twice");
        }
        self.networks.insert(network.id, network.clone());
    }

    fn add_block(&mut self, network: NetworkId, block: Block) {
        assert!(self.networks.contains_key(&network), "a block of a network that is gone");
        let others = self.blocks.iter().filter(|(key, other)| key.0 == network && **other != block);
        for (_, other) in others {
            assert!(block.addresses().all(|address| !other.contains(address)), "an address twice");
        }
        self.blocks.insert((network, block.first), block);
        self.check_vips();
    }

    fn check_ports(&self) {
        let publish = self.services.values().flat_map(|service| &service.publish);
        let ports =
            publish.flat_map(|publish| publish.published().ports().map(|port| (publish.protocol(), port)));
        let mut seen: BTreeSet<(Protocol, u16)> = BTreeSet::new();
        ports.for_each(|port| assert!(seen.insert(port), "a port twice: {port:?}"));
    }

    /// Virtual addresses are one service's, in a network that it is in, and in no block.
    fn check_vips(&self) {
        let mut seen: BTreeSet<Vip> = BTreeSet::new();
        for service in self.services.values() {
            for vip in &service.vips {
                assert!(seen.insert(*vip), "a virtual address twice: {vip:?}");
                assert!(service.networks.contains(&vip.network), "a virtual address of another network");
                let blocks = self.blocks.iter().filter(|((network, _), _)| *network == vip.network);
                let taken = blocks.into_iter().any(|(_, block)| block.contains(vip.address));
                assert!(!taken, "a virtual address in a block: {vip:?}");
            }
        }
    }
}
