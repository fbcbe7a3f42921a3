//! Nodes that come late, come back changed, or come as somebody else: pruned logs, backups, copies, wiped directories.

use std::fs;
use std::path::Path;

use holdfast_tests::cluster::{Client, Home, Node, SOON, introduce, register, wait_for, wait_until_equal};
use serde_json::{Value, json};

async fn write(client: &Client, ids: std::ops::Range<u64>) {
    let lines: Vec<String> = ids.map(|id| json!({"Id": format!("o-{id}"), "n": id}).to_string()).collect();
    let done = client.post("/api/documents/orders/bulk", &lines.join("\n")).await.expect(200);
    assert_eq!(done["Failed"], 0, "{done}");
}

async fn introduce_both(left: &Node, right: &Node) {
    introduce((left, &left.url), (right, &right.url)).await;
}

fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != "holdfast.lock" {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// As after the rollback of a whole virtual machine: no file tells of another birth.
fn forget_birth(data: &Path) {
    let identity = data.join("node.json");
    let mut told: Value = serde_json::from_slice(&fs::read(&identity).unwrap()).unwrap();
    told.as_object_mut().unwrap().remove("Birth");
    fs::write(&identity, told.to_string()).unwrap();
}

/// A shop and a till that know each other, and ten of tea that the till has told the shop of.
async fn shop_and_till() -> ([Home; 2], Node, Node) {
    let homes = ["shop", "till"].map(Home::forgetful);
    let (shop, till) = (homes[0].start(), homes[1].start());
    introduce_both(&shop, &till).await;
    till.client("db").put("/api/documents/stock/tea", r#"{"n":10}"#).await;
    wait_until_equal(&[&shop, &till], "db").await;
    (homes, shop, till)
}

async fn members(client: &Client) -> Value {
    client.get("/api/replication/members").await.expect(200)
}

async fn stock(client: &Client) -> Value {
    client.document("stock", "tea").await.unwrap()["n"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_node_begins_from_a_pruned_log_while_others_write() {
    let (first, second) = (Home::forgetful("first"), Home::forgetful("second"));
    let a = first.start();
    let client = a.client("shop");
    write(&client, 0..3_000).await;
    client.delete("/api/documents/orders/o-7").await;
    let pruned = client.post("/api/replication/operation-log/prune", "").await.expect(200);
    assert_eq!(pruned[0]["Status"], "Pruned", "{pruned}");
    assert!(pruned[0]["PrunedCount"].as_u64().unwrap() > 1_000, "{pruned}");
    let b = second.start();
    introduce_both(&a, &b).await;
    let others = async {
        for round in 0..20 {
            write(&client, 3_000 + round * 10..3_010 + round * 10).await;
        }
    };
    let of_new_node = async {
        let mine = b.client("shop");
        // Among them those that meet the moment in which the states take their place.
        for number in 0..100 {
            mine.put(&format!("/api/documents/mine/{number}"), r#"{"by":"second"}"#).await.expect(200);
            assert_eq!(mine.document("mine", &number.to_string()).await.unwrap()["by"], "second");
        }
    };
    tokio::join!(others, of_new_node);
    wait_until_equal(&[&a, &b], "shop").await;
    assert_eq!(b.client("shop").collection("orders").await.len(), 3_000 - 1 + 200);
    assert_eq!(a.client("shop").collection("mine").await.len(), 100);
    b.stop();
    second.assert_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn deletes_that_all_members_know_are_forgotten_and_do_not_come_back() {
    let homes = ["first", "second"].map(Home::forgetful);
    let (a, b) = (homes[0].start(), homes[1].start());
    introduce_both(&a, &b).await;
    write(&a.client("shop"), 0..200).await;
    wait_until_equal(&[&a, &b], "shop").await;
    for id in 0..100 {
        a.client("shop").delete(&format!("/api/documents/orders/o-{id}")).await.expect(200);
    }
    wait_until_equal(&[&a, &b], "shop").await;
    for node in [&a, &b] {
        wait_for("tombstones are gone", SOON, async || {
            let told = members(&node.client("shop")).await;
            if told["Tombstones"] == 0 { Ok(()) } else { Err(told.to_string()) }
        })
        .await;
    }
    assert_eq!(b.client("shop").collection("orders").await.len(), 100);
    a.client("shop").put("/api/documents/orders/o-5", r#"{"n":"again"}"#).await;
    wait_until_equal(&[&a, &b], "shop").await;
    assert_eq!(b.client("shop").document("orders", "o-5").await.unwrap()["n"], "again");
    a.stop();
    b.stop();
    homes.iter().for_each(Home::assert_sound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fenced_node_that_returns_brings_what_it_wrote_and_nothing_that_was_deleted() {
    let homes = ["first", "second"].map(Home::forgetful);
    let (a, b) = (homes[0].start(), homes[1].start());
    introduce_both(&a, &b).await;
    write(&a.client("shop"), 0..50).await;
    a.client("shop").put("/api/documents/stock/tea", r#"{"n":10}"#).await;
    wait_until_equal(&[&a, &b], "shop").await;
    b.pause();
    for id in 0..50 {
        a.client("shop").delete(&format!("/api/documents/orders/o-{id}")).await.expect(200);
    }
    let refused = a.client("shop").post("/api/replication/members/fence", r#"{"Member":"second"}"#).await;
    refused.problem(400, "force-required");
    let forced = a.client("shop").post("/api/replication/members/fence", r#"{"Member":"second","Force":true}"#).await;
    forced.expect(200);
    wait_for("tombstones are gone", SOON, async || {
        let told = members(&a.client("shop")).await;
        if told["Tombstones"] == 0 { Ok(()) } else { Err(told.to_string()) }
    })
    .await;
    b.resume();
    // It does not know yet that it was counted out, and goes on selling; whatever reached the other before is there too.
    let sold = b.client("shop");
    sold.patch("/api/documents/stock/tea", r#"{"$inc":{"n":-3}}"#).await.expect(200);
    sold.put("/api/documents/orders/offline", r#"{"by":"second"}"#).await;
    wait_until_equal(&[&a, &b], "shop").await;
    for client in [a.client("shop"), b.client("shop")] {
        assert_eq!(stock(&client).await, json!(7));
        let orders = client.collection("orders").await;
        assert_eq!(orders.keys().collect::<Vec<_>>(), ["offline"]);
    }
    wait_for("it is a member again", SOON, async || {
        let told = members(&a.client("shop")).await;
        let is_back = told["Members"]
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one["NodeId"] == "second" && one["Standing"] == "Member");
        if is_back { Ok(()) } else { Err(told.to_string()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_backup_is_noticed_and_loses_nothing() {
    let (homes, shop, till) = shop_and_till().await;
    till.stop();
    let backup = homes[1].path().join("backup");
    copy_directory(homes[1].data(), &backup);
    let till = homes[1].start();
    register(&shop, "till", &till.url).await;
    till.client("db").patch("/api/documents/stock/tea", r#"{"$inc":{"n":-1}}"#).await.expect(200);
    wait_until_equal(&[&shop, &till], "db").await;
    till.stop();
    // The disk dies; yesterday's backup is put in its place, and the till writes before it hears of anybody.
    fs::remove_dir_all(homes[1].data()).unwrap();
    copy_directory(&backup, homes[1].data());
    fs::remove_file(homes[1].data().join("peers.json")).unwrap();
    let till = homes[1].start();
    assert!(!homes[1].log_lines("copied or restored").is_empty(), "it says what it found");
    till.client("db").patch("/api/documents/stock/tea", r#"{"$inc":{"n":-2}}"#).await.expect(200);
    introduce_both(&shop, &till).await;
    wait_until_equal(&[&shop, &till], "db").await;
    assert_eq!(stock(&shop.client("db")).await, json!(7));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_nothing_on_its_disk_betrays_is_seen_by_its_peer() {
    restored_from_a_snapshot(1, 5, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fewer_writes_than_the_peer_remembers_are_not_taken_for_those() {
    // The numbers that were given out again all lay below what the peer had seen; all of them were once lost.
    restored_from_a_snapshot(10, 3, false).await;
    restored_from_a_snapshot(10, 3, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_while_a_node_finds_out_that_it_was_set_back_is_kept() {
    // Written between the first look at the peer and the end of the transfer, some of it was once taken for known.
    let homes = ["shop", "till"].map(Home::forgetful);
    let shop = homes[0].start();
    let backup = homes[1].path().join("backup");
    let mut expected = 0;
    for round in 0..4 {
        let till = homes[1].start();
        introduce_both(&shop, &till).await;
        till.client("db").put(&format!("/api/documents/orders/first-{round}"), "{}").await.expect(200);
        wait_until_equal(&[&shop, &till], "db").await;
        till.stop();
        copy_directory(homes[1].data(), &backup);
        let till = homes[1].start();
        register(&shop, "till", &till.url).await;
        for n in 0..20 {
            till.client("db").put(&format!("/api/documents/orders/later-{round}-{n}"), "{}").await.expect(200);
        }
        wait_until_equal(&[&shop, &till], "db").await;
        till.stop();
        fs::remove_dir_all(homes[1].data()).unwrap();
        copy_directory(&backup, homes[1].data());
        fs::remove_dir_all(&backup).unwrap();
        forget_birth(homes[1].data());
        // It knows its peer and calls it at once, and writes as if nothing had been.
        let till = homes[1].start();
        register(&shop, "till", &till.url).await;
        for n in 0..10 {
            let path = format!("/api/documents/orders/alone-{round}-{n}");
            wait_for("the write is taken", SOON, async || {
                let answer = till.client("db").try_ask("PUT", &path, Some("{}")).await?;
                if answer.is_success() { Ok(()) } else { Err(answer.text) }
            })
            .await;
        }
        wait_until_equal(&[&shop, &till], "db").await;
        expected += 1 + 20 + 10;
        assert_eq!(shop.client("db").collection("orders").await.len(), expected, "round {round}");
        till.stop();
    }
}

/// A till is set back after `before` writes, and makes `after` others before it hears of anybody; the shop may have
/// forgotten which operations it was.
async fn restored_from_a_snapshot(before: u64, after: u64, is_pruned: bool) {
    let (homes, shop, till) = shop_and_till().await;
    till.stop();
    let backup = homes[1].path().join("backup");
    copy_directory(homes[1].data(), &backup);
    let till = homes[1].start();
    register(&shop, "till", &till.url).await;
    till.client("db").patch("/api/documents/stock/tea", r#"{"$inc":{"n":-1}}"#).await.expect(200);
    for n in 0..before {
        till.client("db").put(&format!("/api/documents/orders/before-{n}"), r#"{"n":1}"#).await.expect(200);
    }
    wait_until_equal(&[&shop, &till], "db").await;
    if is_pruned {
        shop.client("db").post("/api/replication/operation-log/prune", "").await.expect(200);
    }
    till.stop();
    fs::remove_dir_all(homes[1].data()).unwrap();
    copy_directory(&backup, homes[1].data());
    fs::remove_file(homes[1].data().join("peers.json")).unwrap();
    forget_birth(homes[1].data());
    let till = homes[1].start();
    for n in 0..after {
        till.client("db").put(&format!("/api/documents/orders/after-{n}"), r#"{"n":2}"#).await;
    }
    till.client("db").patch("/api/documents/stock/tea", r#"{"$inc":{"n":-2}}"#).await.expect(200);
    introduce_both(&shop, &till).await;
    wait_until_equal(&[&shop, &till], "db").await;
    assert_eq!(stock(&shop.client("db")).await, json!(7));
    assert_eq!(shop.client("db").collection("orders").await.len() as u64, before + after);
    // Both sides tell of it, not the one that was set back alone.
    for (node, words) in [(&shop, "goes on as till@"), (&till, "made anew from the states of a peer")] {
        let status = node.client("db").get("/api/replication/status").await.expect(200);
        assert!(status["IdentityEvents"].to_string().contains(words), "{}: {status}", node.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_node_under_its_old_name_gets_everything_and_its_old_life_is_retired() {
    let (homes, shop, till) = shop_and_till().await;
    till.kill();
    fs::remove_dir_all(homes[1].data()).unwrap();
    let till = homes[1].start();
    introduce_both(&shop, &till).await;
    till.client("db").put("/api/documents/stock/coffee", r#"{"n":1}"#).await;
    wait_until_equal(&[&shop, &till], "db").await;
    assert_eq!(stock(&till.client("db")).await, json!(10));
    wait_for("its old life is retired", SOON, async || {
        let told = members(&shop.client("db")).await;
        let of_till: Vec<&str> = told["Members"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|one| one["NodeId"] == "till")
            .filter_map(|one| one["Standing"].as_str())
            .collect();
        let mut sorted = of_till.clone();
        sorted.sort_unstable();
        if sorted == ["Member", "Retired"] { Ok(()) } else { Err(told.to_string()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_under_the_same_name_is_refused_while_the_original_speaks_and_loses_nothing_under_its_own() {
    let (homes, shop, till) = shop_and_till().await;
    till.stop();
    let copy = Home::forgetful("till");
    copy_directory(homes[1].data(), copy.data());
    fs::remove_file(copy.data().join("peers.json")).unwrap();
    let (till, twin) = (homes[1].start(), copy.start());
    register(&shop, "till", &till.url).await;
    till.client("db").put("/api/documents/stock/milk", r#"{"n":3}"#).await;
    wait_until_equal(&[&shop, &till], "db").await;
    twin.client("db").put("/api/documents/stock/salt", r#"{"n":4}"#).await;
    register(&twin, "shop", &shop.url).await;
    wait_for("the copy is told why it is refused", SOON, async || {
        let told = twin.client("db").status().await?;
        if told.to_string().contains("Another node named 'till'") { Ok(()) } else { Err(told.to_string()) }
    })
    .await;
    assert_eq!(shop.client("db").document("stock", "salt").await, None);
    twin.stop();
    let renamed = Home::new("till-2").with("Node:SweepIntervalSeconds", "1").with_data_in(copy.data());
    let twin = renamed.start();
    introduce_both(&shop, &twin).await;
    wait_until_equal(&[&shop, &twin, &till], "db").await;
    assert_eq!(till.client("db").document("stock", "salt").await.unwrap()["n"], json!(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_peer_has_falsely_said_of_branches_is_disproved_though_the_logs_are_pruned() {
    let small = |name| Home::forgetful(name).with("Node:OperationLogMaxMegabytes", "1");
    let homes = ["shop", "till"].map(small);
    let (shop, till) = (homes[0].start(), homes[1].start());
    introduce_both(&shop, &till).await;
    let written = till.client("db").put("/api/documents/stock/tea", r#"{"n":10}"#).await.expect(200);
    let (origin, _) = written["Token"].as_str().unwrap().rsplit_once(':').unwrap();
    wait_until_equal(&[&shop, &till], "db").await;
    shop.stop();
    // It says that the till is to give way, and is gone before the till has asked it anything.
    let said = till.client("db").post(&format!("/api/replication/turned?node=shop&branch={origin}"), "").await;
    assert!(said.is_success() || said.status == 409, "{}", said.text);
    // Neither log reaches back to what the other knows; what is kept beside them tells that there is one branch.
    fill_and_prune(&till, "t").await;
    till.kill();
    let shop = homes[0].start();
    fill_and_prune(&shop, "s").await;
    let till = homes[1].start();
    introduce_both(&shop, &till).await;
    wait_until_equal(&[&shop, &till], "db").await;
    let told = till.client("db").get("/api/replication/status").await.expect(200);
    assert!(!told["IdentityEvents"].to_string().contains("(Rebase)"), "nobody gives way to a false word: {told}");
    assert_eq!(shop.client("db").collection("orders").await.len(), 6_000);
}

/// More than a log may hold, that has room for a megabyte.
async fn fill_and_prune(node: &Node, name: &str) {
    let padding = "p".repeat(600);
    for round in 0..3 {
        let line = |id: u64| json!({"Id": format!("{name}-{round}-{id}"), "padding": padding}).to_string();
        let lines: Vec<String> = (0..1_000).map(line).collect();
        node.client("db").post("/api/documents/orders/bulk", &lines.join("\n")).await.expect(200);
    }
    let pruned = node.client("db").post("/api/replication/operation-log/prune", "").await.expect(200);
    assert_eq!(pruned[0]["Status"], "Pruned", "{pruned}");
}
