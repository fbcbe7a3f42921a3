//! Scans hand out the documents of one collection and of no other, in either direction and within any bounds.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::ops::Bound;

use holdfast_core::id::{CollectionName, DocumentId, NodeName};
use holdfast_core::json::JsonText;
use holdfast_core::time::Millis;
use holdfast_core::vector::Origin;
use redb::backends::InMemoryBackend;

use super::{Direction, DocumentScan};
use crate::commit::Moment;
use crate::database::{Database, Opened, Options};
use crate::request::{Action, Change, Expect, Request};

fn name(name: &str) -> CollectionName {
    CollectionName::parse(name).unwrap()
}

/// Three collections whose names begin alike; in the middle one, `d4` is deleted.
fn filled() -> Opened {
    let origin = Origin { node: NodeName::parse("left").unwrap(), incarnation: 1 };
    let backend = InMemoryBackend::new;
    let mut opened = Database::open("shop", backend(), backend(), origin, 7, Options::default()).unwrap();
    let mut changes = Vec::new();
    for collection in ["te", "tea", "teas"] {
        for number in 0..10 {
            changes.push(Change {
                collection: name(collection),
                id: DocumentId::parse(&format!("d{number}")).unwrap(),
                action: Action::Put(JsonText::parse(&format!("{{\"n\":{number}}}")).unwrap()),
                expect: Expect::Any,
            });
        }
    }
    let id = DocumentId::parse("d4").unwrap();
    changes.push(Change { collection: name("tea"), id, action: Action::Delete, expect: Expect::Any });
    let mut random = || 3;
    opened.writer.commit(&mut Moment { now: Millis(5), random: &mut random }, vec![Request::Each(changes)]).unwrap();
    opened
}

fn all(mut scan: DocumentScan) -> String {
    let mut found = Vec::new();
    while let Some(document) = scan.next_document().unwrap() {
        let id = document.id().unwrap().to_owned();
        assert_eq!(document.document_id().unwrap().as_str(), id);
        assert_eq!(document.text(), format!("{{\"n\":{}}}", &id[1..]).as_bytes());
        found.push(id);
    }
    found.join(" ")
}

#[test]
fn documents_of_one_collection_come_in_the_order_of_their_ids_or_the_other_way_round() {
    let opened = filled();
    let view = opened.database.view().unwrap();
    let scan = |ids, direction| all(view.scan(&name("tea"), ids, direction).unwrap());
    let everything = (Bound::Unbounded, Bound::Unbounded);
    assert_eq!(scan(everything, Direction::Forward), "d0 d1 d2 d3 d5 d6 d7 d8 d9");
    assert_eq!(scan(everything, Direction::Backward), "d9 d8 d7 d6 d5 d3 d2 d1 d0");
    assert_eq!(scan((Bound::Included(b"d3"), Bound::Excluded(b"d6")), Direction::Forward), "d3 d5");
    assert_eq!(scan((Bound::Excluded(b"d3"), Bound::Included(b"d6")), Direction::Backward), "d6 d5");
    assert_eq!(scan((Bound::Included(b"d"), Bound::Excluded(b"\xff")), Direction::Forward).len(), 26);
}

#[test]
fn bounds_between_which_nothing_lies_find_nothing() {
    let opened = filled();
    let view = opened.database.view().unwrap();
    for ids in [
        (Bound::Included(&b"d6"[..]), Bound::Excluded(&b"d3"[..])),
        (Bound::Excluded(b"d6"), Bound::Excluded(b"d6")),
        (Bound::Included(b"d6"), Bound::Excluded(b"d6")),
        (Bound::Included(b"e"), Bound::Unbounded),
        (Bound::Unbounded, Bound::Excluded(b"d0")),
    ] {
        assert_eq!(all(view.scan(&name("tea"), ids, Direction::Forward).unwrap()), "", "{ids:?}");
    }
    let everything = (Bound::Unbounded, Bound::Unbounded);
    assert_eq!(all(view.scan(&name("t"), everything, Direction::Forward).unwrap()), "");
}

#[test]
fn a_single_document_is_handed_out_like_one_of_a_scan() {
    let opened = filled();
    let view = opened.database.view().unwrap();
    let id = |id: &str| DocumentId::parse(id).unwrap();
    let found = view.scanned(&name("tea"), &id("d3")).unwrap().unwrap();
    assert_eq!((found.id().unwrap(), found.text()), ("d3", &b"{\"n\":3}"[..]));
    assert_eq!(found.version, view.document(&name("tea"), &id("d3")).unwrap().unwrap().version);
    assert!(view.scanned(&name("tea"), &id("d4")).unwrap().is_none());
    assert!(view.scanned(&name("tea"), &id("none")).unwrap().is_none());
}

#[test]
fn documents_are_found_by_their_ids_in_whatever_order_they_are_asked_for() {
    let opened = filled();
    let view = opened.database.view().unwrap();
    let ids: Vec<String> = (0..12).map(|number| format!("d{number}")).collect();
    let mut sorted = ids.clone();
    sorted.sort();
    let mut random = 7_u64;
    for round in 0..200 {
        let mut finder = view.finder(&name("tea"));
        for step in 0..30_usize {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let any = usize::try_from(random >> 33).unwrap() % ids.len();
            // Ways that rise and fall, with leaps, and some without any order.
            let place = match round % 4 {
                0 => step % sorted.len(),
                1 => (2 * sorted.len() - 1 - step % sorted.len()) % sorted.len(),
                2 if step % 5 > 0 => step % sorted.len(),
                _ => any,
            };
            let id = &sorted[place];
            let found = finder.find(id.as_bytes()).unwrap();
            let expected = view.scanned(&name("tea"), &DocumentId::parse(id).unwrap()).unwrap();
            let shown = |document: Option<crate::scan::ScannedDocument>| {
                document.map(|document| (document.id().unwrap().to_owned(), document.text().to_vec(), document.version))
            };
            assert_eq!(shown(found), shown(expected), "{id} in round {round}");
        }
    }
}
