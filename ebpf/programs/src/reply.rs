//! What the sender of a packet that goes nowhere is told: a reset over TCP, else an ICMP error. The answer is made of the
//! packet itself, and leaves by the device that it came by.
//!
//! Nothing answers a reset, a group, or a fragment but the first, and ICMP errors are few (RFC 4443, section 2.4).

use aya_ebpf::helpers::bpf_csum_diff;
use aya_ebpf::programs::TcContext;
use overlay_abi::DropReason;
use overlay_abi::services::service_flag;
use overlay_packet::answer::{
    Answer, ERROR4_LEN, ERROR6_LEN, Error, MOST_QUOTED, Quote, RESET4_LEN, RESET6_LEN,
};
use overlay_packet::transport::{tcp, udp};
use overlay_packet::{checksum, ethernet, ip};

use crate::transport::{Part, Transport};
use crate::work::Work;
use crate::{flow, frame, maps, rewrite};

/// How far ICMP errors are apart in the long run, in nanoseconds, on each CPU.
const BETWEEN: u64 = 1_000_000;

/// How many of them may leave at once.
const AT_ONCE: u64 = 100;

/// What an error quotes of UDP: what a sender finds its socket by.
const UDP_QUOTED: usize = 8;

/// There is one a CPU, in a map, since the stack has no room for it.
pub struct Scratch {
    /// When the next error would leave, did all leave evenly, in nanoseconds since the host's boot.
    next: u64,
    answer: Answer,
    header: [u8; tcp::LEN],
    frame: [u8; RESET6_LEN],
    quoted: [u8; MOST_QUOTED],
}

/// Drops a service's packet for that reason, which is counted, and tells its sender, unless the service is to keep
/// silent. The frame starts with its Ethernet header, and is as it came.
#[inline(never)]
pub fn refuse(ctx: &TcContext, work: &Work, service_slot: u32, reason: DropReason) -> Result<(), DropReason> {
    let service = maps::service(service_slot).ok_or(reason)?;
    if service.flags & service_flag::DROP != 0 || work.transport.part == Part::Later {
        return Err(reason);
    }
    let scratch = maps::reply().ok_or(reason)?;
    let packet = work.packet();
    scratch.answer = back(work);
    if work.transport.protocol == ip::protocol::TCP {
        reset(ctx, scratch, packet, &work.transport).map_err(|_| reason)?;
    } else {
        error(ctx, scratch, packet, Error::PortUnreachable).map_err(|_| reason)?;
    }
    maps::count(reason);
    maps::count_refusal(service_slot, reason);
    Ok(())
}

/// From where the packet was for, to where it came from.
#[inline(always)]
fn back(work: &Work) -> Answer {
    Answer {
        from_mac: work.headers.ethernet.destination,
        from: work.packet().destination(),
        to_mac: work.headers.ethernet.source,
        to: work.packet().source(),
    }
}

/// Tells the sender of a service's packet that does not fit which size does, in bytes; as [`refuse`] does.
#[inline(never)]
pub fn too_big_for_service(ctx: &TcContext, work: &Work, mtu: u16) -> Result<(), DropReason> {
    let scratch = maps::reply().filter(|_| !work.is_error()).ok_or(DropReason::TooBig)?;
    scratch.answer = back(work);
    error(ctx, scratch, work.packet(), Error::TooBig(mtu)).map_err(|_| DropReason::TooBig)
}

/// Tells the sender of a packet that does not fit which size does, in bytes. One that may be cut is dropped.
#[inline(never)]
pub fn too_big(ctx: &TcContext, answer: &Answer, packet: &ip::Header, mtu: u16) -> Result<(), DropReason> {
    if !packet.dont_fragment() {
        return Err(DropReason::TooBig);
    }
    let scratch = maps::reply().ok_or(DropReason::TooBig)?;
    scratch.answer = *answer;
    error(ctx, scratch, packet, Error::TooBig(mtu)).map_err(|_| DropReason::TooBig)
}

/// Nobody is told.
struct Untold;

impl From<DropReason> for Untold {
    fn from(_: DropReason) -> Self {
        Self
    }
}

/// Whether the packet's sender is one that can be answered at all.
#[inline(always)]
fn may_answer(answer: &Answer) -> bool {
    !ethernet::is_group(&answer.from_mac) && !answer.to.is_group() && !answer.to.is_none()
}

/// Breaks the connection off. A packet with IPv4's options is not answered, as these would be lost.
#[inline(never)]
fn reset(
    ctx: &TcContext,
    scratch: &mut Scratch,
    packet: &ip::Header,
    transport: &Transport,
) -> Result<(), Untold> {
    if transport.flags & tcp::RST != 0 || !may_answer(&scratch.answer) {
        return Err(Untold);
    }
    if packet.is_v4() && packet.length() != ip::V4_LEN {
        return Err(Untold);
    }
    frame::read(ctx, transport.at, &mut scratch.header)?;
    let present = (ctx.len() as usize).saturating_sub(ethernet::LEN);
    let total = if packet.total() == 0 { present } else { packet.total() };
    let headers = packet.length() + usize::from(scratch.header[12] >> 4) * 4;
    let payload = total.saturating_sub(headers) as u32;
    let pending = rewrite::is_pending(ctx, transport.at + tcp::CHECKSUM_AT)?;
    if packet.is_v4() {
        reset4(ctx, scratch, payload, pending)?
    } else {
        reset6(ctx, scratch, payload, pending)?
    }
    send_back(ctx);
    Ok(())
}

#[inline(never)]
fn reset4(ctx: &TcContext, scratch: &mut Scratch, payload: u32, pending: bool) -> Result<(), Untold> {
    let Some(frame) = scratch.frame.first_chunk_mut::<RESET4_LEN>() else { return Err(Untold) };
    scratch.answer.reset4(frame, &scratch.header, payload, pending);
    frame::resize(ctx, RESET4_LEN)?;
    Ok(frame::store(ctx, 0, frame)?)
}

#[inline(never)]
fn reset6(ctx: &TcContext, scratch: &mut Scratch, payload: u32, pending: bool) -> Result<(), Untold> {
    scratch.answer.reset6(&mut scratch.frame, &scratch.header, payload, pending);
    frame::resize(ctx, RESET6_LEN)?;
    Ok(frame::store(ctx, 0, &scratch.frame)?)
}

#[inline(always)]
fn send_back(ctx: &TcContext) {
    frame::send_to(frame::skb(ctx).ifindex);
}

/// Turns the packet into an error about it.
#[inline(never)]
fn error(ctx: &TcContext, scratch: &mut Scratch, packet: &ip::Header, error: Error) -> Result<(), Untold> {
    if packet.is_later_fragment() || !may_answer(&scratch.answer) || !may_leave(scratch) {
        return Err(Untold);
    }
    let pending = clear_pending(ctx, packet)?;
    let most = match error {
        Error::TooBig(_) => MOST_QUOTED,
        Error::PortUnreachable => packet.length() + UDP_QUOTED,
    };
    let length = most.min(ctx.len() as usize - ethernet::LEN);
    frame::resize(ctx, ethernet::LEN + length)?;
    // What is yet to get its checksum adds up to nothing once it has it.
    let sum = sum(ctx, scratch, if pending { packet.length() } else { length })?;
    let quote = Quote { length: length as u16, sum };
    if packet.is_v4() {
        push4(ctx, scratch, error, &quote)?
    } else {
        push6(ctx, scratch, error, &quote)?
    }
    send_back(ctx);
    Ok(())
}

/// Whether another error may leave (RFC 4443, section 2.4 (f)): one by one, after a pause many at once.
#[inline(always)]
fn may_leave(scratch: &mut Scratch) -> bool {
    let now = flow::now();
    let next = scratch.next.max(now.saturating_sub(BETWEEN * AT_ONCE));
    let may = next <= now;
    if may {
        scratch.next = next + BETWEEN;
    }
    may
}

/// Prepares a checksum that is yet to be taken for its place in a quote: then all that it covers, itself included, adds up
/// to nothing, whatever it is. False where there is none.
#[inline(never)]
fn clear_pending(ctx: &TcContext, packet: &ip::Header) -> Result<bool, Untold> {
    let at = ethernet::LEN
        + packet.length()
        + match packet.protocol() {
            ip::protocol::TCP => tcp::CHECKSUM_AT,
            ip::protocol::UDP => udp::CHECKSUM_AT,
            _ => return Ok(false),
        };
    let pending = rewrite::is_pending(ctx, at)?;
    if pending {
        frame::store(ctx, at, &[0_u16])?;
    }
    Ok(pending)
}

/// The running sum of the first bytes behind the Ethernet header.
#[inline(never)]
fn sum(ctx: &TcContext, scratch: &mut Scratch, length: usize) -> Result<u32, Untold> {
    if length == 0 || length > MOST_QUOTED {
        return Err(Untold);
    }
    frame::read(ctx, ethernet::LEN, &mut scratch.quoted[..length])?;
    let quoted = scratch.quoted.as_mut_ptr();
    // SAFETY: the memory is at least that long.
    let sum = unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, quoted.cast(), length as u32, 0) };
    // The helper sums words as the CPU reads them; a sum's bytes can be swapped afterwards (RFC 1071, section 2).
    Ok(u32::from(u16::from_be(checksum::fold(sum as u32))))
}

#[inline(never)]
fn push4(ctx: &TcContext, scratch: &mut Scratch, error: Error, quote: &Quote) -> Result<(), Untold> {
    let Some(frame) = scratch.frame.first_chunk_mut::<ERROR4_LEN>() else { return Err(Untold) };
    scratch.answer.error4(frame, error, quote);
    push(ctx, ERROR4_LEN)?;
    Ok(frame::store(ctx, 0, frame)?)
}

#[inline(never)]
fn push6(ctx: &TcContext, scratch: &mut Scratch, error: Error, quote: &Quote) -> Result<(), Untold> {
    let Some(frame) = scratch.frame.first_chunk_mut::<ERROR6_LEN>() else { return Err(Untold) };
    scratch.answer.error6(frame, error, quote);
    push(ctx, ERROR6_LEN)?;
    Ok(frame::store(ctx, 0, frame)?)
}

/// Makes room between the Ethernet header and the quote for `headers`, of which Ethernet's is there already.
#[inline(always)]
fn push(ctx: &TcContext, headers: usize) -> Result<(), DropReason> {
    frame::adjust_room(ctx, (headers - ethernet::LEN) as i32, 0, DropReason::RewriteFailed)
}
