//! The next hops to peers and to clients, which no neighbour table is open to: [`crate::tc_guard`] reads them off the packets that
//! the kernel itself addressed, so routes and neighbours are the kernel's business alone. What was learnt is used for half a
//! second, and before that ends a packet is left to the kernel, by XDP through tc, from which the guard learns anew.
//!
//! Nothing is learnt while nobody wants a hop.

use core::ptr::copy_nonoverlapping;

use aya_ebpf::helpers::bpf_redirect_neigh;
use aya_ebpf::programs::TcContext;
use overlay_abi::{Address, Node};
use overlay_packet::{checksum, ethernet, ip, transport, vxlan};

use crate::{flow, frame, maps};

/// More than there are peers by far, as those that meet in a place take turns.
pub const PEERS_SIZE: u32 = 1 << 15;
/// Clients that are answered at the same time, likewise. The kernel finds the way to one without a place.
pub const CLIENTS_SIZE: u32 = 1 << 15;

const MILLISECOND: u64 = 1_000_000;
/// For how long a hop is used.
const LIFE: u64 = 500 * MILLISECOND;
/// From which age on it is renewed.
const RENEWAL: u64 = 250 * MILLISECOND;
/// How much time XDP gives a packet that it left to tc to renew a hop, before it leaves another one. tc has the kernel send at
/// once what XDP left to it.
pub const PATIENCE: u64 = 20 * MILLISECOND;
/// tc's, which renews a hop with the first packet that finds it too old.
pub const NO_PATIENCE: u64 = 0;
/// For how long after somebody wanted a hop the guard learns. The kernel may wait for a neighbour's answer meanwhile.
const WANTED_LIFE: u64 = 1000 * MILLISECOND;

/// Where the outer IP header is.
const IP_AT: usize = ethernet::LEN;

/// How many of a packet's first words are MAC addresses.
const MACS: usize = 6;
pub type Macs = [u16; MACS];

/// The way to somebody, by the underlay device. Times are in nanoseconds since the host's boot.
#[repr(C, align(8))]
pub struct Hop<To, const WORDS: usize> {
    /// When it was learnt.
    learnt: u64,
    /// When a packet was last left to the kernel to have it renewed.
    asked: u64,
    to: To,
    /// What a packet there begins with.
    pub headers: [u16; WORDS],
}

/// The way to a VTEP, with all headers of a packet there but for what differs from one to another: its lengths are those of no
/// packet at all, and the ports' first, the VNI, ECN, and the inner Ethernet header are zero. IPv4's end before the array does.
pub type Peer = Hop<Address, { vxlan::HEADERS6 }>;
/// The way from an address of this host's to a client's: a route may depend on both.
pub type Client = Hop<(Address, Address), MACS>;

/// What the headers in front of a packet to a peer have of their own.
pub struct Own {
    /// The ECN field.
    pub ecn: u8,
    /// UDP's source port, host byte order.
    pub source_port: u16,
    /// The network.
    pub vni: u32,
    /// The inner frame's length in bytes.
    pub inner: usize,
}

impl Peer {
    /// Writes the headers there, by the largest words that they are a multiple of.
    ///
    /// # Safety
    /// All of them may be written there.
    #[inline(always)]
    pub unsafe fn write<const V4: bool>(&self, to: *mut u8) {
        let from = self.headers.as_ptr();
        // SAFETY: they are that long, and aligned for these words; BPF writes at any address.
        unsafe {
            if V4 {
                copy_nonoverlapping(from.cast::<u64>(), to.cast(), vxlan::HEADERS4 / 4);
            } else {
                copy_nonoverlapping(from.cast::<u32>(), to.cast(), vxlan::HEADERS6 / 2);
            }
        }
    }

    /// Has `put` write, by its place in bytes, each word in which a packet's headers differ from the hop's.
    #[inline(always)]
    pub fn differ<const V4: bool>(
        &self,
        own: &Own,
        inner: &ethernet::Header,
        mut put: impl FnMut(usize, u16),
    ) {
        let room = if V4 { vxlan::OUTER4_LEN } else { vxlan::OUTER6_LEN };
        // As the header in front of it counts it: from there to the packet's end.
        let length = |from: usize| u16::try_from(room + own.inner - from).unwrap_or(0).to_be();
        let known = |at: usize| self.headers[at / 2];
        if V4 {
            let (first, total) = (u16::from_ne_bytes([0x45, own.ecn]), length(IP_AT));
            let checksum = checksum::update(known(IP_AT + 10), known(IP_AT), first);
            put(IP_AT, first);
            put(IP_AT + 2, total);
            put(IP_AT + 10, checksum::update(checksum, known(IP_AT + 2), total));
        } else {
            put(IP_AT, u16::from_ne_bytes([0x60, own.ecn << 4]));
            put(IP_AT + 4, length(IP_AT + ip::V6_LEN));
        }
        let udp = room - vxlan::LEN - vxlan::UDP_LEN;
        put(udp, own.source_port.to_be());
        put(udp + 4, length(udp));
        let [_, high, middle, low] = own.vni.to_be_bytes();
        put(room - 4, u16::from_ne_bytes([high, middle]));
        put(room - 2, u16::from_ne_bytes([low, 0]));
        for (n, word) in inner.words().into_iter().enumerate() {
            put(room + 2 * n, word);
        }
    }
}

/// The way to a VTEP; none where the kernel shall find it.
#[inline(always)]
pub fn to_peer(vtep: &Address, now: u64, patience: u64) -> Option<&'static Peer> {
    let hop = maps::peer_hop(place(&Address::NONE, vtep))?;
    if hop.is_usable(vtep, now, patience) { Some(hop) } else { None }
}

/// The same to a client.
#[inline(always)]
pub fn to_client(ends: &(Address, Address), now: u64, patience: u64) -> Option<&'static Client> {
    let hop = maps::client_hop(place(&ends.0, &ends.1))?;
    if hop.is_usable(ends, now, patience) { Some(hop) } else { None }
}

/// A hash by which the way is found. Others share the place, and every CPU, so what is there says whose it is.
#[inline(always)]
fn place(from: &Address, to: &Address) -> u32 {
    transport::quick_hash(from, to, 0)
}

impl<To: Copy + PartialEq, const WORDS: usize> Hop<To, WORDS> {
    /// Whether it leads there. If not, the packet that is left to the kernel is noted.
    #[inline(always)]
    fn is_usable(&mut self, to: &To, now: u64, patience: u64) -> bool {
        let age = flow::since(self.learnt, now);
        let renewing = age < LIFE && flow::since(self.asked, now) < patience;
        if self.to == *to && (age < RENEWAL || renewing) {
            return true;
        }
        self.asked = now;
        if let Some(wanted) = maps::wanted() {
            *wanted = now;
        }
        false
    }

    /// Whether a packet that leaves shows what is to be kept.
    #[inline(always)]
    fn is_news(&self, to: &To, macs: &Macs, now: u64) -> bool {
        let age = flow::since(self.learnt, now);
        if self.to == *to {
            // Else every packet would take the memory from the other CPUs.
            self.headers[..MACS] != *macs || age >= RENEWAL
        } else {
            // Two that share the place would only keep each other from it.
            age >= LIFE
        }
    }

    /// What a packet there begins with at least.
    #[inline(always)]
    pub fn macs(&self) -> &Macs {
        // The headers begin with them, whatever follows.
        match self.headers.first_chunk() {
            Some(macs) => macs,
            None => &[0; MACS],
        }
    }

    #[inline(always)]
    fn keep(&mut self, to: &To, now: u64) {
        (self.to, self.learnt) = (*to, now);
    }
}

/// Has a packet of ours leave by the underlay device: at once, if it begins with its next hop's addresses. Else the kernel finds
/// them by the packet's destination, and the guard learns them.
#[inline(always)]
pub fn leave(ctx: &TcContext, node: &Node, addressed: bool) {
    if addressed {
        ctx.set_mark(mark_addressed(node));
        frame::send_to(node.underlay_ifindex);
    } else {
        ctx.set_mark(node.mark);
        // SAFETY: plain numbers and no parameters.
        unsafe { bpf_redirect_neigh(node.underlay_ifindex, core::ptr::null_mut(), 0, 0) };
    }
}

/// What marks for the guard what it has nothing to learn from.
#[inline(always)]
pub fn mark_addressed(node: &Node) -> u32 {
    !node.mark
}

/// Learns from a packet of ours that leaves: VXLAN, or an answer to a client.
#[inline(always)]
pub fn learn(ctx: &TcContext, node: &Node) {
    if maps::wanted().is_some_and(|wanted| *wanted != 0) {
        learn_wanted(ctx, node);
    }
}

#[inline(never)]
fn learn_wanted(ctx: &TcContext, node: &Node) -> Option<()> {
    let now = flow::now();
    if flow::since(*maps::wanted()?, now) > WANTED_LIFE {
        return None;
    }
    let macs = words(&frame::load(ctx, 0).ok()?);
    let v4 = frame::skb(ctx).protocol == u32::from(ethernet::IPV4.to_be());
    let ends = if v4 { ends4(ctx)? } else { ends6(ctx)? };
    if ends.0 == node.vtep && is_vxlan(ctx, node) {
        learn_peer(node, &ends.1, &macs, now)
    } else {
        let hop = maps::client_hop(place(&ends.0, &ends.1))?;
        if hop.is_news(&ends, &macs, now) {
            hop.headers = macs;
            hop.keep(&ends, now);
        }
        Some(())
    }
}

fn words(bytes: &[u8; 2 * MACS]) -> [u16; MACS] {
    core::array::from_fn(|n| u16::from_ne_bytes([bytes[2 * n], bytes[2 * n + 1]]))
}

#[inline(always)]
fn ends4(ctx: &TcContext) -> Option<(Address, Address)> {
    let load = |at| frame::load(ctx, ethernet::LEN + at).ok().map(Address::v4);
    Some((load(12)?, load(16)?))
}

#[inline(always)]
fn ends6(ctx: &TcContext) -> Option<(Address, Address)> {
    let load = |at| frame::load(ctx, ethernet::LEN + at).ok().map(Address);
    Some((load(8)?, load(24)?))
}

/// Whether a packet of ours from the VTEP's address is VXLAN: no answer to a client that is ours goes to the data port.
#[inline(always)]
fn is_vxlan(ctx: &TcContext, node: &Node) -> bool {
    let (protocol, length) = if node.vtep.is_v4() { (9, ip::V4_LEN) } else { (6, ip::V6_LEN) };
    let udp =
        frame::load(ctx, ethernet::LEN + protocol).is_ok_and(|[protocol]| protocol == ip::protocol::UDP);
    udp && frame::load(ctx, ethernet::LEN + length)
        .is_ok_and(|header| vxlan::udp_destination(&header) == node.data_port)
}

#[inline(never)]
fn learn_peer(node: &Node, vtep: &Address, macs: &Macs, now: u64) -> Option<()> {
    let hop = maps::peer_hop(place(&Address::NONE, vtep))?;
    if !hop.is_news(vtep, macs, now) {
        return None;
    }
    if node.vtep.is_v4() {
        fill4(hop, node, *vtep, macs)
    } else {
        fill6(hop, node, *vtep, macs)
    }
    hop.keep(vtep, now);
    Some(())
}

/// Another CPU may send by it meanwhile, so all is written at once, and where nothing has changed, it stays the same.
#[inline(never)]
fn fill4(hop: &mut Peer, node: &Node, vtep: Address, macs: &Macs) {
    let mut headers = outer(node, vtep).v4(&ethernet::Header::EMPTY);
    headers[..MACS].copy_from_slice(macs);
    hop.headers[..vxlan::HEADERS4].copy_from_slice(&headers);
}

#[inline(never)]
fn fill6(hop: &mut Peer, node: &Node, vtep: Address, macs: &Macs) {
    let mut headers = outer(node, vtep).v6(&ethernet::Header::EMPTY);
    headers[..MACS].copy_from_slice(macs);
    hop.headers = headers;
}

#[inline(always)]
fn outer(node: &Node, vtep: Address) -> vxlan::Outer {
    vxlan::Outer {
        source: node.vtep,
        destination: vtep,
        source_port: 0,
        destination_port: node.data_port,
        vni: 0,
        ecn: 0,
        inner: 0,
    }
}
