//! What is parked keeps its name, its record and its place, in either form of the wire.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use crate::json::JsonText;
use crate::sync::compact::{Encoder, decode};
use crate::sync::message::PushRequest;

const GOOD: &str = r#"{"Id":"01ARZ3NDEKTSV4RRFFQ69G5FAV","NodeId":"till","Incarnation":"00000000000000ab",
    "Stamp":"1700000000123.0001","Collection":"orders","EntityId":"1","OperationType":1,"Kind":"put",
    "Payload":"{\"Id\":\"1\"}","Sequence":3,"LogSequence":9,"Context":{"till@00000000000000ab":2},"Extra":[1.50]}"#;

fn with(name: &str, value: &str) -> String {
    let mut fields: Map<String, Value> = serde_json::from_str(GOOD).unwrap();
    fields.insert(name.to_owned(), serde_json::from_str(value).unwrap());
    Value::Object(fields).to_string()
}

fn arrive(record: &str) -> Result<(Position, Operation), Refusal> {
    let push = format!(
        r#"{{"SourceNodeId":"till","SourceIncarnation":"00000000000000ab","LogId":"0000000000000001",
            "AfterLogSequence":0,"ThroughLogSequence":9,"Operations":[{record}]}}"#
    );
    let mut push: PushRequest = serde_json::from_str(&push).unwrap();
    push.operations.pop().unwrap().into_arrived()
}

#[test]
fn what_does_not_hold_is_parked_under_its_own_name() {
    assert!(Parked::of(&arrive(GOOD).unwrap().1.kind).is_none(), "the good one is good");
    for (name, value, cause) in [
        ("Id", "5", Cause::Invalid),
        ("Id", r#""x""#, Cause::Invalid),
        ("Payload", "null", Cause::Invalid),
        ("Payload", r#""[1]""#, Cause::Invalid),
        ("Payload", "7", Cause::Invalid),
        ("EntityId", r#""2""#, Cause::Invalid),
        ("EntityId", "[]", Cause::Invalid),
        ("Collection", r#""a/b""#, Cause::Invalid),
        ("Stamp", r#""later""#, Cause::Invalid),
        ("Context", r#"{"x":1}"#, Cause::Invalid),
        ("Context", "5", Cause::Invalid),
        ("Group", r#"{"Id":"x"}"#, Cause::Invalid),
        ("Kind", r#""hologram""#, Cause::UnknownKind),
        ("Kind", r#""kind-99""#, Cause::Invalid),
        ("Kind", r#""kind-32767""#, Cause::Invalid),
    ] {
        let record = with(name, value);
        let (position, operation) = arrive(&record).unwrap();
        let parked = Parked::of(&operation.kind).unwrap_or_else(|| panic!("{name} {value}"));
        assert_eq!((position, operation.dot.to_string().as_str()), (Position(9), "till@00000000000000ab:3"));
        assert_eq!(parked.cause, cause, "{name} {value}: {}", parked.reason);
        assert_eq!(parked.record.get(), record, "kept as it came");
        assert!(parked.judge(&operation).is_err() && parked.is_of(&operation));
    }
    let unknown = with("Kind", r#""kind-99""#).replace(r#""{\"Id\":\"1\"}""#, r#""00ff""#);
    assert_eq!(Parked::of(&arrive(&unknown).unwrap().1.kind).unwrap().cause, Cause::UnknownKind);
}

#[test]
fn what_does_not_say_which_operation_it_is_is_garbage() {
    for (name, value) in [
        ("NodeId", r#""a b""#),
        ("Incarnation", r#""ab""#),
        ("Sequence", "0"),
        ("Sequence", "-1"),
        ("LogSequence", r#""9""#),
    ] {
        assert_eq!(arrive(&with(name, value)).unwrap_err().code(), "invalid-batch", "{name} {value}");
    }
    assert_eq!(arrive("[]").unwrap_err().code(), "invalid-batch");
}

#[test]
fn a_parked_operation_goes_on_as_it_came_in_either_form() {
    let record = with("Payload", "7");
    let (_, parked) = arrive(&record).unwrap();
    let here = &parked.dot.origin;
    let forwarded = OperationRecord::new(&parked, Position(40), here);
    let text = forwarded.raw.unwrap();
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), {
        let mut fields: Value = serde_json::from_str(&record).unwrap();
        fields["LogSequence"] = 40.into();
        fields
    });
    let mut encoder = Encoder::default();
    encoder.add(Position(40), &parked);
    let bytes = encoder.finish(b"{}");
    let (position, read) = decode(&bytes).unwrap().operations.pop().unwrap();
    assert_eq!((position, &read), (Position(40), &parked));
    assert_eq!(Parked::of(&judge(read, position).kind).unwrap().record.get(), record);
}

#[test]
fn a_node_that_understands_what_another_has_parked_takes_it_for_what_it_is() {
    let (position, good) = arrive(GOOD).unwrap();
    let parked = park(good.clone(), position, Cause::Behind, "something else");
    assert!(Parked::of(&parked.kind).is_some());
    assert_eq!(judge(parked.clone(), position), good);
    let other = Operation { id: OperationId(5), ..parked };
    assert!(Parked::of(&judge(other, position).kind).is_some(), "a record of another operation proves nothing");
}

#[test]
fn a_damaged_body_in_the_compact_form_is_parked_too() {
    let (position, good) = arrive(GOOD).unwrap();
    let body = JsonText::from_stored(r#"{"Id":"other"}"#.to_owned());
    let wrong = Operation { kind: OperationKind::Put { body, created: true }, ..good.clone() };
    let mut encoder = Encoder::default();
    encoder.add(position, &good);
    encoder.add(Position(10), &wrong);
    let bytes = encoder.finish(b"{}");
    let operations = decode(&bytes).unwrap().operations;
    assert_eq!(operations[0].1, good);
    let parked = Parked::of(&operations[1].1.kind).unwrap();
    assert!(parked.record.get().contains("other") && parked.cause == Cause::Invalid, "{parked:?}");
}
