//! A drop is local: peers keep theirs, and sync does not bring it back.

use holdfast_tests::cluster::{Home, SOON, introduce, wait_for, wait_until_equal};

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_database_stays_away_until_somebody_creates_it_again() {
    // Frequent sweeps give sync every chance to bring it back.
    let homes = ["left", "right"].map(|name| Home::new(name).with("Node:SweepIntervalSeconds", "1"));
    let [left, right] = homes.each_ref().map(Home::start);
    introduce((&left, &left.url), (&right, &right.url)).await;
    for database in ["shop", "other"] {
        left.client(database).put("/api/documents/products/tea", r#"{"N":1}"#).await.expect(200);
        wait_for("it arrives", SOON, async || right.client(database).digest().await).await;
        wait_until_equal(&[&left, &right], database).await;
    }

    let dropped = right.client("shop");
    dropped.delete("/api/databases/shop").await.expect(200);
    dropped.get("/api/documents/products/tea").await.problem(404, "database-not-found");
    left.client("shop").put("/api/documents/products/sugar", r#"{"N":2}"#).await.expect(200);
    // What is written later elsewhere has arrived, so this had its chance, several times.
    for number in 0..5 {
        left.client("shop").put("/api/documents/products/salt", &format!(r#"{{"N":{number}}}"#)).await.expect(200);
        left.client("other").put("/api/documents/products/tea", &format!(r#"{{"N":{number}}}"#)).await.expect(200);
        wait_until_equal(&[&left, &right], "other").await;
        dropped.get("/api/documents/products/tea").await.problem(404, "database-not-found");
    }
    assert_eq!(left.client("shop").collection("products").await.len(), 3, "the peer keeps its own");
    wait_for("the peer is told why", SOON, async || {
        let status = left.client("shop").peer_status("right").await?;
        let error = status["LastError"].as_str().unwrap_or_default();
        if error.contains("dropped") { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    // Nor does a restart bring it back.
    right.stop();
    let right = homes[1].start();
    let lead = serde_json::json!({"NodeId": "right", "BaseUrl": right.url}).to_string();
    left.client("shop").post("/api/cluster/peers", &lead).await.expect(200);
    left.client("other").put("/api/documents/products/tea", r#"{"N":"after"}"#).await.expect(200);
    wait_until_equal(&[&left, &right], "other").await;
    right.client("shop").get("/api/documents/products/tea").await.problem(404, "database-not-found");

    right.client("shop").put("/api/documents/products/rye", r#"{"N":9}"#).await.expect(200);
    wait_until_equal(&[&left, &right], "shop").await;
    assert_eq!(right.client("shop").collection("products").await.len(), 4);
    left.stop();
    right.stop();
    homes.iter().for_each(Home::assert_sound);
}
