//! With indexes answers are the same, and come by the index where that is the shorter way.

use std::collections::BTreeSet;

use holdfast_query::query::Page;
use serde_json::{Map, Value, json};

use crate::shop::Shop;

/// Values of every kind, arrays, missing, and texts too long for a key.
fn value(number: u64) -> Option<Value> {
    Some(match number % 13 {
        0 => return None,
        1 => Value::Null,
        2 => json!(true),
        3 => json!(number),
        4 => json!(1.50),
        5 => json!(format!("word {}", number % 4)),
        6 => json!("Word 1"),
        7 => json!([1, "word 1", null]),
        8 => json!([]),
        9 => json!({"x": 1}),
        10 => json!([[1], {"x": number}]),
        11 => json!(format!("{}{}", "long ".repeat(400), number % 3)),
        _ => json!(-3),
    })
}

fn shop(has_odd_values: bool) -> Shop {
    let mut shop = Shop::new();
    let documents = (0..200_u64).map(|number| {
        let cities = ["Oslo", "Rome", "Bern"];
        let mut document = json!({
            "Id": format!("d{:03}", number * 7 % 200),
            "n": number % 10,
            "city": cities[usize::try_from(number % 3).unwrap()],
            "items": [{"sku": format!("s{}", number % 5), "q": number % 4}, {"sku": "s9", "q": 9}],
        });
        if has_odd_values && let Some(value) = value(number) {
            document["v"] = value;
        } else if !has_odd_values {
            document["v"] = json!(number % 23);
        }
        document
    });
    shop.put("things", &documents.collect::<Vec<_>>());
    shop.index("v", "things", &["v"], false);
    shop.index("city-n", "things", &["city", "n"], false);
    shop.index("sku", "things", &["items[*].sku"], false);
    shop.index("folded", "things", &["v", "n"], true);
    shop
}

const CONDITIONS: [&str; 26] = [
    "v = 1",
    "v = 1.5",
    "v = 'word 1'",
    "v = true",
    "v > 3",
    "v < 3",
    "v >= 'word'",
    "v <= 'word 2' AND v > 5",
    "v BETWEEN 1 AND 'z'",
    "v IN (1, 'word 2', -3, null)",
    "v LIKE 'word%'",
    "v LIKE 'long long%1'",
    "STARTSWITH(city, 'Ro') AND n = 1",
    "v IS NULL",
    "v IS MISSING",
    "v <> 3",
    "ANY v = 1",
    "ANY v[*] = 'word 1'",
    "ANY v > 100",
    "1 IN v",
    "ANY items[*].sku = 's3'",
    "ANY items[*].sku = 's3' AND ANY items[*].sku = 's9'",
    "city = 'Oslo' AND n = 3",
    "city = 'Oslo' AND n > 3 AND n < 8",
    "city IN ('Oslo', 'Bern') AND n IN (1, 2)",
    "city = 'Rome' AND v > 1 AND n <> 4",
];

/// Rows as they come, or in an order of their own if they come in none.
fn rows(shop: &mut Shop, statement: &str) -> (Vec<String>, String) {
    let given = shop.run(statement).map_or_else(
        |failure| (vec![failure.code().to_owned()], String::new()),
        |given| (given.rows.iter().map(ToString::to_string).collect(), given.plan),
    );
    let (mut rows, plan) = given;
    if !statement.contains("ORDER BY") {
        rows.sort_unstable();
    }
    (rows, plan)
}

#[test]
fn every_condition_finds_the_same_with_and_without_indexes() {
    let mut plans = BTreeSet::new();
    for has_odd_values in [true, false] {
        let mut shop = shop(has_odd_values);
        for condition in CONDITIONS {
            for statement in [
                format!("SELECT Id, v FROM things WHERE {condition}"),
                format!("SELECT Id FROM things WHERE {condition} ORDER BY v LIMIT 7"),
                format!("SELECT Id FROM things WHERE {condition} ORDER BY v DESC"),
                format!("SELECT Id FROM things WHERE {condition} ORDER BY n DESC LIMIT 5 OFFSET 2"),
                format!("SELECT COUNT(*) AS n FROM things WHERE {condition}"),
            ] {
                shop.options.optimises = false;
                let (expected, _) = rows(&mut shop, &statement);
                shop.options.optimises = true;
                let (found, plan) = rows(&mut shop, &statement);
                assert_eq!(found, expected, "{statement} by {plan}");
                plans.insert(plan);
            }
        }
    }
    let all: Vec<String> = plans.into_iter().collect();
    for step in ["IndexScan+", "IndexCount+", "IndexScan+Filter+Limit+Project", "IndexScan+Filter+Project"] {
        assert!(all.iter().any(|plan| plan.starts_with(step)), "no plan is {step}: {all:?}");
    }
}

#[test]
fn an_order_that_an_index_has_is_walked_and_ends_early() {
    let mut shop = shop(false);
    for (statement, plan) in [
        ("SELECT v, Id FROM things ORDER BY v LIMIT 5", "IndexOrder+Limit+Project"),
        ("SELECT v, Id FROM things ORDER BY v DESC LIMIT 5 OFFSET 3", "IndexOrder+Limit+Project"),
        ("SELECT n, Id FROM things WHERE city = 'Oslo' ORDER BY n", "IndexScan+Filter+Project"),
        ("SELECT n, Id FROM things WHERE city = 'Oslo' ORDER BY n DESC LIMIT 4", "IndexScan+Filter+Limit+Project"),
        ("SELECT n, Id FROM things WHERE city = 'Oslo' AND n > 4 ORDER BY n", "IndexScan+Filter+Project"),
        ("SELECT v, Id FROM things ORDER BY v", "FullScan+Sort+Project"),
        ("SELECT n, Id FROM things ORDER BY n LIMIT 4", "FullScan+Sort+Limit+Project"),
    ] {
        let (found, by) = rows(&mut shop, statement);
        assert_eq!(by, plan, "{statement}");
        shop.options.optimises = false;
        assert_eq!(found, rows(&mut shop, statement).0, "{statement}");
        shop.options.optimises = true;
    }
    shop.limits.examined_max = 10;
    assert_eq!(shop.run("SELECT Id FROM things ORDER BY v LIMIT 5").unwrap().rows.len(), 5);
}

#[test]
fn pages_by_an_index_put_together_are_the_whole_answer() {
    for has_odd_values in [true, false] {
        let mut shop = shop(has_odd_values);
        for statement in [
            "SELECT Id, v FROM things WHERE v > 3",
            "SELECT Id, v FROM things WHERE v IN (1, 2, 3, 'word 1')",
            "SELECT Id, n FROM things WHERE city = 'Oslo' ORDER BY n DESC",
            "SELECT Id, n FROM things WHERE city = 'Rome' AND n < 8 ORDER BY n",
            "SELECT Id FROM things WHERE ANY items[*].sku = 's3'",
            "SELECT a.Id, b.Id FROM things a JOIN things b ON a.v = b.v WHERE a.city = 'Oslo' AND a.n = 3",
        ] {
            let whole = shop.run(statement).unwrap();
            assert!(whole.plan.contains("Index") && whole.rows.len() > 2, "{statement} by {}", whole.plan);
            for take in [1, 4, 1_000] {
                let (mut rows, mut cursor) = (Vec::new(), None::<String>);
                loop {
                    let page = Page { take: Some(take), cursor: cursor.as_deref() };
                    let given = shop.run_with(statement, Map::new(), page).unwrap();
                    rows.extend(given.rows);
                    cursor = given.next_cursor;
                    if cursor.is_none() {
                        break;
                    }
                }
                assert_eq!(rows, whole.rows, "{statement} by {take}");
            }
        }
    }
}

#[test]
fn partners_are_found_by_an_index_where_that_is_shorter() {
    let mut shop = shop(true);
    let statement =
        "SELECT a.Id, b.Id FROM things a LEFT JOIN things b ON b.v = a.v WHERE a.Id IN ('d001', 'd002', 'd014')";
    let (found, plan) = rows(&mut shop, statement);
    assert_eq!(plan, "IdLookup+Filter+IndexLookup+LookupJoin+Project");
    shop.options.optimises = false;
    assert_eq!(found, rows(&mut shop, statement).0);
    assert!(found.len() > 3);
}

#[test]
fn what_ignores_case_comes_by_an_index_that_does() {
    let mut shop = Shop::new();
    let names = ["Ada", "ADA", "ada", "adam", "Bob", "Straße", "STRASSE", "ΟΔΟΣ", "οδος", "İda", "", "a_a", "A%"];
    let documents = names.iter().enumerate().map(|(n, name)| json!({"Id": format!("d{n}"), "name": name}));
    shop.put("people", &documents.collect::<Vec<_>>());
    shop.put("people", &[json!({"Id": "list", "name": "x", "tags": ["Red", "BLUE"]}), json!({"Id": "none"})]);
    shop.index("exact", "people", &["name"], false);
    shop.index("tags", "people", &["tags"], true);
    for with_folded in [false, true] {
        if with_folded {
            shop.index("folded", "people", &["name"], true);
        }
        for (condition, is_by_index) in [
            ("name ILIKE 'aDa'", true),
            ("name ILIKE 'ada%'", true),
            ("name ILIKE 'aX%' ESCAPE 'x'", true),
            ("name ILIKE 'Ax_%' ESCAPE 'X'", true),
            ("name ILIKE '%ada'", false),
            ("name NOT ILIKE 'ada%'", false),
            ("LOWER(name) = 'ada'", true),
            ("'ada' = LOWER(name)", true),
            ("LOWER(name) = 'Ada'", true),
            ("LOWER(name) = 'straße'", true),
            ("LOWER(name) IN ('bob', 'adam', 'i̇da')", true),
            ("LOWER(name) = 'οδος'", false),
            ("LOWER(name) = 'ada' AND name = 'ADA'", true),
            ("name = 'Ada' OR LOWER(name) = 'bob'", true),
            ("LOWER(name) <> 'ada'", false),
            ("LOWER(name) > 'b'", false),
            ("UPPER(name) = 'STRASSE'", false),
            ("ANY tags ILIKE 'blue'", true),
        ] {
            let statement = format!("SELECT Id, name FROM people WHERE {condition}");
            shop.options.optimises = false;
            let (expected, _) = rows(&mut shop, &statement);
            shop.options.optimises = true;
            let (found, plan) = rows(&mut shop, &statement);
            assert_eq!(found, expected, "{statement} by {plan}");
            if with_folded {
                assert_eq!(plan.starts_with("IndexScan"), is_by_index, "{statement} by {plan}");
            }
        }
    }
}
