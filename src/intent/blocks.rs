//! Blocks: which node may hand out which addresses. A manager grants a block once; from then on the node hands
//! out its addresses alone, so that attaching needs no manager.
//!
//! Blocks are taken from the middle of the subnet upwards (in a large one, from its 65,536th address), and only then
//! from its start: addresses that people pick by hand are mostly low ones, and so rarely fall in a block that some
//! node holds already. Services' virtual addresses, which are in no block, are taken from just below the middle
//! downwards, away from both.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::model::{NodeId, Subnet};

/// The largest block that is granted, in addresses.
const LARGEST: u128 = 64;
/// A block is at most the subnet divided by this, so that small subnets serve several nodes too.
const SHARES: u128 = 64;

/// Where blocks start at the latest, in addresses from the subnet's first, so that IPv6 addresses stay short.
const LATEST_START: u128 = 1 << 16;

/// Some addresses of a subnet in a row, which one node may hand out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// The node.
    pub node: NodeId,
    /// The first address.
    pub first: IpAddr,
    /// How many there are.
    pub count: u32,
    /// The version of the intent that granted it: an earlier or later grant of the same addresses has another.
    pub granted: u64,
}

impl Block {
    /// Whether `address` is one of its addresses.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.first.is_ipv4() == address.is_ipv4() && (self.start()..self.end()).contains(&number(address))
    }

    /// Its addresses, in order.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let first = self.first;
        (self.start()..self.end()).map(move |value| address_like(first, value))
    }

    fn start(&self) -> u128 {
        number(self.first)
    }

    /// One past the last.
    fn end(&self) -> u128 {
        self.start() + u128::from(self.count)
    }
}

/// The blocks granted of one network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grants {
    /// In the order of their first addresses; no two share an address.
    pub blocks: Vec<Block>,
}

impl Grants {
    /// The block that `address` is in.
    pub fn block_of(&self, address: IpAddr) -> Option<&Block> {
        let after = self.blocks.partition_point(|block| block.first <= address);
        self.blocks[..after].last().filter(|block| block.contains(address))
    }

    /// An address of `subnet` that `node` may give to an endpoint now: in one of its blocks, and not `used`.
    /// The search starts at a place that `random` decides, so that an address that was just freed, which others
    /// still know as somebody else's, is rarely handed out again at once.
    pub fn pick(
        &self,
        node: NodeId,
        subnet: &Subnet,
        used: &BTreeSet<IpAddr>,
        random: [u8; 16],
    ) -> Option<IpAddr> {
        let own: Vec<&Block> = self
            .blocks
            .iter()
            .filter(|block| block.node == node && subnet.net.contains(&block.first))
            .collect();
        let total: u128 = own.iter().map(|block| u128::from(block.count)).sum();
        let start = u128::from_be_bytes(random).checked_rem(total)?;
        let addresses = || own.iter().flat_map(|block| block.addresses());
        let free = |address: &IpAddr| subnet.is_endpoint(*address) && !used.contains(address);
        // `start` is below the sum of the counts; a node's blocks never hold as many addresses as a usize counts.
        let start = usize::try_from(start).ok()?;
        addresses().skip(start).find(free).or_else(|| addresses().take(start).find(free))
    }

    /// Grants `node` a block of `subnet` without any of `vips`, as large as there is room for, with that version of the
    /// intent; `None` if nothing is left.
    pub(super) fn grant(
        &mut self,
        node: NodeId,
        subnet: &Subnet,
        vips: &BTreeSet<IpAddr>,
        granted: u64,
    ) -> Option<Block> {
        let mut size = (size_of(&subnet.net) / SHARES).clamp(1, LARGEST);
        let start = loop {
            if let Some(start) = self.free(subnet, vips, size) {
                break start;
            }
            if size == 1 {
                return None;
            }
            size /= 2;
        };
        let first = address_like(subnet.net.network(), start);
        Some(self.insert(Block { node, first, count: u32::try_from(size).ok()?, granted }))
    }

    /// Grants `node` that address alone, with that version of the intent. The caller has made sure that no block holds it.
    pub(super) fn grant_single(&mut self, node: NodeId, address: IpAddr, granted: u64) -> Block {
        self.insert(Block { node, first: address, count: 1, granted })
    }

    /// An address of `subnet` that is in no block and not one of `vips`: the first from below the middle, or from below
    /// [`LATEST_START`], downwards, then from the end.
    pub(super) fn free_vip(&self, subnet: &Subnet, vips: &BTreeSet<IpAddr>) -> Option<IpAddr> {
        let (start, middle, end) = bounds(subnet);
        self.free_downwards(subnet, vips, start, middle)
            .or_else(|| self.free_downwards(subnet, vips, middle, end))
    }

    fn free_downwards(
        &self,
        subnet: &Subnet,
        vips: &BTreeSet<IpAddr>,
        from: u128,
        to: u128,
    ) -> Option<IpAddr> {
        let mut candidate = to;
        while candidate > from {
            candidate -= 1;
            let address = address_like(subnet.net.network(), candidate);
            if let Some(block) = self.block_of(address) {
                candidate = block.start();
            } else if subnet.is_endpoint(address) && !vips.contains(&address) {
                return Some(address);
            }
        }
        None
    }

    fn insert(&mut self, block: Block) -> Block {
        let at = self.blocks.partition_point(|other| other.first < block.first);
        self.blocks.insert(at, block);
        block
    }

    /// Where `size` free addresses start: aligned, from the middle or [`LATEST_START`] upwards, then from the start.
    fn free(&self, subnet: &Subnet, vips: &BTreeSet<IpAddr>, size: u128) -> Option<u128> {
        let (start, middle, end) = bounds(subnet);
        self.free_between(subnet, vips, size, middle, end)
            .or_else(|| self.free_between(subnet, vips, size, start, middle))
    }

    fn free_between(
        &self,
        subnet: &Subnet,
        vips: &BTreeSet<IpAddr>,
        size: u128,
        from: u128,
        to: u128,
    ) -> Option<u128> {
        let mut candidate = from;
        // The steps between blocks are jumps: a subnet may have 2^64 addresses, but few blocks.
        while candidate + size <= to {
            let address = address_like(subnet.net.network(), candidate);
            let last = address_like(subnet.net.network(), candidate + size - 1);
            let block = self.overlapping(address, last).map(Block::end);
            let vip = vips.range(address..=last).next_back().map(|vip| number(*vip) + 1);
            if let Some(taken) = block.max(vip) {
                candidate = taken.next_multiple_of(size);
            } else if (candidate..candidate + size)
                .any(|value| subnet.is_endpoint(address_like(address, value)))
            {
                return Some(candidate);
            } else {
                candidate += size;
            }
        }
        None
    }

    /// The last block with an address from `first` to `last`.
    fn overlapping(&self, first: IpAddr, last: IpAddr) -> Option<&Block> {
        let after = self.blocks.partition_point(|block| block.first <= last);
        self.blocks[..after]
            .last()
            .filter(|block| block.first.is_ipv4() == first.is_ipv4() && block.end() > number(first))
    }
}

/// Where a subnet starts, where blocks start at the latest, and one past its last address.
fn bounds(subnet: &Subnet) -> (u128, u128, u128) {
    let (start, size) = (number(subnet.net.network()), size_of(&subnet.net));
    (start, start + (size / 2).min(LATEST_START), start + size)
}

/// How many addresses there are in `net`. Networks have a prefix of at least one bit, so this fits.
fn size_of(net: &IpNet) -> u128 {
    1 << (net.max_prefix_len() - net.prefix_len())
}

/// An address as a number, in host byte order.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The address of that number in `like`'s family. An IPv4 number beyond 32 bits never reaches this: blocks lie
/// inside subnets.
fn address_like(like: IpAddr, value: u128) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::from_bits(value as u32).into(),
        IpAddr::V6(_) => Ipv6Addr::from_bits(value).into(),
    }
}
