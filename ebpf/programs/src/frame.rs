//! Reading and writing the packet at hand. Reads and writes go through the kernel's helpers, which reach data
//! that is not linear, too, and which unclone only what is written.

use aya_ebpf::bindings::{__sk_buff, BPF_F_INGRESS};
use aya_ebpf::helpers::{
    bpf_redirect, bpf_redirect_peer, bpf_set_hash, bpf_skb_change_tail, bpf_skb_load_bytes,
};
use aya_ebpf::programs::TcContext;
use overlay_abi::DropReason;
use overlay_packet::{ethernet, ip};

/// What becomes of a packet that is not dropped.
#[derive(Clone, Copy)]
pub enum Verdict {
    /// Not ours: whatever comes next at this hook decides.
    Pass,
    /// The kernel's redirect verdict, for the helper that was just called.
    Redirect,
}

pub type Outcome = Result<Verdict, DropReason>;

#[inline(always)]
pub fn skb(ctx: &TcContext) -> &__sk_buff {
    // SAFETY: the kernel hands every program a valid context.
    unsafe { &*ctx.skb.skb }
}

/// Loopback's index, in every namespace.
const LOOPBACK: u32 = 1;

/// Whether a process of this host sent it to the host itself.
#[inline(always)]
pub fn is_local(ctx: &TcContext) -> bool {
    skb(ctx).ifindex == LOOPBACK
}

/// Whether the kernel merged packets into this one, or has yet to cut it into segments.
#[inline(always)]
pub fn is_merged(ctx: &TcContext) -> bool {
    skb(ctx).gso_size != 0
}

/// Tells the kernel what hash the packet's flow has, which then need not look for one.
#[inline(always)]
pub fn set_hash(ctx: &TcContext, hash: u32) {
    // SAFETY: the context is valid.
    unsafe { bpf_set_hash(ctx.skb.skb, hash) };
}

/// How many packets the kernel merged into this one, or will cut it into.
#[inline(always)]
pub fn packets(ctx: &TcContext) -> u64 {
    u64::from(skb(ctx).gso_segs.max(1))
}

/// The frame's length without its Ethernet header.
#[inline(always)]
pub fn bytes(ctx: &TcContext) -> u64 {
    u64::from(ctx.len().saturating_sub(ethernet::LEN as u32))
}

/// What [`mark_seen`] writes; any number but the kernel's 0 would do.
const SEEN: u32 = 0x6f76;

/// Tells `tc_overlay` that the packet came in by the underlay device. `tc_index` stays with it on its way through the
/// host's stack, and unlike the mark, no firewall and no socket can write it.
#[inline(always)]
pub fn mark_seen(ctx: &TcContext) {
    // SAFETY: the kernel hands every program a valid context, and lets it write this field.
    unsafe { (*ctx.skb.skb).tc_index = SEEN };
}

/// Whether `tc_underlay` has seen the packet.
#[inline(always)]
pub fn is_seen(ctx: &TcContext) -> bool {
    skb(ctx).tc_index == SEEN
}

/// Reads at a byte offset from the start of the frame.
#[inline(always)]
pub fn load<const N: usize>(ctx: &TcContext, offset: usize) -> Result<[u8; N], DropReason> {
    ctx.load::<[u8; N]>(offset).map_err(|_| DropReason::Truncated)
}

/// Reads at a byte offset from the start of the frame, into memory off the stack.
#[inline(always)]
pub fn read(ctx: &TcContext, offset: usize, space: &mut [u8]) -> Result<(), DropReason> {
    // SAFETY: the context is valid, and the slice has room for its length.
    let result = unsafe {
        bpf_skb_load_bytes(ctx.skb.skb.cast(), offset as u32, space.as_mut_ptr().cast(), space.len() as u32)
    };
    if result == 0 { Ok(()) } else { Err(DropReason::Truncated) }
}

/// Overwrites at a byte offset from the start of the frame.
#[inline(always)]
pub fn store<T: Copy, const N: usize>(
    ctx: &TcContext,
    offset: usize,
    numbers: &[T; N],
) -> Result<(), DropReason> {
    ctx.store(offset, numbers, 0).map_err(|_| DropReason::RewriteFailed)
}

/// Cuts or extends the frame to a length in bytes.
#[inline(always)]
pub fn resize(ctx: &TcContext, len: usize) -> Result<(), DropReason> {
    // SAFETY: the context is valid.
    match unsafe { bpf_skb_change_tail(ctx.skb.skb, len as u32, 0) } {
        0 => Ok(()),
        _ => Err(DropReason::RewriteFailed),
    }
}

/// Makes (or, if negative, takes) room of `by` bytes behind the Ethernet header.
#[inline(always)]
pub fn adjust_room(ctx: &TcContext, by: i32, flags: u64, failure: DropReason) -> Result<(), DropReason> {
    const BPF_ADJ_ROOM_MAC: u32 = 1;
    ctx.adjust_room(by, BPF_ADJ_ROOM_MAC, flags).map_err(|_| failure)
}

/// Sends the frame out of a device.
#[inline(always)]
pub fn send_to(ifindex: u32) -> Verdict {
    // SAFETY: takes plain numbers; a device that is gone makes the kernel drop the frame.
    unsafe { bpf_redirect(ifindex, 0) };
    Verdict::Redirect
}

/// Hands the frame to the endpoint behind a veth pair's host end. The mark is the host's and must not cross.
#[inline(always)]
pub fn deliver_to(ctx: &TcContext, ifindex: u32) -> Verdict {
    ctx.set_mark(0);
    // SAFETY: takes plain numbers; a device that is gone makes the kernel drop the frame.
    unsafe { bpf_redirect_peer(ifindex, 0) };
    Verdict::Redirect
}

/// Hands the frame to the host's own stack, as loopback does.
#[inline(always)]
pub fn deliver_to_host() {
    // SAFETY: takes plain numbers.
    unsafe { bpf_redirect(LOOPBACK, u64::from(BPF_F_INGRESS)) };
}

/// Reads an IP header at `offset`, of a packet that may be shorter than it says. False if it is none of that family.
#[inline(always)]
pub fn read_ip(ctx: &TcContext, offset: usize, v4: bool, space: &mut ip::Header) -> bool {
    let bytes = space.bytes_mut();
    // The kernel clears what it fails to read, so all of it is written now, also where IPv4's part alone is there.
    let whole = read(ctx, offset, bytes).is_ok() || v4 && read(ctx, offset, &mut bytes[..ip::V4_LEN]).is_ok();
    whole && space.is_valid(v4)
}
