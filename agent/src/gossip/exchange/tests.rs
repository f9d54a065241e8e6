use overlay::facts::{Key, Record};
use overlay::model::NodeId;

use super::*;
use crate::gossip::samples::signer;

/// A state that is never asked: what is wrong shows before.
fn nobody() -> State {
    let (commands, _) = mpsc::unbounded_channel();
    State::new(commands.downgrade())
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

fn delta(record: usize) -> Frame {
    let owner = NodeId::from_bytes([1; 16]);
    let key = Key { kind: 1, id: [1; 16] };
    let records = vec![Record { key, version: 1, body: Some(vec![0; record]) }];
    let delta = Delta { owner, generation: 1, head: 1, floor: 0, from: 0, to: 1, records };
    Frame::Delta(delta, signer(owner).vouch(&[0; 32], [0; 32]))
}

/// What one gets who sends so many deltas of a record of that length, while so much of the room is taken.
async fn sent(count: usize, record: usize, taken: usize) -> io::Result<Offered> {
    let mut one = Vec::new();
    write(&mut one, &delta(record)).await.unwrap();
    let mut end = Vec::new();
    write(&mut end, &Frame::EndSettled).await.unwrap();
    let (mut near, mut far) = tokio::io::duplex(1 << 16);
    let sending = async {
        // The other side hangs up once it has enough.
        for _ in 0..count {
            if near.write_all(&one).await.is_err() {
                return;
            }
        }
        let _ = near.write_all(&end).await;
    };
    let room = Arc::new(Semaphore::new((MAX_HELD - taken) / UNIT));
    let reading = async {
        let read = read_offered(&mut far, &room).await;
        drop(far);
        read
    };
    let ((), read) = tokio::join!(sending, reading);
    let held = read.is_ok().then(|| room.available_permits());
    let outcome = read.map(|(offered, _held)| offered);
    assert!(held.is_none_or(|left| left < (MAX_HELD - taken) / UNIT), "what is held is counted");
    assert_eq!(room.available_permits(), (MAX_HELD - taken) / UNIT, "it is given back");
    outcome
}

#[tokio::test]
async fn a_member_makes_us_hold_so_much_and_no_more() {
    const MIB: usize = 1 << 20;
    let offered = sent(3, MIB, 0).await.unwrap();
    assert!(offered.deltas.len() == 3 && offered.settled);
    let too_long = sent(MAX_EXCHANGE / MIB, MIB, 0).await.unwrap_err().to_string();
    assert!(too_long.contains("or the exchange"), "{too_long}");
    let full = sent(3, MIB, MAX_HELD - 2 * MIB).await.unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::OutOfMemory);
    let too_many = sent(MAX_DELTAS + 1, 0, 0).await.unwrap_err();
    assert_eq!(too_many.to_string(), "an unexpected frame");
}

#[tokio::test]
async fn frames_come_back_as_they_were() {
    let digest = Digest { buckets: vec![1, 2, u64::MAX], members: 7 };
    let comparison = Comparison { buckets: 5, versions: vec![], members: Some(vec![]) };
    for frame in [Frame::Digest(digest), Frame::Comparison(comparison), Frame::End, Frame::EndSettled] {
        let mut bytes = Vec::new();
        write(&mut bytes, &frame).await.unwrap();
        assert_eq!(read(&mut &bytes[..]).await.unwrap(), frame);
    }
}
