//! What was counted for services.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{DropCount, Unconfirmed};
use crate::model::{EndpointId, Name, ServiceId};
use crate::traffic::Counts;

/// What all nodes alive counted for services.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// The services, by name.
    pub services: Vec<ServiceStats>,
    /// The nodes alive that did not tell; what they counted is missing.
    pub missing: Vec<Unconfirmed>,
    /// The host names of nodes that are down, and were not asked.
    pub down: Vec<String>,
}

/// What was counted for a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStats {
    /// Its id.
    pub id: ServiceId,
    /// Its name.
    pub name: Name,
    /// Its backends, by node and name.
    pub backends: Vec<BackendStats>,
    /// Packets dropped, by reason; reasons that never occurred are left out.
    pub drops: BTreeMap<String, DropCount>,
}

/// What was counted for a backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendStats {
    /// The endpoint.
    pub id: EndpointId,
    /// Its name.
    pub name: Name,
    /// The host name of the node that holds it.
    pub hostname: String,
    /// What clients sent it. A node counts since it knows the backend, and what it has forwarded itself.
    #[serde(flatten)]
    pub counts: Counts,
}
