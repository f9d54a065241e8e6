//! Single addresses, which users asked for, go back to the managers once no endpoint here has them, so that the
//! endpoint may move to another node with its address. Larger blocks stay with the node.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::intent::{Command, Intent, ReleaseBlock};
use crate::model::{Attachment, Endpoint, EndpointId, NetworkId, NodeId, Service};

/// What is on its way back. Until intent shows that it has arrived, nothing here may hand it out again: a manager
/// may have given it to another node already.
#[derive(Debug, Clone, Default)]
pub struct Release {
    pending: BTreeSet<(NetworkId, IpAddr)>,
    idle: BTreeSet<(NetworkId, IpAddr)>,
}

impl Release {
    /// The addresses that are on their way back.
    pub const fn pending(&self) -> &BTreeSet<(NetworkId, IpAddr)> {
        &self.pending
    }

    /// What to propose now that `endpoint` is detached from this node.
    pub fn detached(&mut self, me: NodeId, intent: &Intent, endpoint: &Endpoint) -> Vec<Command> {
        let singles = singles(me, intent);
        let freed = endpoint.addresses().map(|address| (endpoint.network, address));
        self.give_back(me, &freed.filter(|single| singles.contains(single)).collect())
    }

    /// What to propose after a look at everything: addresses that nobody had at the last look either, and so are
    /// not merely about to be handed out.
    pub fn looked(
        &mut self,
        me: NodeId,
        intent: &Intent,
        attachments: &BTreeMap<EndpointId, Attachment>,
    ) -> Vec<Command> {
        let endpoints = attachments.values().map(|attachment| &attachment.endpoint);
        let used: BTreeSet<_> = endpoints
            .flat_map(|endpoint| endpoint.addresses().map(|address| (endpoint.network, address)))
            .collect();
        let idle: BTreeSet<_> = singles(me, intent).difference(&used).copied().collect();
        let still = idle.intersection(&self.idle).copied().collect();
        self.idle = idle;
        self.give_back(me, &still)
    }

    /// Forgets what has arrived.
    pub fn arrived(&mut self, me: NodeId, intent: &Intent) {
        let singles = singles(me, intent);
        self.pending.retain(|single| singles.contains(single));
    }

    fn give_back(&mut self, node: NodeId, singles: &BTreeSet<(NetworkId, IpAddr)>) -> Vec<Command> {
        let fresh: Vec<_> = singles.difference(&self.pending).copied().collect();
        self.pending.extend(&fresh);
        let command = |(network, first)| Command::ReleaseBlock(ReleaseBlock { network, node, first });
        fresh.into_iter().map(command).collect()
    }
}

/// What makes every service forget that a backend which is gone was drained. It is proposed once every node knows that
/// the backend is gone.
pub fn forget_drain(intent: &Intent, backend: EndpointId) -> Vec<Command> {
    let services = intent.services.values().filter(|service| service.drained.contains_key(&backend));
    let forget =
        |service: &Service| Command::DrainBackend { service: service.id, endpoint: backend, since: None };
    services.map(forget).collect()
}

/// The single addresses that a node holds.
fn singles(node: NodeId, intent: &Intent) -> BTreeSet<(NetworkId, IpAddr)> {
    let blocks = intent.grants.iter().flat_map(|(network, grants)| {
        grants.blocks.iter().map(|block| (*network, block)).filter(|(_, block)| block.count == 1)
    });
    blocks.filter(|(_, block)| block.node == node).map(|(network, block)| (network, block.first)).collect()
}
