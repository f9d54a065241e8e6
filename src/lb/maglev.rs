//! Maglev hashing (Eisenbud and others, NSDI 2016) with weights, as Envoy has it: a table says which backend a flow
//! goes to, by the flow's hash modulo the table's size.
//!
//! Each backend has an order of its own in which it wants the table's places. In turns, each takes the first place of
//! its order that is free, a backend of half the largest weight every other turn. So shares follow the weights, and
//! when a backend comes or goes, most places stay with who has them.
//!
//! Every node must choose the same backend for a flow, or a client that is moved to another ingress node loses its
//! connection. So a table depends on service, backends, weights and size alone: never on slots, on who asks, or on a
//! hash that differs between machines or releases.

use std::collections::BTreeMap;

use super::hash::{Purpose, hash};
use super::slots::{BackendSlot, Slot as _};
use crate::model::{EndpointId, ServiceId, Weight};

/// The sizes of tables: primes, so that each step through a table reaches all of it.
pub const SIZES: [u32; 5] = [251, 1021, 4093, 16_381, 65_521];

/// The places that the backend with the least weight should get: a share is then right to a few percent, and losing
/// one of 100 backends moves less than 2 % of the others' places.
const LEAST_SHARE: u32 = 100;

/// The backends that a table leads to.
pub type Members = BTreeMap<EndpointId, Member>;

/// A backend that takes new flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Where it is in this node's array of backends.
    pub slot: BackendSlot,
    /// Its share, relative to the others'.
    pub weight: Weight,
}

/// How large the table of these backends should be; one of [`SIZES`].
pub fn size(members: &Members) -> u32 {
    let weights = || members.values().map(|member| u32::from(member.weight.get()));
    let total: u32 = weights().sum();
    let wanted = total.saturating_mul(LEAST_SHARE) / weights().min().unwrap_or(1);
    let [.., largest] = SIZES;
    SIZES.into_iter().find(|size| *size >= wanted).unwrap_or(largest)
}

/// The table of a service: the backend of each place. Empty if there is no backend.
pub fn table(service: ServiceId, members: &Members, size: u32) -> Vec<BackendSlot> {
    let heaviest = members.values().map(|member| u64::from(member.weight.get())).max().unwrap_or(0);
    let mut wishes: Vec<Wishes> =
        members.iter().map(|(endpoint, member)| Wishes::new(service, *endpoint, *member, size)).collect();
    if wishes.is_empty() {
        return Vec::new();
    }
    let mut table = vec![None; size as usize];
    let mut free = table.len();
    let mut turn = 0;
    while free > 0 {
        turn += 1;
        for wishes in &mut wishes {
            if free > 0 && turn * wishes.weight >= wishes.due {
                wishes.due += heaviest;
                *wishes.first_free(&mut table) = Some(wishes.slot);
                free -= 1;
            }
        }
    }
    table.into_iter().flatten().collect()
}

/// A backend while a table is filled.
struct Wishes {
    slot: BackendSlot,
    weight: u64,
    /// It takes its next place in the turn whose number times its weight reaches this.
    due: u64,
    /// The next place of its order, and how far it is to the one after it.
    next: usize,
    step: usize,
}

impl Wishes {
    fn new(service: ServiceId, endpoint: EndpointId, member: Member, size: u32) -> Self {
        let (first, step) = hash(Purpose::Order, [service.as_bytes().as_slice(), endpoint.as_bytes()]);
        let size = u64::from(size);
        Self {
            slot: member.slot,
            weight: member.weight.get().into(),
            due: 0,
            next: (first % size) as usize,
            step: (step % (size - 1) + 1) as usize,
        }
    }

    /// The first place of its order that nobody has; there must be one.
    fn first_free<'a>(&mut self, table: &'a mut [Option<BackendSlot>]) -> &'a mut Option<BackendSlot> {
        while table[self.next].is_some() {
            self.next = (self.next + self.step) % table.len();
        }
        &mut table[self.next]
    }
}

/// What tells a table from every other: it changes with everything that [`table`] is given.
pub fn digest(service: ServiceId, members: &Members, size: u32) -> u64 {
    let members = members.iter().flat_map(|(endpoint, member)| {
        let (slot, weight) = (member.slot.get().to_be_bytes(), member.weight.get().to_be_bytes());
        endpoint.as_bytes().iter().copied().chain(slot).chain(weight)
    });
    let bytes: Vec<u8> =
        service.as_bytes().iter().copied().chain(size.to_be_bytes()).chain(members).collect();
    hash(Purpose::Table, [bytes.as_slice()]).0
}

#[cfg(test)]
mod tests;
