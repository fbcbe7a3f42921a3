//! Bytes that nobody would send: at random, and sound ones with some of their bytes changed, cut or repeated.
//!
//! Whatever they are, nothing panics, and what is believed is written again as it was read.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fmt::Debug;

use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::test_runner::TestCaseError;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::id::DatabaseName;
use crate::limits::{REPLICA_FRAME_BYTES_MAX, REPLICA_GREETING_BYTES_MAX};
use crate::replica::epoch::Epoch;
use crate::replica::frame::{HEADER_BYTES, Header, Kind, header};
use crate::replica::handshake::{Challenge, Hello, Proof, Purpose, Refused, Side, Transcript, Welcome, agree, epoch};
use crate::replica::message::{
    Asked, Control, ControlAnswer, DatabaseAt, Databases, Heartbeat, HeldDatabase, Holdings, Joined, OfDatabase,
    PositionAt, Receipt, Voter, about, parted, read, write,
};
use crate::replica::role::Rank;
use crate::sync::message::parse_vector;
use crate::sync::states::StatesRequest;
use crate::sync::turned::Question;

/// What is done to sound bytes.
#[derive(Debug, Clone)]
enum Harm {
    Set(usize, u8),
    Cut(usize),
    Repeat(usize, usize),
}

fn harms() -> impl Strategy<Value = Vec<Harm>> {
    let harm = prop_oneof![
        6 => (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Harm::Set(at, byte)),
        4 => (any::<usize>(), prop::sample::select(&b"\"\\{}[]:,0-9eE.@ntf"[..])).prop_map(|(at, byte)| Harm::Set(at, byte)),
        1 => any::<usize>().prop_map(Harm::Cut),
        1 => (any::<usize>(), 1usize..40).prop_map(|(at, length)| Harm::Repeat(at, length)),
    ];
    prop::collection::vec(harm, 0..4)
}

fn harmed(mut bytes: Vec<u8>, harms: &[Harm]) -> Vec<u8> {
    for harm in harms {
        let length = bytes.len().max(1);
        match harm {
            Harm::Set(at, byte) => {
                if let Some(place) = bytes.get_mut(at % length) {
                    *place = *byte;
                }
            }
            Harm::Cut(at) => bytes.truncate(at % length),
            Harm::Repeat(at, count) => {
                let from = (at % length).min(bytes.len());
                let part: Vec<u8> = bytes.iter().skip(from).take(*count).copied().collect();
                bytes.splice(from..from, part);
            }
        }
    }
    bytes
}

/// What is read is the same when it was written and read again.
fn survives<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(message) = read::<T>(bytes) {
        let written = write(&message);
        prop_assert_eq!(read::<T>(&written).unwrap(), message);
    }
    Ok(())
}

fn survives_as_anything(bytes: &[u8]) -> Result<(), TestCaseError> {
    survives::<Hello>(bytes)?;
    survives::<Challenge>(bytes)?;
    survives::<Proof>(bytes)?;
    survives::<Welcome>(bytes)?;
    survives::<Refused>(bytes)?;
    survives::<Heartbeat>(bytes)?;
    survives::<Databases>(bytes)?;
    survives::<PositionAt>(bytes)?;
    survives::<Receipt>(bytes)?;
    survives::<OfDatabase>(bytes)?;
    survives::<Asked>(bytes)?;
    survives::<Control>(bytes)?;
    survives::<ControlAnswer>(bytes)?;
    survives::<Holdings>(bytes)?;
    survives::<Joined>(bytes)?;
    // What is looked into once it is read.
    if let Ok(hello) = read::<Hello>(bytes) {
        let _ = (agree(&hello), epoch(hello.epoch.as_deref()), DatabaseName::parse(&hello.node));
    }
    if let Ok(at) = read::<PositionAt>(bytes) {
        let _ = (parse_vector(&at.vector), parse_vector(&at.cache_vector));
    }
    if let Ok(all) = read::<Databases>(bytes) {
        let _ = all.check();
    }
    Ok(())
}

fn sound() -> Vec<Vec<u8>> {
    let text = |text: &str| text.to_owned();
    let vector: BTreeMap<String, u64> =
        [(text("a@00000000000000ab"), 7), (text("b@0000000000000001"), u64::MAX)].into();
    let hello = Hello {
        protocol: 1,
        protocol_oldest: 1,
        node: text("till-2"),
        incarnation: text("00000000000000ab"),
        purpose: Purpose::Follow,
        nonce: text("0123456789abcdef0123456789abcdef"),
        epoch: Some(text("7@till-1")),
        http_endpoint: Some(text("http://till-2:5000")),
        replication_endpoint: Some(text(":5500")),
        is_voter: true,
        leader: Some(text("till-1:5500")),
        group: Some(text("ff")),
        merges: true,
    };
    let challenge = Challenge { protocol: 1, node: text("till-1"), incarnation: text("1"), nonce: text("ff") };
    let proof = Transcript::new(b"a", b"b").proof(b"secret", Side::Listener);
    let welcome = Welcome {
        proof: proof.clone(),
        epoch: Some(text("7@till-1")),
        http_endpoint: None,
        group: None,
        is_leader: false,
        leader: Some(text("till-1:5500")),
    };
    let refused = Refused { code: text("old-epoch"), reason: text("it is \"over\""), epoch: None, leader: None };
    let voters =
        vec![Voter { node: text("a"), endpoint: text(":1") }, Voter { node: text("b"), endpoint: text("[::1]:1") }];
    let beat = Heartbeat { now_millis: 1, epoch: Some(text("7@a")), voters, silent_millis: 3, ..Heartbeat::default() };
    let one = DatabaseAt { name: text("shop"), log_id: text("ab"), newest: 9, lives: 1, since: Some(4) };
    let all = Databases {
        databases: vec![one.clone(), DatabaseAt { since: None, ..one }],
        dropped: [(text("gone"), 2)].into(),
        edition: 3,
    };
    let position = PositionAt {
        database: text("shop"),
        log_id: text("00000000000000ab"),
        after: 7,
        vector: vector.clone(),
        cache_log_id: text("0"),
        cache_after: 0,
        cache_vector: BTreeMap::new(),
    };
    let receipt = Receipt { database: text("shop"), log_id: text("ab"), through: 12, vector };
    let states = StatesRequest {
        protocol: 1,
        requesting_node_id: text("b"),
        requesting_incarnation: text("1"),
        after_log_sequence: 5,
        log_id: Some(text("ab")),
        bytes_max: Some(7),
        compression: None,
    };
    let asked = Asked { database: text("shop"), question: Question::States(states) };
    let rank = Rank { epoch: 3, drops: 1, led: 2, operations: 9 };
    let vote = Control::Vote { epoch: text("4@b"), rank, is_trial: false };
    let follow = Control::Follow { epoch: text("4@b"), leader: text(":1"), http: None };
    let answer = ControlAnswer { is_granted: false, reason: Some(text("no")), epoch: Some(text("4@b")), leader: None };
    let held = HeldDatabase { vector: position.vector.clone(), cache_vector: BTreeMap::new() };
    let holdings = Holdings { databases: [(text("shop"), held)].into() };
    vec![
        write(&holdings),
        write(&Joined { group: text("ff"), lives: [(text("gone"), 1)].into() }),
        write(&hello),
        write(&challenge),
        write(&Proof { proof }),
        write(&welcome),
        write(&refused),
        write(&beat),
        write(&all),
        write(&position),
        write(&receipt),
        write(&OfDatabase { database: text("shop"), is_forgotten: true }),
        write(&asked),
        write(&vote),
        write(&Control::TakeOver { epoch: text("4@b"), operations: 12, drops: 1 }),
        write(&follow),
        write(&answer),
        b"null".to_vec(),
    ]
}

fn limit(kind: Kind) -> usize {
    match kind {
        Kind::Hello | Kind::Challenge | Kind::Proof | Kind::Welcome | Kind::Refused => REPLICA_GREETING_BYTES_MAX,
        _ => REPLICA_FRAME_BYTES_MAX,
    }
}

proptest! {
    #[test]
    fn no_bytes_are_a_message_that_changes_when_it_is_passed_on(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        survives_as_anything(&bytes)?;
    }

    #[test]
    fn sound_messages_with_changes_panic_nowhere_and_stay_what_they_are_taken_for(
        message in prop::sample::select(sound()),
        harms in harms(),
    ) {
        survives_as_anything(&harmed(message, &harms))?;
    }

    #[test]
    fn a_frame_that_is_believed_is_the_one_that_would_be_sent(
        payload in prop::collection::vec(any::<u8>(), 0..80),
        kind in prop::sample::select(&Kind::ALL[..]),
        number in any::<u64>(),
        harms in harms(),
        is_known in any::<bool>(),
    ) {
        let head = header(kind, number, &payload).unwrap();
        let bytes = harmed([&head[..], &payload].concat(), &harms);
        let Some((head, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else { return Ok(()) };
        let Ok(read) = Header::read(head, is_known) else { return Ok(()) };
        prop_assert!(read.length <= limit(read.kind), "that much would be waited for");
        let Some(payload) = rest.get(..read.length) else { return Ok(()) };
        if read.check(payload).is_ok() {
            prop_assert_eq!(&header(read.kind, read.epoch, payload).unwrap(), head);
        }
    }

    #[test]
    fn no_header_asks_for_more_than_its_kind_may_have(head in any::<[u8; HEADER_BYTES]>(), kind in any::<u8>(), is_known in any::<bool>()) {
        let mut head = head;
        for (place, byte) in head.iter_mut().zip(*b"HFL1") {
            *place = byte;
        }
        for (place, byte) in head.iter_mut().skip(4).zip([kind, 0, 0, 0]) {
            *place = byte;
        }
        for place in head.iter_mut().skip(12).take(4) {
            *place = 0;
        }
        if let Ok(read) = Header::read(&head, is_known) {
            prop_assert!(read.length <= limit(read.kind));
            prop_assert!(is_known || limit(read.kind) == REPLICA_GREETING_BYTES_MAX);
        }
    }

    #[test]
    fn what_is_about_a_database_is_put_together_as_it_was_parted(bytes in prop::collection::vec(any::<u8>(), 0..40), length in 0u8..8) {
        let name: Vec<u8> = [&[length][..], b"shop-12", &bytes].concat();
        for bytes in [&bytes, &name] {
            if let Ok((database, content)) = parted(bytes) {
                prop_assert_eq!(&about(&database, content), bytes);
            }
        }
    }

    #[test]
    fn an_epoch_is_written_as_it_was_read(text in "[0-9]{0,21}@?[a-zA-Z0-9._-]{0,12}") {
        if let Ok(epoch) = Epoch::parse(&text) {
            prop_assert_eq!(Epoch::parse(&epoch.to_string()).unwrap(), epoch);
        }
    }

    #[test]
    fn no_proof_but_the_right_one_is_taken(proof in prop_oneof!["[0-9a-f]{60,68}", "\\PC{0,70}"]) {
        let transcript = Transcript::new(b"hello", b"challenge");
        prop_assert!(transcript.check(b"secret", Side::Dialler, &proof).is_err());
    }
}
