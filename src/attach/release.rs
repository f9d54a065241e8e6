//! Single addresses, which users asked for, go back to the managers once no endpoint here has them, so that the
//! endpoint may move to another node with its address. Larger blocks stay with the node.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::intent::{Block, Command, Intent, ReleaseBlock};
use crate::model::{Attachment, Endpoint, EndpointId, NetworkId, NodeId, Service};

/// What is on its way back. Until intent shows that it has arrived, nothing here may hand it out again: a manager
/// may have given it to another node already.
#[derive(Debug, Clone, Default)]
pub struct Release {
    pending: Singles,
    idle: Singles,
}

/// Blocks of one address.
type Singles = BTreeMap<(NetworkId, IpAddr), Block>;

impl Release {
    /// The addresses that are on their way back.
    pub fn pending(&self) -> BTreeSet<(NetworkId, IpAddr)> {
        self.pending.keys().copied().collect()
    }

    /// What to propose now that `endpoint` is detached from this node.
    pub fn detached(&mut self, me: NodeId, intent: &Intent, endpoint: &Endpoint) -> Vec<Command> {
        let mut freed = singles(me, intent);
        freed.retain(|(network, address), _| {
            *network == endpoint.network && endpoint.addresses().any(|own| own == *address)
        });
        self.give_back(freed)
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
        let mut idle = singles(me, intent);
        idle.retain(|single, _| !used.contains(single));
        let mut still = idle.clone();
        still.retain(|single, block| self.idle.get(single) == Some(block));
        self.idle = idle;
        self.give_back(still)
    }

    /// Forgets what has arrived.
    pub fn arrived(&mut self, me: NodeId, intent: &Intent) {
        let singles = singles(me, intent);
        self.pending.retain(|single, block| singles.get(single) == Some(block));
    }

    fn give_back(&mut self, mut singles: Singles) -> Vec<Command> {
        singles.retain(|single, _| !self.pending.contains_key(single));
        self.pending.extend(singles.clone());
        let command = |((network, _), block)| Command::ReleaseBlock(ReleaseBlock { network, block });
        singles.into_iter().map(command).collect()
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
fn singles(node: NodeId, intent: &Intent) -> Singles {
    let blocks = intent.grants.iter().flat_map(|(network, grants)| {
        grants.blocks.iter().map(|block| (*network, block)).filter(|(_, block)| block.count == 1)
    });
    blocks
        .filter(|(_, block)| block.node == node)
        .map(|(network, block)| ((network, block.first), *block))
        .collect()
}
