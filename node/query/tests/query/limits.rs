//! Every limit ends a query with its own code, and nothing else does.

use holdfast_query::budget::{Budget, Stop};
use holdfast_query::query::{Page, Query};
use serde_json::{Map, Value, json};

use crate::shop::Shop;

fn shop() -> Shop {
    let mut shop = Shop::new();
    let documents: Vec<Value> =
        (0..3_000).map(|n| json!({"Id": format!("d{n:04}"), "n": n, "text": "x".repeat(50)})).collect();
    shop.put("things", &documents);
    shop
}

#[test]
fn each_limit_has_its_code() {
    let mut shop = shop();
    let all = "SELECT * FROM things";
    shop.limits.bytes_max = 10_000;
    assert_eq!(shop.run(all).unwrap_err().code(), "query-too-large");
    assert_eq!(shop.run("SELECT * FROM things LIMIT 10").unwrap().rows.len(), 10);
    // Nobody is answered with the rows of what is only explained.
    assert_eq!(shop.run("EXPLAIN ANALYZE SELECT * FROM things").map(|given| given.plan).unwrap(), "Explain");
    shop.limits.bytes_max = 1 << 30;
    shop.limits.examined_max = 2_999;
    assert_eq!(shop.run(all).unwrap_err().code(), "query-too-large");
    assert_eq!(shop.run("SELECT * FROM things WHERE Id = 'd0001'").unwrap().rows.len(), 1);
    shop.limits.examined_max = 1_000_000;
    shop.limits.memory_bytes_max = 20_000;
    for text in [
        "SELECT * FROM things ORDER BY n",
        "SELECT n, COUNT(*) FROM things GROUP BY n",
        "SELECT DISTINCT n FROM things",
        "SELECT COUNT(DISTINCT n) FROM things",
        "SELECT a.Id FROM things a JOIN things b ON a.n = b.n",
        "UPDATE things SET {n: 1}",
    ] {
        assert_eq!(shop.run(text).unwrap_err().code(), "query-memory-exceeded", "{text}");
    }
    // The best of many need little room.
    assert_eq!(shop.run("SELECT Id FROM things ORDER BY n DESC LIMIT 10").unwrap().rows.len(), 10);
}

#[test]
fn a_query_that_is_told_to_stop_stops_soon() {
    let shop = shop();
    for (stop, code) in [(Stop::Timeout, "query-timeout"), (Stop::Cancelled, "query-cancelled")] {
        for text in ["SELECT COUNT(n) FROM things", "SELECT a.Id FROM things a CROSS JOIN things b WHERE a.n = b.n"] {
            let query = Query::prepare(text, Map::new()).unwrap();
            let mut looks = 0;
            let mut should_stop = || {
                looks += 1;
                (looks == 5).then_some(stop)
            };
            let mut budget = Budget::new(shop.limits, &mut should_stop);
            let outcome = shop.in_world(|world| query.rows(world, Page::default(), &mut budget, &mut |_| Ok(())));
            assert_eq!(outcome.unwrap_err().code(), code);
            assert!(budget.examined() < 3_500, "{}", budget.examined());
        }
    }
}

#[test]
fn whoever_takes_the_rows_may_end_the_query() {
    let shop = shop();
    let query = Query::prepare("SELECT Id FROM things", Map::new()).unwrap();
    let mut go_on = || None;
    let mut budget = Budget::new(shop.limits, &mut go_on);
    let mut taken = 0;
    let outcome = shop.in_world(|world| {
        query.rows(world, Page::default(), &mut budget, &mut |_| {
            taken += 1;
            if taken < 7 { Ok(()) } else { Err(holdfast_query::failure::Failure::refused("gone", "Gone", "Nothing.")) }
        })
    });
    assert_eq!(outcome.unwrap_err().code(), "gone");
    assert_eq!((taken, budget.examined()), (7, 7));
}

#[test]
fn values_that_a_statement_names_come_with_it() {
    let mut shop = shop();
    let Value::Object(parameters) = json!({"low": 10, "ids": ["d0001", "d0002"], "few": 2}) else { panic!() };
    let mut count = |text: &str, parameters: &Map<String, Value>| {
        shop.run_with(text, parameters.clone(), Page::default())
            .map(|given| given.rows.len())
            .map_err(|error| error.code())
    };
    assert_eq!(count("SELECT Id FROM things WHERE n < @low", &parameters), Ok(10));
    assert_eq!(count("SELECT Id FROM things WHERE Id IN @ids", &parameters), Ok(2));
    assert_eq!(count("SELECT Id FROM things LIMIT @few", &parameters), Ok(2));
    shop.limits.examined_max = 2;
    let given = shop.run_with("SELECT Id FROM things WHERE Id IN @ids", parameters.clone(), Page::default()).unwrap();
    assert_eq!((given.rows.len(), given.plan.as_str()), (2, "IdLookup+Filter+Project"));
    let mut count = |text: &str, parameters: &Map<String, Value>| {
        shop.run_with(text, parameters.clone(), Page::default())
            .map(|given| given.rows.len())
            .map_err(|error| error.code())
    };
    assert!(count("SELECT Id FROM nothing WHERE n < @low", &Map::new()).is_err());
    assert!(count("SELECT Id FROM things LIMIT @low", &Map::new()).is_err());
    assert_eq!(count("SELECT Id FROM things LIMIT @ids", &parameters), Err("query-limit-invalid"));
}
