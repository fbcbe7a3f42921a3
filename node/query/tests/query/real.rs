//! Real purchases and films, with figures that were computed another way: by adding up rows one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Number, Value, json};

use crate::shop::Shop;

/// The text of a file of real data, if it is there.
fn data(name: &str) -> Option<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(name);
    let text = std::fs::read_to_string(&path).ok();
    if text.is_none() {
        eprintln!("skipped: {} is not there", path.display());
    }
    text
}

fn pairs(shop: &mut Shop, statement: &str) -> Vec<(Value, Value)> {
    let rows = shop.run(statement).unwrap().rows;
    rows.into_iter().map(|row| (row["k"].clone(), row["v"].clone())).collect()
}

/// So many hundredths as the number that a sum of amounts is.
fn money(cents: i64) -> String {
    let text = format!("{}.{:02}", cents / 100, cents % 100);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[test]
fn revenue_by_month_and_the_best_customers_of_a_music_shop() {
    let Some(text) = data("cdnow-purchases.csv") else { return };
    let (mut shop, mut documents) = (Shop::new(), Vec::new());
    let (mut by_month, mut by_customer) = (BTreeMap::<String, i64>::new(), BTreeMap::<String, i64>::new());
    for (number, line) in text.lines().skip(1).enumerate() {
        let [customer, date, quantity, amount] = line.split(',').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let (whole, cents) = amount.split_once('.').unwrap();
        let cents = whole.parse::<i64>().unwrap() * 100 + cents.parse::<i64>().unwrap();
        *by_month.entry(date[..7].to_owned()).or_default() += cents;
        *by_customer.entry(customer.to_owned()).or_default() += cents;
        documents.push(json!({
            "Id": format!("p{number:05}"),
            "customer": customer,
            "date": date,
            "quantity": quantity.parse::<u32>().unwrap(),
            "amount": amount.parse::<Number>().unwrap(),
        }));
    }
    shop.put("purchases", &documents);
    shop.index("customer", "purchases", &["customer"], false);
    let found = pairs(
        &mut shop,
        "SELECT LEFT(date, 7) AS k, SUM(amount) AS v FROM purchases GROUP BY LEFT(date, 7) ORDER BY k",
    );
    let expected: Vec<(Value, String)> =
        by_month.into_iter().map(|(month, cents)| (json!(month), money(cents))).collect();
    assert_eq!(found.into_iter().map(|(key, sum)| (key, sum.to_string())).collect::<Vec<_>>(), expected);
    let found = pairs(
        &mut shop,
        "SELECT customer AS k, SUM(amount) AS v FROM purchases GROUP BY customer ORDER BY v DESC, k LIMIT 10",
    );
    let mut best: Vec<(String, i64)> = by_customer.into_iter().collect();
    best.sort_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(&right.0)));
    let expected: Vec<(Value, String)> =
        best.iter().take(10).map(|(customer, cents)| (json!(customer), money(*cents))).collect();
    assert_eq!(found.into_iter().map(|(key, sum)| (key, sum.to_string())).collect::<Vec<_>>(), expected);
    let given = shop.run(&format!("SELECT SUM(amount) AS v FROM purchases WHERE customer = '{}'", best[0].0)).unwrap();
    assert!(given.plan.starts_with("IndexScan"), "{}", given.plan);
    assert_eq!(given.rows[0]["v"].to_string(), money(best[0].1));
}

#[test]
fn films_by_genre_with_nulls_and_values_of_mixed_kinds() {
    let Some(text) = data("movies.json") else { return };
    let Value::Array(films) = serde_json::from_str(&text).unwrap() else { panic!("no array") };
    let (mut shop, mut documents) = (Shop::new(), Vec::new());
    let (mut by_genre, mut titles_by_kind) =
        (BTreeMap::<Option<String>, (u64, i64)>::new(), BTreeMap::<&str, u64>::new());
    let mut directors = BTreeSet::new();
    for (number, film) in films.iter().enumerate() {
        let (count, gross) = by_genre.entry(film["Major Genre"].as_str().map(str::to_owned)).or_default();
        *count += 1;
        *gross += film["Worldwide Gross"].as_i64().unwrap_or(0);
        let kind = match film["Title"] {
            Value::String(_) => "text",
            Value::Number(_) => "number",
            _ => "other",
        };
        *titles_by_kind.entry(kind).or_default() += 1;
        directors.extend(film["Director"].as_str());
        let mut film = film.clone();
        film["Id"] = json!(format!("f{number:04}"));
        documents.push(film);
    }
    shop.put("films", &documents);
    let rows = shop.run(
        "SELECT $['Major Genre'] AS genre, COUNT(*) AS films, SUM($['Worldwide Gross']) AS gross FROM films \
         GROUP BY $['Major Genre'] ORDER BY genre",
    );
    let found: Vec<(Option<String>, (u64, i64))> = rows
        .unwrap()
        .rows
        .iter()
        .map(|row| {
            let genre = row["genre"].as_str().map(str::to_owned);
            (genre, (row["films"].as_u64().unwrap(), row["gross"].as_i64().unwrap()))
        })
        .collect();
    assert_eq!(found, by_genre.into_iter().collect::<Vec<_>>());
    let count = |shop: &mut Shop, statement: &str| shop.run(statement).unwrap().rows[0]["n"].as_u64().unwrap();
    // Numbers come before texts, and null before both: it is greater than nothing.
    let numbers = count(&mut shop, "SELECT COUNT(*) AS n FROM films WHERE Title < ''");
    let texts = count(&mut shop, "SELECT COUNT(*) AS n FROM films WHERE Title >= ''");
    assert_eq!(numbers, titles_by_kind.get("number").copied().unwrap_or(0));
    assert_eq!(texts, titles_by_kind.get("text").copied().unwrap_or(0));
    let distinct = count(&mut shop, "SELECT COUNT(DISTINCT Director) AS n FROM films WHERE Director IS NOT NULL");
    assert_eq!(distinct, directors.len() as u64);
}
