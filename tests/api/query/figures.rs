//! Figures over a shop's purchases, checked against the same computed another way.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{query, rows};
use crate::node::Node;

/// A purchase: customer, day, cents. The same in every run.
fn purchases() -> Vec<(String, String, u64)> {
    let mut state = 17_u64;
    let mut next = |most: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % most
    };
    let mut purchase = || {
        // Few customers buy often.
        let customer = next(40).min(next(40));
        let day = format!("1997-{:02}-{:02}", 1 + next(12), 1 + next(28));
        (format!("c{customer:02}"), day, 99 + next(20_000))
    };
    (0..2_000).map(|_| purchase()).collect()
}

async fn shop() -> (Node, Vec<(String, String, u64)>) {
    let node = Node::start().await;
    let purchases = purchases();
    let documents: Vec<Value> = purchases
        .iter()
        .enumerate()
        .map(|(number, (customer, day, cents))| {
            let amount: serde_json::Number = format!("{}.{:02}", cents / 100, cents % 100).parse().unwrap();
            json!({"Id": format!("p{number:04}"), "customer": customer, "date": day, "amount": amount})
        })
        .collect();
    node.post("/api/documents/purchases/bulk", Value::from(documents).to_string()).await.expect(200);
    (node, purchases)
}

/// An amount as cents, whatever zeros stand at its end.
fn cents(amount: &Value) -> u64 {
    let text = amount.to_string();
    let (whole, rest) = text.split_once('.').unwrap_or((&text, ""));
    format!("{whole}{rest:0<2}").parse().unwrap()
}

#[tokio::test]
async fn revenue_by_month_is_exact_to_the_cent() {
    let (node, purchases) = shop().await;
    let mut expected: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for (_, day, cents) in &purchases {
        let month = expected.entry(day[..7].to_owned()).or_default();
        *month = (month.0 + 1, month.1 + cents);
    }
    let month = "SUBSTRING(date, 1, 7)";
    let text = format!(
        "SELECT {month} AS month, COUNT(*) AS orders, SUM(amount) AS revenue FROM purchases \
                        GROUP BY {month} ORDER BY month"
    );
    let answer = query(&node, &text).await.expect(200);
    assert_eq!(rows(&answer).len(), 12);
    for row in rows(&answer) {
        let (orders, revenue) = expected[row["month"].as_str().unwrap()];
        assert_eq!((row["orders"].as_u64(), cents(&row["revenue"])), (Some(orders), revenue), "{row}");
    }
}

#[tokio::test]
async fn the_best_customers_are_the_best_with_and_without_an_index() {
    let (node, purchases) = shop().await;
    let mut spent: BTreeMap<&str, u64> = BTreeMap::new();
    for (customer, _, cents) in &purchases {
        *spent.entry(customer).or_default() += cents;
    }
    let mut best: Vec<(u64, &str)> = spent.iter().map(|(customer, cents)| (*cents, *customer)).collect();
    best.sort_by(|left, right| right.cmp(left));
    let text = "SELECT customer, SUM(amount) AS spent FROM purchases GROUP BY customer ORDER BY spent DESC LIMIT 5";
    for _ in 0..2 {
        let answer = query(&node, text).await.expect(200);
        let found: Vec<(u64, &str)> =
            rows(&answer).iter().map(|row| (cents(&row["spent"]), row["customer"].as_str().unwrap())).collect();
        assert_eq!(found, best[..5]);
        let text = format!("SELECT SUM(amount) AS spent FROM purchases WHERE customer = '{}'", best[0].1);
        let answer = query(&node, &text).await.expect(200);
        assert_eq!(cents(&rows(&answer)[0]["spent"]), best[0].0);
        query(&node, "CREATE INDEX by_customer ON purchases (customer)").await.expect(200);
        while node.get("/api/indexes/by_customer").await.expect(200)["State"] == "Building" {
            tokio::task::yield_now().await;
        }
    }
}
