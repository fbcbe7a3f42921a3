//! What is written: all matches or a few, counted exactly, never over somebody else's write.

use holdfast_query::budget::Budget;
use holdfast_query::query::{Page, Query};
use holdfast_storage::request::{self, Action, Expect, Request};
use serde_json::{Map, Value, json};

use crate::shop::Shop;

fn shop() -> Shop {
    let mut shop = Shop::new();
    let documents: Vec<Value> = (0..20).map(|n| json!({"Id": format!("d{n:02}"), "n": n, "at": {"x": 1}})).collect();
    shop.put("things", &documents);
    shop
}

fn rows(shop: &mut Shop, text: &str) -> String {
    let given = shop.run(text).unwrap();
    given.rows.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

#[test]
fn two_documents_of_three_are_updated_by_their_ids() {
    let mut shop = shop();
    let given = shop.run("UPDATE things SET {n: 100} WHERE $._id = 'd01' OR $._id = 'd02'").unwrap();
    assert_eq!((given.matched, given.rows.len()), (2, 2));
    assert_eq!(given.rows[0]["operation"], "UPDATE");
    assert_eq!(given.rows[0]["collection"], "things");
    assert_eq!(given.rows[0]["id"], "d01");
    assert_eq!(given.rows[0]["isDeleted"], false);
    let version = given.rows[0]["version"].as_str().unwrap().to_owned();
    assert_eq!(rows(&mut shop, "SELECT COUNT(*) AS c FROM things WHERE n = 100"), r#"{"c":2}"#);
    assert_eq!(rows(&mut shop, "SELECT n, at FROM things WHERE Id = 'd01'"), r#"{"n":100,"at":{"x":1}}"#);
    assert!(!version.is_empty());
}

#[test]
fn a_delete_without_condition_deletes_all_and_with_take_a_few() {
    let mut shop = shop();
    let page = Page { take: Some(5), cursor: None };
    let given = shop.run_with("DELETE FROM things", Map::new(), page).unwrap();
    assert_eq!((given.matched, given.rows.len()), (20, 5));
    assert_eq!(given.rows[0]["isDeleted"], true);
    let given = shop.run("DELETE FROM things").unwrap();
    assert_eq!((given.matched, given.rows.len()), (15, 15));
    assert_eq!(rows(&mut shop, "SELECT TOP 100 $ FROM things"), "");
}

#[test]
fn an_insert_writes_new_documents_and_overwrites_none() {
    let mut shop = shop();
    let given = shop.run("INSERT INTO things VALUES {_id: 7, a: 1.50}, {Id: 'x', b: [1, null]}").unwrap();
    assert_eq!((given.matched, given.rows.len()), (2, 2));
    assert_eq!(
        rows(&mut shop, "SELECT $ FROM things WHERE Id IN ('7', 'x')"),
        r#"{"a":1.50,"Id":"7"} {"Id":"x","b":[1,null]}"#
    );
    let refused = shop.run("INSERT INTO things VALUES {Id: 'new'}, {Id: 'x'}").unwrap_err();
    assert_eq!(refused.code(), "precondition-failed");
    assert_eq!(rows(&mut shop, "SELECT COUNT(*) AS c FROM things WHERE Id = 'new'"), r#"{"c":0}"#);
    for (text, code) in [
        ("INSERT INTO things VALUES {a: 1}", "id-required"),
        ("INSERT INTO things VALUES {Id: ''}", "invalid-id"),
        ("INSERT INTO _indexes VALUES {Id: 'x'}", "reserved-collection"),
        ("INSERT INTO cache VALUES {Id: 'x'}", "reserved-collection"),
        ("UPDATE _sys_members SET {a: 1}", "reserved-collection"),
        ("DELETE FROM _operations", "reserved-collection"),
    ] {
        assert_eq!(shop.run(text).unwrap_err().code(), code, "{text}");
    }
}

#[test]
fn documents_come_from_parameters_too() {
    let mut shop = shop();
    let parameters = json!({"documents": [{"Id": "p1"}, {"Id": "p2", "n": 12_345_678_901_234_567_890_u64}]});
    let Value::Object(parameters) = parameters else { panic!() };
    let given = shop.run_with("INSERT INTO things VALUES @documents", parameters, Page::default()).unwrap();
    assert_eq!(given.rows.len(), 2);
    assert_eq!(rows(&mut shop, "SELECT n FROM things WHERE Id = 'p2'"), r#"{"n":12345678901234567890}"#);
}

/// The action and the expectation of the first change of a statement.
fn change(shop: &Shop, text: &str) -> (Action, Expect) {
    let query = Query::prepare(text, Map::new()).unwrap();
    let mut go_on = || None;
    let mut budget = Budget::new(shop.limits, &mut go_on);
    let writes = shop.in_world(|world| query.writes(world, None, &mut budget)).unwrap();
    let change = writes.changes.into_iter().next().unwrap();
    (change.action, change.expect)
}

#[test]
fn adding_to_a_field_counts_and_other_changes_patch_or_put() {
    let mut shop = shop();
    let (action, expect) = change(&shop, "UPDATE things SET n = n - 1 WHERE Id = 'd05'");
    let Action::Patch { merge, increment: Some(_) } = action else { panic!("{action:?}") };
    assert!(merge.is_empty());
    assert_eq!(expect, Expect::Exists);
    let (action, expect) = change(&shop, "UPDATE things SET n = n + 2.5, seen = 'now' WHERE n = 5");
    let Action::Patch { merge, increment: Some(_) } = action else { panic!("{action:?}") };
    assert_eq!(merge["seen"], "now");
    assert!(matches!(expect, Expect::Parent(_)));
    let (action, _) = change(&shop, "UPDATE things SET at.x = 2, at.y = 'z' WHERE Id = 'd05'");
    let Action::Patch { merge, increment: None } = action else { panic!("{action:?}") };
    assert_eq!(Value::Object(merge), json!({"at": {"x": 2, "y": "z"}}));
    // A merge patch could not say either of these.
    for text in ["UPDATE things SET n = NULL WHERE Id = 'd05'", "UPDATE things SET {at: {y: 1}} WHERE Id = 'd05'"] {
        assert!(matches!(change(&shop, text).0, Action::Put(_)), "{text}");
    }
    shop.run("UPDATE things SET n = n - 1, at = {y: 1} WHERE Id = 'd05'").unwrap();
    shop.run("UPDATE things SET n = n + 0.25 WHERE Id = 'd05'").unwrap();
    shop.run("UPDATE things SET n = NULL, gone = MISSING WHERE Id = 'd06'").unwrap();
    shop.run("UPDATE things SET at = MISSING WHERE Id = 'd07'").unwrap();
    assert_eq!(
        rows(&mut shop, "SELECT $ FROM things WHERE Id BETWEEN 'd05' AND 'd07'"),
        r#"{"Id":"d05","n":4.25,"at":{"y":1}} {"Id":"d06","n":null,"at":{"x":1}} {"Id":"d07","n":7}"#
    );
}

#[test]
fn a_write_in_between_is_noticed_and_the_statement_can_run_again() {
    let mut shop = shop();
    let query = Query::prepare("UPDATE things SET label = 'low' WHERE n < 3", Map::new()).unwrap();
    let mut go_on = || None;
    let mut budget = Budget::new(shop.limits, &mut go_on);
    let writes = shop.in_world(|world| query.writes(world, None, &mut budget)).unwrap();
    assert_eq!(writes.matched, 3);
    // Somebody else is faster.
    shop.run("UPDATE things SET n = 10 WHERE Id = 'd01'").unwrap();
    let request::Answer::Together(Err((1, refusal))) = shop.commit(Request::Together(writes.changes.clone())) else {
        panic!("the other write was not noticed")
    };
    assert!(writes.was_overtaken(&refusal));
    assert_eq!(rows(&mut shop, "SELECT COUNT(label) AS c FROM things"), r#"{"c":0}"#);
    assert_eq!(shop.run("UPDATE things SET label = 'low' WHERE n < 3").unwrap().matched, 2);
}

#[test]
fn what_is_kept_by_the_node_cannot_be_assigned() {
    let mut shop = shop();
    for text in ["UPDATE things SET Id = 'x'", "UPDATE things SET _id = 'x'", "UPDATE things SET _sys_a = 1"] {
        assert!(shop.run(text).is_err(), "{text}");
    }
    shop.run("UPDATE things SET {Id: 'other', n: 1} WHERE Id = 'd09'").unwrap_err();
    assert_eq!(rows(&mut shop, "SELECT Id, n FROM things WHERE Id = 'd09'"), r#"{"Id":"d09","n":9}"#);
}

#[test]
fn an_object_that_is_set_may_hold_the_documents_own_id_and_no_other() {
    let mut shop = shop();
    shop.run("UPDATE things SET {Id: 'd09', _id: 'd09', _sys_version: 'v', n: 100} WHERE Id = 'd09'").unwrap();
    assert_eq!(rows(&mut shop, "SELECT $ FROM things WHERE Id = 'd09'"), r#"{"Id":"d09","n":100,"at":{"x":1}}"#);
    for id in ["{Id: 'd10', n: 1}", "{_id: 'd10'}", "{ID: null}", "{iD: MISSING, id: 7}"] {
        let refused = shop.run(&format!("UPDATE things SET {id} WHERE Id = 'd09'")).unwrap_err();
        assert_eq!(refused.code(), "id-not-writable", "{id}");
    }
    // What was read with the fields that the node keeps can be inserted under another id.
    let row = json!({"row": {"_id": "old", "Id": "new", "n": 1, "_sys_version": "v", "_sys_deleted": false}});
    let Value::Object(row) = row else { panic!() };
    shop.run_with("INSERT INTO things VALUES @row", row, Page::default()).unwrap();
    assert_eq!(rows(&mut shop, "SELECT $ FROM things WHERE Id = 'new'"), r#"{"n":1,"Id":"new"}"#);
}

#[test]
fn adding_counts_from_zero_and_never_makes_null_of_a_number() {
    let mut shop = Shop::new();
    let documents = [
        json!({"Id": "none"}),
        json!({"Id": "null", "n": null, "sub": null}),
        json!({"Id": "number", "n": 0.5, "sub": {"n": 1}, "list": [null, 1]}),
    ];
    shop.put("things", &documents);
    for text in ["UPDATE things SET n = n + 1", "UPDATE things SET n = 2 + n, sub.n = sub.n - 1"] {
        assert!(matches!(change(&shop, text).0, Action::Patch { increment: Some(_), .. }), "{text}");
        assert_eq!(shop.run(text).unwrap().rows.len(), 3, "{text}");
    }
    // More digits than a counter has, and items of arrays, are written: they count from zero too.
    shop.run("UPDATE things SET fine = fine - 0.00000000001").unwrap();
    shop.run("UPDATE things SET list[0] = list[0] + 1, list[1] = list[1] + 1 WHERE Id = 'number'").unwrap();
    assert_eq!(
        rows(&mut shop, "SELECT $ FROM things"),
        concat!(
            r#"{"Id":"none","fine":-1e-11,"n":3,"sub":{"n":-1}} "#,
            r#"{"Id":"null","n":3,"sub":{"n":-1},"fine":-1e-11} "#,
            r#"{"Id":"number","n":3.5,"sub":{"n":0},"list":[1,2],"fine":-1e-11}"#
        )
    );
    for (text, code) in [
        ("UPDATE things SET n = n + NULL", "type-mismatch"),
        ("UPDATE things SET n = n - MISSING", "type-mismatch"),
        ("UPDATE things SET n = n + 'x'", "type-mismatch"),
        ("UPDATE things SET list = list + 1", "type-mismatch"),
        ("UPDATE things SET list.n = list.n + 1 WHERE Id = 'number'", "update-path-invalid"),
    ] {
        assert_eq!(shop.run(text).unwrap_err().code(), code, "{text}");
    }
    shop.put("things", &[json!({"Id": "text", "n": "1"})]);
    assert_eq!(shop.run("UPDATE things SET n = n + 1").unwrap_err().code(), "type-mismatch");
    assert_eq!(rows(&mut shop, "SELECT n FROM things WHERE Id = 'none'"), r#"{"n":3}"#);
}

#[test]
fn a_document_that_was_inserted_under_a_number_is_found_by_it() {
    let mut shop = Shop::new();
    shop.run("INSERT INTO things VALUES {Id: 7, n: 1}, {Id: 8, n: 2}").unwrap();
    for optimises in [true, false] {
        shop.options.optimises = optimises;
        assert_eq!(rows(&mut shop, "SELECT Id, n FROM things WHERE Id = 7"), r#"{"Id":"7","n":1}"#);
        assert_eq!(rows(&mut shop, "SELECT Id FROM things WHERE Id IN (7, 9)"), r#"{"Id":"7"}"#);
        assert_eq!(rows(&mut shop, "SELECT Id FROM things WHERE Id <> 7"), r#"{"Id":"8"}"#);
    }
    assert_eq!(shop.run("UPDATE things SET n = n + 1 WHERE Id = 7").unwrap().matched, 1);
    assert_eq!(shop.run("DELETE FROM things WHERE _id = 8").unwrap().rows.len(), 1);
    assert_eq!(rows(&mut shop, "SELECT $ FROM things"), r#"{"n":2,"Id":"7"}"#);
}

#[test]
fn more_documents_than_one_transaction_takes_are_refused_as_a_whole() {
    let mut shop = shop();
    shop.limits.writes_max = 19;
    assert_eq!(shop.run("UPDATE things SET {a: 1}").unwrap_err().code(), "query-too-many-writes");
    let page = Page { take: Some(19), cursor: None };
    assert_eq!(shop.run_with("UPDATE things SET {a: 1}", Map::new(), page).unwrap().rows.len(), 19);
}
