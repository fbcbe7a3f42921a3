//! Keys change while the node runs, and no key ever stands in a log.

use std::time::{Duration, Instant};

use holdfast_tests::cluster::{Home, ROOT_KEY, SOON, wait_for};
use serde_json::json;

const OLD_KEY: &str = "Tk-old-81ffe2";
const NEW_KEY: &str = "Tk-new-99ab10";
const WRONG_KEY: &str = "Tk-wrong-4410ce";

fn write_settings(home: &Home, root: &str, till: &str) {
    let settings = json!({
        "Auth": {"RootApiKey": root, "ApiKeys": [{
            "Name": "till", "Key": till, "Databases": ["shop"],
            "Roles": {"READ_DOCUMENT": true, "WRITE_DOCUMENT": true, "UPDATE_DOCUMENT": true},
        }]},
        "Logging": {"Level": "trace"},
    });
    std::fs::write(home.path().join("appsettings.json"), settings.to_string()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_settings_file_brings_new_keys_and_ends_old_ones_without_a_restart() {
    // The file decides, so the environment must not.
    let home = Home::new("till-1").without("Auth:RootApiKey");
    write_settings(&home, ROOT_KEY, OLD_KEY);
    let node = home.start();
    let root = node.client("shop");
    root.put("/api/documents/products/tea", "{}").await.expect(200);
    let (old, new) = (root.clone().with_key(OLD_KEY), root.clone().with_key(NEW_KEY));
    old.get("/api/documents/products/tea").await.expect(200);
    new.get("/api/documents/products/tea").await.expect(401);
    root.clone().with_key(WRONG_KEY).put("/api/documents/products/tea", "{}").await.expect(401);

    // A file that is being written, or has a mistake, changes nothing.
    std::fs::write(home.path().join("appsettings.json"), r#"{"Auth": {"RootApiKey": "half"#).unwrap();
    wait_for("the mistake is told", SOON, async || {
        let told = home.log_lines("the old keys go on");
        if told.is_empty() { Err("nothing in the log".to_owned()) } else { Ok(()) }
    })
    .await;
    old.get("/api/documents/products/tea").await.expect(200);

    write_settings(&home, ROOT_KEY, NEW_KEY);
    let changed = Instant::now();
    wait_for("the new key works", SOON, async || {
        let answer = new.try_ask("GET", "/api/documents/products/tea", None).await?;
        if answer.is_success() { Ok(()) } else { Err(answer.text) }
    })
    .await;
    assert!(changed.elapsed() < Duration::from_secs(20), "took {:?}", changed.elapsed());
    old.get("/api/documents/products/tea").await.expect(401);
    root.get("/api/documents/products/tea").await.expect(200);
    // What the key may not do it still may not.
    new.delete("/api/documents/products/tea").await.expect(403);
    node.stop();
    home.assert_log_is_without(&[OLD_KEY, NEW_KEY, WRONG_KEY]);
    assert!(!home.log_lines("started").is_empty(), "the log was looked at");
}

/// The settings file of a running node was moved away: the default keys were back, and its own were void.
#[tokio::test(flavor = "multi_thread")]
async fn a_settings_file_that_vanishes_brings_no_default_keys_back() {
    let home = Home::new("till-1").without("Auth:RootApiKey");
    write_settings(&home, NEW_KEY, OLD_KEY);
    let node = home.start();
    let root = node.client("shop").with_key(NEW_KEY);
    root.put("/api/documents/products/tea", "{}").await.expect(200);
    for (settings, told) in [(None, "is gone"), (Some("{}"), "would fall back to the default")] {
        let path = home.path().join("appsettings.json");
        match settings {
            None => std::fs::remove_file(path).unwrap(),
            Some(text) => std::fs::write(path, text).unwrap(),
        }
        wait_for("the refusal is told", SOON, async || {
            if home.log_lines(told).is_empty() { Err("nothing in the log".to_owned()) } else { Ok(()) }
        })
        .await;
        root.get("/api/documents/products/tea").await.expect(200);
        root.clone().with_key("root").get("/api/documents/products/tea").await.expect(401);
    }
    node.stop();
}
