//! Compact messages come back as they were, and nobody's bytes get past the checks of JSON.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

use super::*;
use crate::counter::{Amount, Increment};
use crate::id::CollectionName;
use crate::sync::message::OperationRecord;
use crate::sync::poison::Parked;
use crate::time::Millis;

fn origin(name: &str) -> Origin {
    Origin { node: NodeName::parse(name).unwrap(), incarnation: 0xab }
}

fn kinds() -> Vec<OperationKind> {
    let body = || JsonText::parse(r#"{"a":1.50,"Id":"ä/1"}"#).unwrap();
    let increment = Increment(vec![(vec!["a".to_owned(), "b".to_owned()], Amount::parse("-0.5").unwrap())]);
    vec![
        OperationKind::Put { body: body(), created: true },
        OperationKind::Put { body: body(), created: false },
        OperationKind::Patch { body: body(), patch: body() },
        OperationKind::Delete,
        OperationKind::Resolve { body: Some(body()), patch: body() },
        OperationKind::Resolve { body: None, patch: body() },
        OperationKind::Increment(increment),
        OperationKind::RegisterCollection,
        OperationKind::JoinMember { member: origin("till-2") },
        OperationKind::FenceMember { member: origin("till-3"), reason: crate::members::FenceReason::Retired },
        OperationKind::Unknown { code: u16::MAX, payload: Arc::from([1u8, 2, 255].as_slice()) },
    ]
}

fn operation(kind: OperationKind, number: u64) -> Operation {
    let is_of_members = matches!(kind, OperationKind::JoinMember { .. } | OperationKind::FenceMember { .. });
    let collection = if is_of_members { crate::id::MEMBERS_COLLECTION } else { "orders" };
    Operation {
        id: OperationId(u128::MAX - u128::from(number)),
        dot: Dot { origin: origin("till-1"), sequence: Sequence(number) },
        stamp: Stamp::new(Millis(1_700_000_000_123), 0x1f),
        collection: CollectionName::parse_any(collection).unwrap(),
        document: kind.is_of_document().unwrap_or(true).then(|| DocumentId::parse("ä/1").unwrap()),
        context: [(origin("till-1"), Sequence(2)), (origin("far"), Sequence(u64::MAX))].into_iter().collect(),
        group: number.is_multiple_of(2).then_some(Group { id: OperationId(7), index: 0, count: 2 }),
        chain: number.is_multiple_of(3).then_some(Chain(0xfeed)),
        replaces: number.is_multiple_of(5).then_some(OperationId(6)),
        kind,
    }
}

fn message() -> (Vec<(Position, Operation)>, Vec<u8>) {
    let numbered = kinds().into_iter().cycle().take(40).zip(1..);
    let sent: Vec<_> = numbered.map(|(kind, number)| (Position(number * 300), operation(kind, number))).collect();
    let mut encoder = Encoder::default();
    for (position, operation) in &sent {
        encoder.add(*position, operation);
    }
    let bytes = encoder.finish(b"{}");
    (sent, bytes)
}

#[test]
fn every_kind_of_operation_survives_the_compact_wire() {
    let (sent, bytes) = message();
    let read = decode(&bytes).unwrap();
    assert_eq!((read.head, read.operations), (b"{}".as_slice(), sent));
}

#[test]
fn a_message_that_ends_too_early_or_too_late_is_refused() {
    let (_, bytes) = message();
    for end in 0..bytes.len() {
        assert!(decode(&bytes[..end]).is_err(), "cut at {end}");
    }
    assert!(decode(&[bytes.as_slice(), b"x"].concat()).is_err());
    assert_eq!(decode(b"\x02").unwrap_err().code(), "unknown-format");
}

#[test]
fn what_json_would_park_is_parked_here() {
    let good = || operation(OperationKind::Delete, 1);
    let put = |text: &str| OperationKind::Put { body: JsonText::from_stored(text.to_owned()), created: true };
    let bad_group = Some(Group { id: OperationId(1), index: 2, count: 2 });
    for broken in [
        Operation { document: None, ..good() },
        Operation { collection: CollectionName::parse_any("_sys_operations").unwrap(), ..good() },
        Operation { group: bad_group, ..good() },
        Operation { kind: put("[1]"), ..good() },
        Operation { kind: put(r#"{"a":1}"#), ..good() },
        Operation { kind: put(r#"{"a":1e999,"Id":"ä/1"}"#), ..good() },
        Operation { kind: put(r#"{"_id":5,"Id":"ä/1"}"#), ..good() },
        Operation { kind: OperationKind::Increment(Increment(Vec::new())), ..good() },
    ] {
        let mut encoder = Encoder::default();
        encoder.add(Position(1), &broken);
        let read = decode(&encoder.finish(b"{}")).unwrap().operations;
        assert!(matches!(&read[..], [(_, read)] if Parked::of(&read.kind).is_some()), "{broken:?}");
    }
    let mut encoder = Encoder::default();
    let nameless = Operation { dot: Dot { sequence: Sequence(0), ..good().dot }, ..good() };
    encoder.add(Position(1), &nameless);
    assert!(decode(&encoder.finish(b"{}")).is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
        let _ = decode(&[&[FORMAT, 0, 1, 1, b'a', 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, b'c'], bytes.as_slice()].concat());
    }

    /// Whatever a damaged message decodes to would have been taken as JSON, too.
    #[test]
    fn altered_bytes_are_refused_or_as_sound_as_json(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let (_, mut bytes) = message();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(read) = decode(&bytes) {
            prop_assert!(read.operations.len() <= 40);
            let sound = |(_, operation): &(Position, Operation)| Parked::of(&operation.kind).is_none();
            for (position, operation) in read.operations.into_iter().filter(sound) {
                let json = OperationRecord::new(&operation, position, &operation.dot.origin);
                prop_assert_eq!(json.into_operation().map_err(|refusal| refusal.to_string()), Ok((position, operation)));
            }
        }
    }
}
