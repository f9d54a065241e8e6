//! Anti-entropy's conversation, over any stream. Both sides are repaired in one exchange:
//!
//! 1. The initiator sends its bucket hashes.
//! 2. The responder says which differ, and how far it is with the owners in those (and who is a member, if asked).
//! 3. The initiator says how far it is, and sends what the responder lacks.
//! 4. The responder sends what the initiator lacks.
//!
//! A frame is a length (4 bytes, big endian) and postcard.

use std::io;

use overlay::facts::{Delta, Version};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{mpsc, oneshot};

use super::driver::Command;
use super::membership::Identity;

/// The longest frame, in bytes: an owner's whole state must fit.
const MAX_FRAME: usize = 16 << 20;
/// The most deltas taken in one exchange: an owner and its previous generations, for far more than 1,000 nodes.
const MAX_DELTAS: usize = 100_000;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Frame {
    Digest { buckets: Vec<u64>, members_wanted: bool },
    Versions { buckets: u64, versions: Vec<Version>, members: Vec<foca::Member<Identity>> },
    Delta(Delta),
    End,
}

/// A question to the task that owns the state.
pub(super) enum Ask {
    Digest(oneshot::Sender<(Vec<u64>, bool)>),
    Compare(Vec<u64>, oneshot::Sender<(u64, Vec<Version>)>),
    Offer(u64, Vec<Version>, oneshot::Sender<(Vec<Version>, Vec<Delta>)>),
    ListMembers(oneshot::Sender<Vec<foca::Member<Identity>>>),
    /// Answered when it is done, so that whoever is told of the exchange's end finds its effect.
    Merge(Vec<Delta>, Vec<foca::Member<Identity>>, oneshot::Sender<()>),
}

/// The way to the task that owns the state.
#[derive(Clone)]
pub(super) struct State(pub(super) mpsc::WeakUnboundedSender<Command>);

impl State {
    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> io::Result<T> {
        let stopped = || io::Error::new(io::ErrorKind::BrokenPipe, "gossip is being stopped");
        let (reply, answer) = oneshot::channel();
        let commands = self.0.upgrade().ok_or_else(stopped)?;
        commands.send(Command::Ask(ask(reply))).map_err(|_| stopped())?;
        drop(commands);
        answer.await.map_err(|_| stopped())
    }
}

/// Begins an exchange.
pub(super) async fn initiate(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    state: &State,
) -> io::Result<()> {
    let (buckets, members_wanted) = state.ask(Ask::Digest).await?;
    write(stream, &Frame::Digest { buckets, members_wanted }).await?;
    stream.flush().await?;
    let Frame::Versions { buckets, versions: theirs, members } = read(stream).await? else {
        return Err(unexpected());
    };
    let (versions, deltas) = state.ask(|reply| Ask::Offer(buckets, theirs, reply)).await?;
    write(stream, &Frame::Versions { buckets, versions, members: Vec::new() }).await?;
    write_deltas(stream, deltas).await?;
    let deltas = read_deltas(stream).await?;
    state.ask(|done| Ask::Merge(deltas, members, done)).await
}

/// Answers an exchange.
pub(super) async fn respond(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    state: &State,
) -> io::Result<()> {
    let Frame::Digest { buckets, members_wanted } = read(stream).await? else {
        return Err(unexpected());
    };
    let (buckets, versions) = state.ask(|reply| Ask::Compare(buckets, reply)).await?;
    let members = if members_wanted { state.ask(Ask::ListMembers).await? } else { Vec::new() };
    write(stream, &Frame::Versions { buckets, versions, members }).await?;
    stream.flush().await?;
    let Frame::Versions { versions: theirs, .. } = read(stream).await? else {
        return Err(unexpected());
    };
    let deltas = read_deltas(stream).await?;
    state.ask(|done| Ask::Merge(deltas, Vec::new(), done)).await?;
    let (_, deltas) = state.ask(|reply| Ask::Offer(buckets, theirs, reply)).await?;
    write_deltas(stream, deltas).await
}

async fn write_deltas(stream: &mut (impl AsyncWrite + Unpin), deltas: Vec<Delta>) -> io::Result<()> {
    for delta in deltas {
        write(stream, &Frame::Delta(delta)).await?;
    }
    write(stream, &Frame::End).await?;
    stream.flush().await
}

async fn read_deltas(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<Delta>> {
    let mut deltas = Vec::new();
    while deltas.len() < MAX_DELTAS {
        match read(stream).await? {
            Frame::Delta(delta) => deltas.push(delta),
            Frame::End => return Ok(deltas),
            _ => break,
        }
    }
    Err(unexpected())
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> io::Result<()> {
    let body = postcard::to_stdvec(frame).map_err(io::Error::other)?;
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= MAX_FRAME).ok_or_else(too_long)?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(&body).await
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Frame> {
    let length = stream.read_u32().await? as usize;
    if length > MAX_FRAME {
        return Err(too_long());
    }
    // Memory is taken as bytes arrive, not as the length promises.
    let mut body = Vec::new();
    stream.take(length as u64).read_to_end(&mut body).await?;
    if body.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    postcard::from_bytes(&body).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("a frame is longer than {MAX_FRAME} bytes"))
}

fn unexpected() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "an unexpected frame")
}
