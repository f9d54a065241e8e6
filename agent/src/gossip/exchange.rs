//! Anti-entropy's conversation, over any stream. Both sides are repaired in one exchange:
//!
//! 1. The initiator sends its bucket hashes and a hash of the members.
//! 2. The responder says which buckets differ, and how far it is with the owners in those; if the members differ, also
//!    what it knows of them.
//! 3. The initiator says the same of itself, and sends the facts that the responder lacks.
//! 4. The responder sends the facts that the initiator lacks.
//!
//! Each owner's facts come with its voucher, whoever sends them.
//!
//! A frame is a length (4 bytes, big endian) and postcard.

use std::io;
use std::sync::Arc;

use overlay::facts::{Delta, Version};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::driver::Command;
use super::membership::Identity;
use super::vouch::Voucher;

/// The longest frame, in bytes: an owner's whole state must fit.
const MAX_FRAME: usize = 16 << 20;
/// The same of what an exchange begins with: who holds what of 1,000 nodes, several times over.
const MAX_QUESTION: usize = 1 << 20;
/// The most deltas taken in one exchange: an owner and its previous generations, for far more than 1,000 nodes.
const MAX_DELTAS: usize = 10_000;
/// What all deltas of one exchange may take on the way, in bytes: several times as much as 100,000 endpoints do.
const MAX_EXCHANGE: usize = 64 << 20;
/// The same of all exchanges under way, as it is held until each is whole. One for which nothing is left fails.
const MAX_HELD: usize = 2 * MAX_EXCHANGE;
/// That is counted in units of so many bytes.
const UNIT: usize = 1 << 10;

/// What a node holds, hashed.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Digest {
    /// The facts' buckets.
    pub(super) buckets: Vec<u64>,
    /// The members that are not down.
    pub(super) members: u64,
}

/// What a node holds of what differs.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Comparison {
    /// The buckets that differ, as a bit each.
    pub(super) buckets: u64,
    /// How far it is with the owners in those.
    pub(super) versions: Vec<Version>,
    /// What it knows of members, if that differs.
    pub(super) members: Option<Vec<foca::Member<Identity>>>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Frame {
    Digest(Digest),
    Comparison(Comparison),
    Delta(Delta, Voucher),
    /// Of the deltas,
    End,
    /// and the same from a node that is [settled](Offered::settled).
    EndSettled,
}

/// What a node sends in an exchange.
#[derive(Debug, Clone, Default)]
pub(super) struct Offered {
    /// The facts that the other one lacks, with their owners' vouchers.
    pub(super) deltas: Vec<(Delta, Voucher)>,
    /// Whether the node knows the facts of everybody who is alive, so that the other one lacks nothing then.
    pub(super) settled: bool,
}

/// A question to the task that owns the state.
pub(super) enum Ask {
    Digest(oneshot::Sender<Digest>),
    Compare(Digest, oneshot::Sender<Comparison>),
    /// For a peer that compared; answered with the same of this node, and the deltas that the peer lacks.
    Offer(Comparison, oneshot::Sender<(Comparison, Offered)>),
    /// Answered when it is done, so that whoever is told of the exchange's end finds its effect.
    Merge(Offered, oneshot::Sender<()>),
}

/// The way to the task that owns the state.
#[derive(Clone)]
pub(super) struct State {
    commands: mpsc::WeakUnboundedSender<Command>,
    /// For deltas that wait for the rest of their exchange.
    room: Arc<Semaphore>,
}

impl State {
    pub(super) fn new(commands: mpsc::WeakUnboundedSender<Command>) -> Self {
        Self { commands, room: Arc::new(Semaphore::new(MAX_HELD / UNIT)) }
    }

    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> io::Result<T> {
        let stopped = || io::Error::new(io::ErrorKind::BrokenPipe, "gossip is being stopped");
        let (reply, answer) = oneshot::channel();
        let commands = self.commands.upgrade().ok_or_else(stopped)?;
        commands.send(Command::Ask(ask(reply))).map_err(|_| stopped())?;
        drop(commands);
        answer.await.map_err(|_| stopped())
    }

    /// Tells that an exchange came to its end that another node began.
    pub(super) fn served(&self) {
        if let Some(commands) = self.commands.upgrade() {
            // Once gossip is being stopped, nobody counts.
            let _ = commands.send(Command::Served);
        }
    }
}

/// Begins an exchange.
pub(super) async fn initiate(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    state: &State,
) -> io::Result<()> {
    let digest = state.ask(Ask::Digest).await?;
    write(stream, &Frame::Digest(digest)).await?;
    stream.flush().await?;
    let Frame::Comparison(theirs) = read(stream).await? else {
        return Err(unexpected());
    };
    let (comparison, offered) = state.ask(|reply| Ask::Offer(theirs, reply)).await?;
    write(stream, &Frame::Comparison(comparison)).await?;
    write_offered(stream, offered).await?;
    take_offered(stream, state).await
}

/// Answers an exchange.
pub(super) async fn respond(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    state: &State,
) -> io::Result<()> {
    let Frame::Digest(theirs) = read(stream).await? else {
        return Err(unexpected());
    };
    let comparison = state.ask(|reply| Ask::Compare(theirs, reply)).await?;
    write(stream, &Frame::Comparison(comparison)).await?;
    stream.flush().await?;
    let Frame::Comparison(theirs) = read(stream).await? else {
        return Err(unexpected());
    };
    take_offered(stream, state).await?;
    let (_, offered) = state.ask(|reply| Ask::Offer(theirs, reply)).await?;
    write_offered(stream, offered).await
}

async fn write_offered(stream: &mut (impl AsyncWrite + Unpin), offered: Offered) -> io::Result<()> {
    for (delta, voucher) in offered.deltas {
        write(stream, &Frame::Delta(delta, voucher)).await?;
    }
    write(stream, if offered.settled { &Frame::EndSettled } else { &Frame::End }).await?;
    stream.flush().await
}

/// Takes what the other side offers, once it is whole.
async fn take_offered(stream: &mut (impl AsyncRead + Unpin), state: &State) -> io::Result<()> {
    let (offered, _held) = read_offered(stream, &state.room).await?;
    state.ask(|done| Ask::Merge(offered, done)).await
}

/// What the other side offers, and the room that it takes.
async fn read_offered(
    stream: &mut (impl AsyncRead + Unpin),
    room: &Arc<Semaphore>,
) -> io::Result<(Offered, OwnedSemaphorePermit)> {
    let (mut offered, mut left) = (Offered::default(), MAX_EXCHANGE);
    let mut held = take_room(room, 0)?;
    while offered.deltas.len() <= MAX_DELTAS {
        let length = read_length(stream).await?;
        left = left.checked_sub(length).ok_or_else(too_long)?;
        held.merge(take_room(room, length)?);
        match read_body(stream, length).await? {
            Frame::Delta(delta, voucher) => offered.deltas.push((delta, voucher)),
            Frame::End => return Ok((offered, held)),
            Frame::EndSettled => return Ok((Offered { settled: true, ..offered }, held)),
            _ => break,
        }
    }
    Err(unexpected())
}

fn take_room(room: &Arc<Semaphore>, length: usize) -> io::Result<OwnedSemaphorePermit> {
    let units = u32::try_from(length.div_ceil(UNIT)).map_err(|_| too_long())?;
    let full =
        |_| io::Error::new(io::ErrorKind::OutOfMemory, "other exchanges take all the room that there is");
    Arc::clone(room).try_acquire_many_owned(units).map_err(full)
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> io::Result<()> {
    let body = postcard::to_stdvec(frame).map_err(io::Error::other)?;
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= MAX_FRAME).ok_or_else(too_long)?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(&body).await
}

/// Reads what an exchange begins with.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Frame> {
    let length = read_length(stream).await?;
    if length > MAX_QUESTION { Err(too_long()) } else { read_body(stream, length).await }
}

async fn read_length(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<usize> {
    let length = stream.read_u32().await? as usize;
    if length > MAX_FRAME { Err(too_long()) } else { Ok(length) }
}

async fn read_body(stream: &mut (impl AsyncRead + Unpin), length: usize) -> io::Result<Frame> {
    // Memory is taken as bytes arrive, not as the length promises.
    let mut body = Vec::new();
    stream.take(length as u64).read_to_end(&mut body).await?;
    if body.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    postcard::from_bytes(&body).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn too_long() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("a frame is longer than {MAX_FRAME} bytes, or the exchange than {MAX_EXCHANGE}"),
    )
}

fn unexpected() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "an unexpected frame")
}

#[cfg(test)]
mod tests;
