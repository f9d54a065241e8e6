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

use overlay::facts::{Delta, Version};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{mpsc, oneshot};

use super::driver::Command;
use super::membership::Identity;
use super::vouch::Voucher;

/// The longest frame, in bytes: an owner's whole state must fit.
const MAX_FRAME: usize = 16 << 20;
/// The most deltas taken in one exchange: an owner and its previous generations, for far more than 1,000 nodes.
const MAX_DELTAS: usize = 100_000;

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
    End,
}

/// A question to the task that owns the state.
pub(super) enum Ask {
    Digest(oneshot::Sender<Digest>),
    Compare(Digest, oneshot::Sender<Comparison>),
    /// For a peer that compared; answered with the same of this node, and the deltas that the peer lacks.
    Offer(Comparison, oneshot::Sender<(Comparison, Vec<(Delta, Voucher)>)>),
    /// Answered when it is done, so that whoever is told of the exchange's end finds its effect.
    Merge(Vec<(Delta, Voucher)>, oneshot::Sender<()>),
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

    /// Tells that an exchange came to its end that another node began.
    pub(super) fn served(&self) {
        if let Some(commands) = self.0.upgrade() {
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
    let (comparison, deltas) = state.ask(|reply| Ask::Offer(theirs, reply)).await?;
    write(stream, &Frame::Comparison(comparison)).await?;
    write_deltas(stream, deltas).await?;
    let deltas = read_deltas(stream).await?;
    state.ask(|done| Ask::Merge(deltas, done)).await
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
    let deltas = read_deltas(stream).await?;
    state.ask(|done| Ask::Merge(deltas, done)).await?;
    let (_, deltas) = state.ask(|reply| Ask::Offer(theirs, reply)).await?;
    write_deltas(stream, deltas).await
}

async fn write_deltas(
    stream: &mut (impl AsyncWrite + Unpin),
    deltas: Vec<(Delta, Voucher)>,
) -> io::Result<()> {
    for (delta, voucher) in deltas {
        write(stream, &Frame::Delta(delta, voucher)).await?;
    }
    write(stream, &Frame::End).await?;
    stream.flush().await
}

async fn read_deltas(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<(Delta, Voucher)>> {
    let mut deltas = Vec::new();
    while deltas.len() < MAX_DELTAS {
        match read(stream).await? {
            Frame::Delta(delta, voucher) => deltas.push((delta, voucher)),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A state that is never asked: what is wrong shows before.
    fn nobody() -> State {
        let (commands, _) = mpsc::unbounded_channel();
        State(commands.downgrade())
    }

    /// What the responder makes of these bytes, after which the stream ends.
    async fn answer_to(bytes: &[u8]) -> io::Error {
        let (mut near, mut far) = tokio::io::duplex(1 << 16);
        near.write_all(bytes).await.unwrap();
        near.shutdown().await.unwrap();
        respond(&mut far, &nobody()).await.unwrap_err()
    }

    #[tokio::test]
    async fn malformed_frames_end_an_exchange() {
        assert_eq!(answer_to(&[]).await.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(answer_to(&[0, 0, 0, 9, 1]).await.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(answer_to(&[0, 0, 0, 1, 99]).await.kind(), io::ErrorKind::InvalidData);
        let mut out_of_turn = Vec::new();
        write(&mut out_of_turn, &Frame::End).await.unwrap();
        assert_eq!(answer_to(&out_of_turn).await.to_string(), "an unexpected frame");
        let too_long = answer_to(&[0xff; 4]).await.to_string();
        assert!(too_long.contains("longer than"), "{too_long}");
    }

    #[tokio::test]
    async fn frames_come_back_as_they_were() {
        let digest = Digest { buckets: vec![1, 2, u64::MAX], members: 7 };
        let comparison = Comparison { buckets: 5, versions: vec![], members: Some(vec![]) };
        for frame in [Frame::Digest(digest), Frame::Comparison(comparison), Frame::End] {
            let mut bytes = Vec::new();
            write(&mut bytes, &frame).await.unwrap();
            assert_eq!(read(&mut &bytes[..]).await.unwrap(), frame);
        }
    }
}
