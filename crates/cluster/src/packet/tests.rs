//! Packets are read as they were written, and nothing else is.

use std::sync::Arc;

use mynah_store::follow::{Numbers, RecordId};
use mynah_store::ids::{Cid, ConvId, Mid, Seq, TeamId};
use mynah_store::{Device, Revocation, Revoked};
use serde_json::value::RawValue;

use super::*;
use crate::testing::{Random, uid};

fn message(to: Recipients) -> Message {
    let data = RawValue::from_string(r#"{"text": "héllo", "n": [1, 2.5, null]}"#.to_owned()).unwrap();
    Message {
        kind: 3,
        data: Arc::from(data),
        from: Some(uid("alice")),
        cid: Some(Cid::new("c1").unwrap()),
        ts: 1_795_386_818_498,
        stored: Some(Stored {
            mid: Mid(uuid::Uuid::from_bytes([9; 16])),
            conv: ConvId([8; 16]),
            seq: Seq(u64::MAX),
            numbers: Numbers {
                own: RecordId(1 << 40),
                before: RecordId(5),
            },
        }),
        to,
        follow: Some(uid("alice")),
        question: Some(7),
    }
}

fn packets() -> Vec<Packet> {
    let team = TeamId::new("team").unwrap();
    let device = DeviceId::new("phone").unwrap();
    let revoke = |what| {
        Ask::Revoke(Revocation {
            what,
            issued_until: 1,
            forget_at: 2,
            displaced: Some(uid("alice")),
        })
    };
    let asks = [
        Ask::SignOut(uid("alice")),
        revoke(Revoked::User(uid("alice"))),
        revoke(Revoked::Device(Device {
            uid: uid("alice"),
            device: device.clone(),
        })),
        revoke(Revoked::Token("jti".into())),
        Ask::Connections(uid("alice")),
        Ask::Names(500),
        Ask::Shows(vec![MessageTo {
            uid: uid("alice"),
            conv: ConvId([8; 16]),
            seq: Seq(3),
            age_ms: 20,
            is_urgent: true,
        }]),
    ];
    let questions = asks.map(|ask| Packet::Question { number: 5, ask });
    let oust = Oust {
        uid: uid("alice"),
        sid: "sid".into(),
        order: Order(12),
        why: Why::Displaced,
        by_device: Some(device.clone()),
        by_platform: Some("ios".into()),
    };
    let plain = Message {
        from: None,
        cid: None,
        stored: None,
        follow: None,
        question: None,
        ..message(Recipients::Everyone)
    };
    let users = ["bob", "carol"].map(uid);
    let mut packets = vec![
        Packet::Message(message(Recipients::Users(Arc::new(users.to_vec())))),
        Packet::Message(message(Recipients::Members(Arc::new(users.to_vec())))),
        Packet::Message(message(Recipients::Team { team, version: 4 })),
        Packet::Message(plain),
        Packet::Oust(Oust {
            why: Why::Stale,
            by_device: None,
            by_platform: None,
            ..oust.clone()
        }),
        Packet::Oust(oust),
    ];
    packets.extend(questions);
    let shown = Shown {
        sid: "sid".into(),
        device,
        platform: Some("ios".into()),
        class: None,
        since: 1_795_386_818_498,
        age_ms: 7,
        is_websocket: true,
        address: "192.0.2.1".into(),
    };
    let other = Shown {
        platform: None,
        class: Some("guest".into()),
        is_websocket: false,
        ..shown.clone()
    };
    let answers = [
        Answer::Count(2),
        Answer::Users(users.into()),
        Answer::Connections(vec![shown, other]),
        Answer::Shows(vec![
            Shows::Nothing,
            Shows::Has,
            Shows::Delivered(75_000),
            Shows::Wait(1),
            Shows::NotAcknowledged,
        ]),
        Answer::Reached(Reached::of([true, false, true])),
    ];
    packets.extend(answers.map(|answer| Packet::Answer { number: 5, answer }));
    packets.push(Packet::Spent(Spent {
        registers: vec![(uid("alice"), [3])],
        sends: vec![(uid("alice"), [1, 500]), (uid("bob"), [0, 0])],
        calls: vec![(uid("backend"), [8])],
    }));
    packets.extend([None, Some(4)].map(|age| {
        Packet::Ended(Ended {
            uid: uid("alice"),
            written_ms: age,
            acknowledges: age.is_some(),
            silent_ms: age,
        })
    }));
    packets
}

#[test]
fn a_packet_is_read_as_it_was_written() {
    for packet in packets() {
        let bytes = packet.encode();
        let read = Packet::decode(&bytes).unwrap();
        assert_eq!(format!("{read:?}"), format!("{packet:?}"));
        assert_eq!(read.encode(), bytes);
    }
}

#[test]
fn a_part_of_a_packet_is_none() {
    for packet in packets() {
        let bytes = packet.encode();
        for end in 0..bytes.len() {
            assert!(Packet::decode(&bytes[..end]).is_err(), "{packet:?} cut at {end}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(Packet::decode(&longer).err(), Some(Malformed::Long));
    }
}

#[test]
fn other_versions_and_types_are_refused_by_name() {
    assert_eq!(Packet::decode(&[]).err(), Some(Malformed::Cut));
    assert_eq!(Packet::decode(&[2, 1]).err(), Some(Malformed::Version(2)));
    assert_eq!(Packet::decode(&[1, 99]).err(), Some(Malformed::Type(99)));
    // A list that claims to be longer than the packet.
    let mut answer = vec![1, 4];
    answer.extend([0; 8]);
    answer.push(1);
    answer.extend([255; 4]);
    assert_eq!(Packet::decode(&answer).err(), Some(Malformed::Cut));
    let mut garbage = message(Recipients::Everyone);
    garbage.cid = None;
    let bytes = Packet::Message(garbage).encode();
    // The first byte of the data.
    let mut broken = bytes.to_vec();
    broken[8] = b'x';
    assert_eq!(Packet::decode(&broken).err(), Some(Malformed::Value));
}

/// Random bytes, and packets of which bytes were changed, removed or repeated.
#[test]
fn no_bytes_make_the_reader_panic() {
    let originals: Vec<_> = packets().iter().map(Packet::encode).collect();
    let mut random = Random(20);
    let (mut read, mut refused) = (0, 0);
    for _ in 0..60_000 {
        let mut bytes = match random.below(4) {
            0 => (0..random.below(80)).map(|_| random.next() as u8).collect(),
            _ => originals[random.below(originals.len())].to_vec(),
        };
        for _ in 0..random.below(4) {
            if bytes.is_empty() {
                break;
            }
            let at = random.below(bytes.len());
            match random.below(3) {
                0 => bytes[at] = random.next() as u8,
                1 => drop(bytes.drain(at..(at + random.below(8)).min(bytes.len()))),
                _ => bytes.insert(at, bytes[at]),
            }
        }
        match Packet::decode(&bytes) {
            Err(_) => refused += 1,
            // What can be read has one form only.
            Ok(packet) => {
                read += 1;
                assert_eq!(packet.encode(), bytes);
            }
        }
    }
    assert!(read > 1000 && refused > 1000, "{read} {refused}");
}
