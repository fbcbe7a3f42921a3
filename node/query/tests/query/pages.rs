//! Answers in pages: every row once, in the order of the whole answer, whatever the order comes from.

use holdfast_query::query::Page;
use serde_json::{Map, Value, json};

use crate::shop::Shop;

fn shop() -> Shop {
    let mut shop = Shop::new();
    let cities = ["Oslo", "Rome", "Bern", "Kyiv"];
    let documents: Vec<Value> = (0..103)
        .map(|n| json!({"Id": format!("d{n:03}"), "n": n % 7, "city": cities[n % 4], "tags": [n, n % 2]}))
        .collect();
    shop.put("things", &documents);
    shop.put("cities", &cities.map(|city| json!({"Id": city, "Size": city.len()})));
    shop
}

const STATEMENTS: [&str; 14] = [
    "SELECT * FROM things",
    "SELECT Id FROM things WHERE n > 2",
    "SELECT Id FROM things ORDER BY Id DESC",
    "SELECT Id, n FROM things ORDER BY n",
    "SELECT Id, n FROM things ORDER BY n DESC",
    "SELECT Id, n FROM things ORDER BY city DESC, n",
    "SELECT Id FROM things WHERE Id > 'd010' LIMIT 50 OFFSET 7",
    "SELECT Id FROM things ORDER BY n LIMIT 50 OFFSET 7",
    "SELECT DISTINCT city, n FROM things",
    "SELECT city, n, COUNT(*) AS c FROM things GROUP BY city, n",
    "SELECT n, COUNT(*) AS c FROM things GROUP BY n ORDER BY c DESC, n",
    "SELECT t.Id, c.Size FROM things t JOIN cities c ON t.city = c.Id",
    "SELECT t.Id, c.Id AS city FROM cities c JOIN things t ON t.city = c.Id WHERE t.n < 3",
    "SELECT EntityId FROM _operations",
];

fn paged(shop: &mut Shop, text: &str, take: u64) -> Vec<Value> {
    let mut rows = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let page = Page { take: Some(take), cursor: cursor.as_deref() };
        let given = shop.run_with(text, Map::new(), page).unwrap();
        assert!(given.rows.len() as u64 <= take);
        rows.extend(given.rows);
        match given.next_cursor {
            Some(next) => cursor = Some(next),
            None => return rows,
        }
    }
}

#[test]
fn pages_put_together_are_the_whole_answer() {
    let mut shop = shop();
    for text in STATEMENTS {
        let whole = shop.run(text).unwrap();
        assert_eq!(whole.next_cursor, None);
        assert!(whole.rows.len() > 20 || text.contains("GROUP BY n"), "{text}");
        for take in [1, 3, 10, 1_000] {
            assert_eq!(paged(&mut shop, text, take), whole.rows, "{text} by {take}");
        }
    }
}

#[test]
fn rows_that_are_written_before_the_place_do_not_move_it() {
    let mut shop = shop();
    for (text, more) in [
        ("SELECT Id FROM things", json!([{"Id": "a000", "n": 0}, {"Id": "d0005", "n": 0}])),
        ("SELECT Id FROM things ORDER BY n", json!([{"Id": "b000", "n": -1}])),
    ] {
        let whole = shop.run(text).unwrap().rows;
        let page = Page { take: Some(20), cursor: None };
        let first = shop.run_with(text, Map::new(), page).unwrap();
        shop.put("things", more.as_array().unwrap());
        // The row where the first page ended goes: the place stays.
        let last = first.rows.last().unwrap()["Id"].as_str().unwrap().to_owned();
        shop.run(&format!("DELETE FROM things WHERE Id = '{last}'")).unwrap();
        let page = Page { take: None, cursor: first.next_cursor.as_deref() };
        let rest = shop.run_with(text, Map::new(), page).unwrap();
        assert_eq!(rest.rows, whole[20..], "{text}");
    }
}

#[test]
fn a_cursor_is_good_for_its_own_question_alone() {
    let mut shop = shop();
    let page = Page { take: Some(5), cursor: None };
    let first = shop.run_with("SELECT Id FROM things WHERE n > 1", Map::new(), page).unwrap();
    let cursor = first.next_cursor.unwrap();
    let page = Page { take: Some(5), cursor: Some(&cursor) };
    let mut ask = |text: &str, page: Page<'_>| shop.run_with(text, Map::new(), page).map_err(|failure| failure.code());
    assert!(ask("select Id from things where n > 1", page).is_ok());
    assert_eq!(ask("SELECT Id FROM things WHERE n > 2", page), Err("query-cursor-stale"));
    assert_eq!(ask("SELECT Id FROM things ORDER BY n", page), Err("query-cursor-stale"));
    let page = Page { take: Some(5), cursor: Some("00") };
    assert_eq!(ask("SELECT Id FROM things WHERE n > 1", page), Err("query-cursor-invalid"));
}
