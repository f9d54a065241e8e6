//! What is known of the packet at hand.

use aya_ebpf::programs::TcContext;
use overlay_abi::services::{Flow, FlowKey};
use overlay_abi::{Address, DropReason};
use overlay_packet::ip;

use crate::headers::Headers;
use crate::rewrite::Change;
use crate::transport::{self, Part, Transport};
use crate::{flow, related};

/// There is one a CPU, in a map, since the stack has no room for it.
pub struct Work {
    /// Of the packet; what is changed there is so once they are written.
    pub headers: Headers,
    /// Of the packet that an ICMP error is about.
    pub quoted: ip::Header,
    /// What follows the headers.
    pub transport: Transport,
    /// Of the flow that is looked for.
    pub key: FlowKey,
    /// One to be kept.
    pub flow: Flow,
    /// What the packet needs.
    pub change: Change,
    /// Whether its backend sees this node in the client's place.
    pub hidden: bool,
    /// The port that stands for the client since an earlier packet, or 0.
    pub stands_for: u16,
}

/// Reads the headers of a packet in a network, 0 outside of all. False if it is neither TCP, UDP nor an ICMP error about
/// such, or a fragment without its first one.
#[inline(always)]
pub fn read(ctx: &TcContext, work: &mut Work, vni: u32) -> bool {
    read_packet(ctx, 0, work).is_ok() && read_transport(ctx, work, vni)
}

/// Reads the Ethernet and IP headers of the frame at `offset`.
#[inline(never)]
pub fn read_packet(ctx: &TcContext, offset: usize, work: &mut Work) -> Result<(), DropReason> {
    work.headers.read(ctx, offset)?;
    work.headers.check(ctx, offset)
}

/// Reads what is behind them: see [`read`].
#[inline(always)]
pub fn read_transport(ctx: &TcContext, work: &mut Work, vni: u32) -> bool {
    transport::read(ctx, &work.headers, vni, &mut work.transport) || related::read(ctx, work)
}

impl Work {
    /// Notes that the packet at hand came now: before its flow or its next hop is looked for.
    #[inline(always)]
    pub fn begin(&mut self) {
        self.transport.now = flow::now();
    }

    /// Why a packet of ours is dropped that [`read`] could not read: for that reason, unless it is a fragment.
    #[inline(always)]
    pub fn unread(&self, otherwise: DropReason) -> DropReason {
        if self.transport.part == Part::Later { DropReason::UnknownFragment } else { otherwise }
    }

    /// Why a packet is dropped that found no port.
    #[inline(always)]
    pub fn untranslated(&self) -> DropReason {
        if self.is_error() { DropReason::UnknownError } else { DropReason::NoPort }
    }

    #[inline(always)]
    pub fn packet(&self) -> &ip::Header {
        &self.headers.packet
    }

    /// Takes one off the hops that the packet has left, as a router does.
    #[inline(always)]
    pub fn count_hop(&mut self) -> Result<(), DropReason> {
        if self.packet().hop_limit() <= 1 {
            return Err(DropReason::NoHopsLeft);
        }
        self.headers.packet.count_hop();
        Ok(())
    }

    /// Whether it is UDP, and no ICMP error about such.
    #[inline(always)]
    pub fn is_udp(&self) -> bool {
        self.transport.protocol == ip::protocol::UDP && !self.is_error()
    }

    /// Whether it is an ICMP error about a flow's packet, which went the other way.
    #[inline(always)]
    pub fn is_error(&self) -> bool {
        self.transport.part == Part::Quoted
    }

    /// The end of the flow that the packet comes from.
    #[inline(always)]
    pub fn source(&self) -> (Address, u16) {
        let address = if self.is_error() { self.quoted.destination() } else { self.packet().source() };
        (address, self.transport.source_port)
    }

    /// The end that it goes to.
    #[inline(always)]
    pub fn destination(&self) -> (Address, u16) {
        (self.packet().destination(), self.transport.destination_port)
    }
}
