//! Clients that stay with their backend, as a service may ask for: their new flows go where the latest one went, for as many
//! seconds as the service says, though its table may lead elsewhere by now.

use overlay_abi::services::{Affinity, AffinityKey};

use crate::{flow, maps};

/// The slot of the client's backend, if it is still there and takes new flows; 0 if not.
#[inline(never)]
pub fn backend(client: &AffinityKey) -> u32 {
    let Some(service) = maps::service(client.service) else { return 0 };
    if service.affinity == 0 {
        return 0;
    }
    let Some(Affinity { seen, backend: slot, generation }) = maps::affinity(client) else { return 0 };
    if flow::since(seen, flow::now()) >= flow::SECOND * u64::from(service.affinity) {
        return 0;
    }
    match maps::backend(slot) {
        Some(backend)
            if backend.generation == generation
                && backend.service == client.service
                && backend.accepts != 0 =>
        {
            slot
        }
        _ => 0,
    }
}

/// Notes where a new flow of a client goes, if its service wants it so.
#[inline(never)]
pub fn keep(client: &AffinityKey, backend: u32, generation: u32) {
    if maps::service(client.service).is_some_and(|service| service.affinity != 0) {
        maps::keep_affinity(client, &Affinity { seen: flow::now(), backend, generation });
    }
}
