//! A shop behind a router: it knows headquarters, and nobody can dial it.

use std::time::{Duration, Instant};

use holdfast_tests::cluster::{Home, SOON, register, wait_for, wait_until_equal};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_nobody_can_dial_hears_at_once_of_what_is_new() {
    // Without sweeps, only a hint can bring news.
    let homes = ["headquarters", "shop-7"].map(|name| Home::new(name).with("Node:SweepIntervalSeconds", "3600"));
    let [headquarters, shop] = homes.each_ref().map(Home::start);
    headquarters.client("stock").put("/api/documents/products/tea", r#"{"N":0}"#).await.expect(200);
    shop.client("stock").put("/api/documents/products/sugar", r#"{"N":0}"#).await.expect(200);
    register(&shop, "headquarters", &headquarters.url).await;
    wait_until_equal(&[&headquarters, &shop], "stock").await;
    let peers = headquarters.client("stock").get("/api/cluster/peers").await.expect(200);
    assert_eq!(peers.as_array().map(Vec::len), Some(0), "headquarters has nobody to dial: {peers}");
    wait_for("the WebSocket is open", SOON, async || {
        let status = shop.client("stock").peer_status("headquarters").await?;
        if status["IsWebSocketOpen"] == true { Ok(()) } else { Err(status.to_string()) }
    })
    .await;

    let mut slowest = Duration::ZERO;
    for number in 1..=10 {
        let body = format!(r#"{{"N":{number}}}"#);
        headquarters.client("stock").put("/api/documents/products/tea", &body).await.expect(200);
        let written = Instant::now();
        wait_for("the news arrives", SOON, async || {
            let found = shop.client("stock").document("products", "tea").await;
            if found.as_ref().is_some_and(|tea| tea["N"] == number) { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
        slowest = slowest.max(written.elapsed());
    }
    // Milliseconds where nothing else runs; retries after failures would take longer than this.
    assert!(slowest < Duration::from_secs(10), "news took {slowest:?}");

    // A database that the shop has never heard of comes by a hint as well, and news go the other way too.
    headquarters.client("prices").put("/api/documents/lists/summer", "{}").await.expect(200);
    wait_for("the new database arrives", SOON, async || shop.client("prices").digest().await.map(|_| ())).await;
    shop.client("sales").put("/api/documents/orders/o-1", "{}").await.expect(200);
    for database in ["stock", "prices", "sales"] {
        wait_for("the database is on both", SOON, async || headquarters.client(database).digest().await.map(|_| ()))
            .await;
        wait_until_equal(&[&headquarters, &shop], database).await;
    }
    // Headquarters goes away and comes back: the shop finds it again by itself.
    shop.client("stock").put("/api/documents/products/tea", r#"{"N":"shop"}"#).await.expect(200);
    wait_until_equal(&[&headquarters, &shop], "stock").await;
    shop.stop();
    headquarters.stop();
}
