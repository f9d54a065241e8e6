//! The headers of the packet at hand in memory, one behind the other as on the wire: they are read at once, changed there, and
//! written back at once, since each of the kernel's helpers costs more than all that is done between.

use core::mem::offset_of;

use aya_ebpf::helpers::{bpf_skb_load_bytes, bpf_skb_store_bytes};
use aya_ebpf::programs::TcContext;
use overlay_abi::DropReason;
use overlay_packet::{ethernet, ip, transport, vxlan};

use crate::hop::{Own, Peer};

/// Of an IPv4 packet with options, the header's fixed part.
#[repr(C, align(8))]
pub struct Headers {
    /// Not 0 where what is behind IPv4's fixed part was read too.
    whole: u16,
    /// Not 0 where a port of it was changed.
    ported: u16,
    /// What goes in front of a packet on its way to a peer. Over IPv4 it has less, which is the end of it.
    outer: [u16; vxlan::OUTER6_LEN / 2],
    pub ethernet: ethernet::Header,
    pub packet: ip::Header,
}

/// Where they are, in bytes. IP's are aligned for what reads them by the word, and the outer ones for what copies them.
const ETHERNET: usize = offset_of!(Headers, ethernet);
const OUTER4: usize = ETHERNET - vxlan::OUTER4_LEN;
const OUTER6: usize = ETHERNET - vxlan::OUTER6_LEN;
const _: () = assert!(offset_of!(Headers, packet) == ETHERNET + ethernet::LEN);
const _: () = assert!(offset_of!(Headers, outer) == OUTER6 && OUTER4 % 8 == 0 && OUTER6 % 4 == 0);

/// With the Ethernet header.
const WITH_IP4: usize = ethernet::LEN + ip::V4_LEN;
const WITH_IP6: usize = ethernet::LEN + ip::V6_LEN;

impl Headers {
    /// Reads the Ethernet header at `offset` from the start of the frame, and of an IP header behind it what is there.
    #[inline(always)]
    pub fn read(&mut self, ctx: &TcContext, offset: usize) -> Result<(), DropReason> {
        let bytes = core::ptr::from_mut(self).cast::<u8>();
        // SAFETY: the context is valid, and all lengths that are asked for end with this structure, of which any bytes are a
        // valid value.
        let read = |length: usize| unsafe {
            let to = bytes.add(ETHERNET).cast();
            bpf_skb_load_bytes(ctx.skb.skb.cast(), offset as u32, to, length as u32) == 0
        };
        // The kernel clears what it fails to read.
        let whole = read(WITH_IP6);
        (self.whole, self.ported) = (whole.into(), 0);
        if whole || read(WITH_IP4) || read(ethernet::LEN) { Ok(()) } else { Err(DropReason::Truncated) }
    }

    /// What an IPv4 packet without options has behind its header, if that was read with it: most packets' transport header.
    #[inline(always)]
    pub fn behind4(&self) -> Option<&[u8; ip::V6_LEN - ip::V4_LEN]> {
        let behind = self.packet.behind4()?;
        if self.whole == 0 { None } else { Some(behind) }
    }

    /// Refuses what is no IP packet, or shorter than it says, once it is read.
    #[inline(always)]
    pub fn check(&self, ctx: &TcContext, offset: usize) -> Result<(), DropReason> {
        let (v4, fixed) = match self.ethernet.ethertype() {
            ethernet::IPV4 => (true, ip::V4_LEN),
            ethernet::IPV6 => (false, ip::V6_LEN),
            tag if ethernet::VLANS.contains(&tag) => return Err(DropReason::Vlan),
            _ => return Err(DropReason::NotIp),
        };
        let present = (ctx.len() as usize).saturating_sub(offset + ethernet::LEN);
        if present < fixed {
            return Err(DropReason::Truncated);
        }
        let header = &self.packet;
        if !header.is_valid(v4) {
            return Err(DropReason::Malformed);
        }
        if header.total() > present || header.length() > present {
            return Err(DropReason::Truncated);
        }
        Ok(())
    }

    /// Puts a port, host byte order, in the place of one in a transport header that was read with the others, the second one
    /// being the destination's. False where it was not.
    #[inline(always)]
    pub fn set_port(&mut self, second: bool, port: u16) -> bool {
        if self.whole == 0 {
            return false;
        }
        let Some([a, b, c, d, ..]) = self.packet.behind4_mut() else { return false };
        let place = if second { [c, d] } else { [a, b] };
        let [high, low] = port.to_be_bytes();
        (*place[0], *place[1]) = (high, low);
        self.ported = 1;
        true
    }

    /// Fills in the outer headers, whose next hop is known.
    #[inline(always)]
    pub fn wrap<const V4: bool>(&mut self, hop: &Peer, own: &Own) {
        let inner = self.ethernet;
        let start = if V4 { OUTER4 } else { OUTER6 };
        let bytes = core::ptr::from_mut(self).cast::<u8>();
        let put = |at: usize, word: u16| {
            // SAFETY: every place is one of the headers', and even.
            unsafe { *bytes.add(start + at).cast::<u16>() = word };
        };
        // SAFETY: the outer headers and Ethernet's are that long.
        unsafe { hop.write::<V4>(bytes.add(start)) };
        hop.differ::<V4>(own, &inner, put);
    }

    /// The same where it is not.
    #[inline(always)]
    pub fn wrap_anew<const V4: bool>(&mut self, outer: &vxlan::Outer) {
        let inner = self.ethernet;
        let bytes = core::ptr::from_mut(self).cast::<u8>();
        // SAFETY: the outer headers and Ethernet's are that long.
        unsafe {
            if V4 {
                *bytes.add(OUTER4).cast() = outer.v4(&inner);
            } else {
                *bytes.add(OUTER6).cast() = outer.v6(&inner);
            }
        }
    }

    /// Writes the Ethernet and IP headers to the start of the frame.
    #[inline(always)]
    pub fn write(&self, ctx: &TcContext) -> Result<(), DropReason> {
        self.write_from(ctx, ETHERNET)
    }

    /// The same with the outer headers in front.
    #[inline(always)]
    pub fn write_wrapped(&self, ctx: &TcContext, outer4: bool) -> Result<(), DropReason> {
        self.write_from(ctx, if outer4 { OUTER4 } else { OUTER6 })
    }

    /// Writes all from a place on.
    #[inline(always)]
    fn write_from(&self, ctx: &TcContext, start: usize) -> Result<(), DropReason> {
        let ports = if self.ported == 0 { 0 } else { transport::PORTS_LEN };
        let end = ETHERNET + if self.packet.is_v4() { WITH_IP4 + ports } else { WITH_IP6 };
        let bytes = core::ptr::from_ref(self).cast::<u8>();
        // SAFETY: the context is valid, and what is written lies in this structure.
        let result =
            unsafe { bpf_skb_store_bytes(ctx.skb.skb, 0, bytes.add(start).cast(), (end - start) as u32, 0) };
        if result == 0 { Ok(()) } else { Err(DropReason::RewriteFailed) }
    }
}
