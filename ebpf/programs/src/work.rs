//! What is known of the packet at hand, while a service's flow is looked for.

use core::mem::MaybeUninit;

use aya_ebpf::programs::TcContext;
use overlay_abi::services::{Flow, FlowKey};
use overlay_abi::{Address, DropReason};
use overlay_packet::{ethernet, ip};

use crate::rewrite::Change;
use crate::transport::{self, Part, Transport};
use crate::{frame, related};

/// There is one a CPU, in a map, since the stack has no room for it.
pub struct Work {
    /// What [`read`] and [`read_packet`] found.
    pub header: ethernet::Header,
    packet: MaybeUninit<ip::Header>,
    /// Of the packet that an ICMP error is about.
    quoted: MaybeUninit<ip::Header>,
    /// The same.
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
    read_packet(ctx, work) && read_transport(ctx, work, vni)
}

/// Reads the packet's Ethernet and IP headers. False if it is not IP.
#[inline(never)]
pub fn read_packet(ctx: &TcContext, work: &mut Work) -> bool {
    let Ok(header) = frame::ethernet_at(ctx, 0) else { return false };
    work.header = header;
    frame::load_ip(ctx, ethernet::LEN, header.ethertype, &mut work.packet).is_ok()
}

/// Reads what is behind them: see [`read`].
#[inline(never)]
pub fn read_transport(ctx: &TcContext, work: &mut Work, vni: u32) -> bool {
    // SAFETY: read_packet() has written all of it, or an earlier one has; any bytes are a valid value.
    let packet = unsafe { work.packet.assume_init_ref() };
    transport::read(ctx, 0, packet, vni, &mut work.transport)
        || related::read(ctx, packet, &mut work.quoted, &mut work.transport)
}

impl Work {
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
        // SAFETY: the same.
        unsafe { self.packet.assume_init_ref() }
    }

    /// Whether it is an ICMP error about a flow's packet, which went the other way.
    #[inline(always)]
    pub fn is_error(&self) -> bool {
        self.transport.part == Part::Quoted
    }

    /// The end of the flow that the packet comes from.
    #[inline(always)]
    pub fn source(&self) -> (Address, u16) {
        // SAFETY: as above; one that is quoted was read with it.
        let quoted = unsafe { self.quoted.assume_init_ref() };
        let address = if self.is_error() { quoted.destination() } else { self.packet().source() };
        (address, self.transport.source_port)
    }

    /// The end that it goes to.
    #[inline(always)]
    pub fn destination(&self) -> (Address, u16) {
        (self.packet().destination(), self.transport.destination_port)
    }
}
