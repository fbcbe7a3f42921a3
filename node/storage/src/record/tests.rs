//! No bytes make a decoder panic, and what was written comes back.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use holdfast_core::conflict::ConflictId;
use holdfast_core::counter::{Amount, Increment};
use holdfast_core::document::names::CountedName;
use holdfast_core::document::{AppliedIncrement, DocumentState, Tally, Version};
use holdfast_core::id::{NodeName, OperationId};
use holdfast_core::json::JsonText;
use holdfast_core::stamp::Stamp;
use holdfast_core::vector::{Dot, Origin, Position, Sequence};
use proptest::prelude::{any, prop, proptest};

use crate::origins::Origins;
use crate::record::{begin, conflict, document, operation, progress, seal};

fn origin(name: &str) -> Origin {
    Origin { node: NodeName::parse(name).unwrap(), incarnation: 3 }
}

/// A state with everything that a record can hold.
fn full_state() -> DocumentState {
    let dot = |name: &str, sequence| Dot { origin: origin(name), sequence: Sequence(sequence) };
    let body = JsonText::parse(r#"{"Id":"x","n":1.50,"deep":{"a":[1,null]}}"#).unwrap();
    let version = |name: &str, stamp, body| Version {
        dot: dot(name, 4),
        id: OperationId(u128::from(stamp)),
        stamp: Stamp(stamp),
        body,
        is_resolution: stamp == 8,
    };
    let increment = Increment(vec![(vec!["deep".into(), "k".into()], Amount::parse("-0.5").unwrap())]);
    DocumentState {
        versions: vec![version("a", 9, Some(body.clone())), version("b", 8, Some(body)), version("c", 7, None)],
        increments: vec![AppliedIncrement {
            dot: dot("a", 5),
            id: OperationId(77),
            stamp: Stamp(3),
            increment: increment.clone(),
            replaces: Some(OperationId(12)),
        }],
        tally: Some(Tally {
            sum: increment,
            seen: [(origin("b"), Sequence(3))].into_iter().collect(),
            stamp: Stamp(2),
            mark: 99,
        }),
        names: vec![CountedName { of: OperationId(12), dot: dot("c", 9), is_stand_in: true }],
        vector: [(origin("a"), Sequence(5)), (origin("c"), Sequence(1 << 60))].into_iter().collect(),
    }
}

#[test]
fn only_a_document_with_names_is_written_in_the_format_that_has_them() {
    let origins = Origins::default();
    let without = DocumentState { names: Vec::new(), ..full_state() };
    for (state, format) in [(without, 2), (full_state(), 7)] {
        let bytes = document::encode(&state, Position(300), &origins);
        assert_eq!(bytes[0], format);
        let (read, _) = document::decode(&bytes, b"c\0x", &origins.snapshot()).unwrap();
        assert_eq!(read, state);
    }
}

#[test]
fn a_state_comes_back_from_its_record_whole() {
    let origins = Origins::default();
    let state = full_state();
    let bytes = document::encode(&state, Position(300), &origins);
    let (read, position) = document::decode(&bytes, b"c\0x", &origins.snapshot()).unwrap();
    assert_eq!((read, position), (state.clone(), Position(300)));
    let shown = document::decode_shown(&bytes, b"c\0x").unwrap();
    assert_eq!(shown.text, state.shown().map(|text| text.as_str().as_bytes().to_vec()).as_deref());
    assert_eq!(Some(shown.version), state.version());
}

#[test]
fn a_flipped_bit_anywhere_in_a_record_is_noticed() {
    let origins = Origins::default();
    let bytes = document::encode(&full_state(), Position(300), &origins);
    for place in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[place] ^= 1 << bit;
            assert!(document::decode_shown(&flipped, b"c\0x").is_err(), "byte {place}, bit {bit}");
        }
    }
}

proptest! {
    /// The checksum keeps chance out; whoever writes to the disk on purpose can make it hold.
    #[test]
    fn no_sealed_bytes_make_a_decoder_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let origins = Origins::new(vec![origin("a"), origin("b")]);
        let mut bytes = begin(body.len());
        bytes.extend_from_slice(&body);
        let bytes = seal(bytes);
        let list = origins.snapshot();
        let _ = document::decode_shown(&bytes, b"c\0x");
        let _ = document::decode(&bytes, b"c\0x", &list);
        let _ = conflict::decode(&bytes, ConflictId(1), &list);
        let _ = progress::decode_state(&bytes, &list);
        let _ = progress::decode_collection(&bytes, "c");
        let _ = progress::decode_checkpoint(&bytes, "p");
        let _ = progress::decode_origin(&bytes, 0);
        let _ = progress::decode_meta(&bytes);
        if let Ok(block) = operation::Block::open(&bytes, Position(1)) {
            block.from(Position(1), &list).for_each(drop);
        }
    }

    /// Nearly right bytes go deeper into a decoder than random ones.
    #[test]
    fn no_change_to_a_record_makes_a_decoder_panic(place in 5usize..200, value in any::<u8>(), cut in 5usize..400) {
        let origins = Origins::default();
        let mut bytes = document::encode(&full_state(), Position(300), &origins);
        bytes.truncate(cut.max(6));
        if let Some(byte) = bytes.get_mut(place) {
            *byte = value;
        }
        let _ = document::decode(&seal(bytes), b"c\0x", &origins.snapshot());
    }
}
