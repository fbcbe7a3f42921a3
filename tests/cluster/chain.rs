//! Three nodes in a chain: what one end writes reaches the other through the middle.

use holdfast_tests::cluster::{Home, Line, introduce, wait_until_equal};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn the_ends_of_a_chain_are_equal_again_after_its_middle_was_killed() {
    let homes = ["west", "middle", "east"].map(Home::new);
    let [west, middle, east] = homes.each_ref().map(Home::start);
    let to_middle = Line::to(&middle.url).await;
    introduce((&west, &west.url), (&middle, &to_middle.url())).await;
    introduce((&east, &east.url), (&middle, &to_middle.url())).await;
    let (at_west, at_east) = (west.client("shop"), east.client("shop"));
    for number in 0..20 {
        let body = json!({"N": number}).to_string();
        at_west.put(&format!("/api/documents/products/w-{number}"), &body).await.expect(200);
        at_east.put(&format!("/api/documents/products/e-{number}"), &body).await.expect(200);
    }
    at_west.put("/api/documents/products/tea", r#"{"Stock":100}"#).await.expect(200);
    wait_until_equal(&[&west, &middle, &east], "shop").await;
    assert_eq!(middle.client("shop").collection("products").await.len(), 41);

    middle.kill();
    for client in [&at_west, &at_east] {
        for _ in 0..5 {
            client.patch("/api/documents/products/tea", r#"{"$inc":{"Stock":-2}}"#).await.expect(200);
        }
        client
            .put("/api/documents/products/sugar", &json!({"By": format!("{client:?}")}).to_string())
            .await
            .expect(200);
    }
    at_west.delete("/api/documents/products/e-3").await.expect(200);
    at_east.delete("/api/documents/products/w-3").await.expect(200);

    let middle = homes[1].start();
    to_middle.lead_to(&middle.url);
    wait_until_equal(&[&west, &middle, &east], "shop").await;
    for node in [&west, &middle, &east] {
        let client = node.client("shop");
        assert_eq!(client.document("products", "tea").await.unwrap()["Stock"], 80, "{}", node.name());
        assert_eq!(client.document("products", "e-3").await, None);
        assert_eq!(client.document("products", "w-3").await, None);
    }
    [west, middle, east].into_iter().for_each(holdfast_tests::cluster::Node::stop);
    homes.iter().for_each(Home::assert_sound);
}
