//! What nodes' data paths counted for services, and the sum of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::flows::Backend;
use crate::model::ServiceId;

/// What clients sent to a backend.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// How many flows began.
    pub flows: u64,
    /// How many packets.
    pub packets: u64,
    /// How many bytes, from the IP header on.
    pub bytes: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.flows += other.flows;
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

/// What one node counted, or several. What is 0 may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// By backend.
    pub backends: BTreeMap<Backend, Counts>,
    /// How many packets of a service were dropped, by the reason's name: a node of another version may have others.
    pub drops: BTreeMap<(ServiceId, String), u64>,
}

impl Traffic {
    /// Adds what another node counted.
    pub fn add(&mut self, other: Self) {
        for (backend, counts) in other.backends {
            *self.backends.entry(backend).or_default() += counts;
        }
        for (of, packets) in other.drops {
            *self.drops.entry(of).or_default() += packets;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EndpointId;

    #[test]
    fn what_nodes_counted_is_added_up() {
        let backend = |byte| Backend {
            service: ServiceId::from_bytes([1; 16]),
            endpoint: EndpointId::from_bytes([byte; 16]),
        };
        let counts = |n| Counts { flows: n, packets: 10 * n, bytes: 100 * n };
        let reason = |name: &str| (ServiceId::from_bytes([1; 16]), name.to_owned());
        let mut sum = Traffic {
            backends: [(backend(1), counts(1)), (backend(2), counts(2))].into(),
            drops: [(reason("too_big"), 1)].into(),
        };
        sum.add(Traffic {
            backends: [(backend(2), counts(3)), (backend(3), counts(4))].into(),
            drops: [(reason("too_big"), 2), (reason("no_backend"), 3)].into(),
        });
        let expected = Traffic {
            backends: [(backend(1), counts(1)), (backend(2), counts(5)), (backend(3), counts(4))].into(),
            drops: [(reason("too_big"), 3), (reason("no_backend"), 3)].into(),
        };
        assert_eq!(sum, expected);
    }
}
