//! Documents that somebody has falsified, on nodes whose logs no longer tell what they were: taken from the peer, given
//! to it, joined, or left for a person.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_tests::cluster::{Home, Node, ROOT_KEY, SOON, introduce, wait_for, wait_until_equal};
use redb::ReadableTable;
use serde_json::{Value, json};

const DOCUMENTS: redb::TableDefinition<'static, &[u8], &[u8]> = redb::TableDefinition::new("documents");
const CHANGES: redb::TableDefinition<'static, u64, &[u8]> = redb::TableDefinition::new("changes");

/// Falsifies what a stopped node has stored of a document, behind the back of its program: the record holds in itself
/// and says something else, or does not hold.
pub(crate) fn falsify(home: &Home, key: &str, is_readable: bool) {
    let data = redb::Database::open(home.data().join("shop.db")).unwrap();
    let key = format!("products\0{key}");
    let transaction = data.begin_write().unwrap();
    {
        let mut documents = transaction.open_table(DOCUMENTS).unwrap();
        let mut record = documents.get(key.as_bytes()).unwrap().unwrap().value().to_vec();
        let text = br#""Stock":"#;
        let at = record.windows(text.len()).position(|window| window == text).unwrap() + text.len();
        record[at] = if record[at] == b'9' { b'8' } else { b'9' };
        if is_readable {
            let sum = holdfast_storage::encoding::checksum(&record[5..]);
            record[1..5].copy_from_slice(&sum.to_le_bytes());
        }
        documents.insert(key.as_bytes(), record.as_slice()).unwrap();
    }
    transaction.commit().unwrap();
}

/// Takes the record of a document away, and with it what leads to it.
fn erase(home: &Home, key: &str) {
    let data = redb::Database::open(home.data().join("shop.db")).unwrap();
    let key = format!("products\0{key}");
    let transaction = data.begin_write().unwrap();
    {
        let mut documents = transaction.open_table(DOCUMENTS).unwrap();
        documents.remove(key.as_bytes()).unwrap().unwrap();
        let mut changes = transaction.open_table(CHANGES).unwrap();
        changes.retain(|_, of| of != key.as_bytes()).unwrap();
    }
    transaction.commit().unwrap();
}

/// Two nodes that hold the same, whose logs hold nothing any more, and of whose documents four are wrong: on the left
/// one that reads well, one that does not and one that is gone, on the right one that does not read.
async fn falsified_pair() -> ([Home; 2], Node, Node, Value) {
    let homes = ["left", "right"].map(|name| {
        let home = Home::new(name).with("Node:SweepIntervalSeconds", "1");
        home.with("Node:OperationLogRetentionDays", "0").with("Node:OperationLogRetainRecentOperations", "0")
    });
    let (left, right) = (homes[0].start(), homes[1].start());
    introduce((&left, &left.url), (&right, &right.url)).await;
    for number in 0..15 {
        let body = json!({"Name": number, "Stock": number}).to_string();
        left.client("shop").put(&format!("/api/documents/products/p-{number}"), &body).await.expect(200);
    }
    wait_until_equal(&[&left, &right], "shop").await;
    for node in [&left, &right] {
        let reach = node.client("shop").status().await.unwrap()["LocalMaxLogSequence"].as_u64();
        wait_for("nothing of the products is in the log", SOON, async || {
            // A write has the data file synced now and then, and what is not synced stays in the log.
            node.client("shop").put("/api/documents/pulse/now", "{}").await.expect(200);
            node.client("shop").post("/api/replication/operation-log/prune", "").await.expect(200);
            let told = node.client("shop").status().await?;
            if told["OldestAvailableLogSequence"].as_u64() > reach { Ok(()) } else { Err(told.to_string()) }
        })
        .await;
    }
    wait_until_equal(&[&left, &right], "shop").await;
    let expected = right.client("shop").collection("products").await;
    left.stop();
    right.stop();
    falsify(&homes[0], "p-3", true);
    falsify(&homes[0], "p-5", false);
    erase(&homes[0], "p-7");
    falsify(&homes[1], "p-11", false);
    let (left, right) = (homes[0].start(), homes[1].start());
    introduce((&left, &left.url), (&right, &right.url)).await;
    let expected = json!(expected.into_iter().collect::<serde_json::Map<String, Value>>());
    (homes, left, right, expected)
}

/// What became of each document, from the first answer that is given: the session may have yet to begin.
async fn verified(node: &Node, order: Value) -> (bool, Vec<(String, String)>) {
    let told = wait_for("the peer is compared with", SOON, async || {
        let answer = node.client("shop").post("/api/replication/verify", &order.to_string()).await;
        let told = answer.json();
        let is_compared = answer.is_success() && told["Failures"] == json!([]);
        if is_compared { Ok(told) } else { Err(told.to_string()) }
    })
    .await;
    let differences = told["Results"][0]["Differences"].as_array().unwrap();
    let word = |one: &Value, field: &str| one[field].as_str().unwrap().to_owned();
    let mut found: Vec<_> = differences.iter().map(|one| (word(one, "Id"), word(one, "Outcome"))).collect();
    found.sort();
    (told["IsEqual"] == true, found)
}

async fn products(node: &Node) -> Value {
    json!(node.client("shop").collection("products").await.into_iter().collect::<serde_json::Map<String, Value>>())
}

fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|(id, outcome)| ((*id).to_owned(), (*outcome).to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_log_can_tell_is_taken_given_or_joined_and_the_rest_is_for_a_person() {
    let (homes, left, right, expected) = falsified_pair().await;
    let repair = json!({"Peer": "right", "Database": "shop", "Repair": true});
    let settled = [("p-11", "GivenToPeer"), ("p-3", "NeedsDecision"), ("p-5", "TakenFromPeer"), ("p-7", "Joined")];
    assert_eq!(verified(&left, repair.clone()).await, (false, pairs(&settled)));
    let falsified = left.client("shop").document("products", "p-3").await.unwrap();
    assert_ne!(falsified["Stock"], json!(3), "nobody has decided");
    // The person says that the peer is right.
    let prefer = json!({"Peer": "right", "Database": "shop", "Repair": true, "Prefer": "Peer"});
    assert_eq!(verified(&left, prefer).await, (true, pairs(&[("p-3", "TakenFromPeer")])));
    for node in [&left, &right] {
        assert_eq!(products(node).await, expected, "{}", node.name());
    }
    wait_until_equal(&[&left, &right], "shop").await;
    assert_eq!(verified(&left, repair).await, (true, Vec::new()));
    left.stop();
    right.stop();
    homes.iter().for_each(Home::assert_sound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_prefers_this_node_gives_the_peer_what_it_shows() {
    let (homes, left, right, expected) = falsified_pair().await;
    let ours = left.client("shop").document("products", "p-3").await.unwrap();
    let command = ["verify", "--peer", "right", "--database", "shop", "--repair", "--prefer", "local"];
    wait_for("the peer is compared with", SOON, async || {
        let told = verified(&left, json!({"Peer": "right", "Database": "shop"})).await;
        if told.1.len() == 4 { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
    let done = homes[0].run(&[&command[..], &["--url", &left.url, "--key", ROOT_KEY]].concat());
    let text = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{text}");
    wait_until_equal(&[&left, &right], "shop").await;
    let theirs = right.client("shop").document("products", "p-3").await.unwrap();
    assert_eq!(theirs["Stock"], ours["Stock"]);
    assert_ne!(theirs["Stock"], expected["p-3"]["Stock"]);
    for id in ["p-5", "p-7", "p-11"] {
        assert_eq!(left.client("shop").document("products", id).await.unwrap()["Stock"], expected[id]["Stock"], "{id}");
    }
}

/// The products that a node does not show as they were written.
async fn wrong(node: &Node, expected: &Value) -> BTreeSet<String> {
    let mut wrong = BTreeSet::new();
    for (id, written) in expected.as_object().unwrap() {
        let answer = node.client("shop").get(&format!("/api/documents/products/{id}")).await;
        if !answer.is_success() || answer.json()["Stock"] != written["Stock"] {
            wrong.insert(id.clone());
        }
    }
    wrong
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_repair_counts_is_what_it_has_repaired() {
    let (homes, left, right, expected) = falsified_pair().await;
    let wrong_on_either = async || {
        let mut ids = wrong(&left, &expected).await;
        ids.extend(wrong(&right, &expected).await);
        ids
    };
    wait_for("the peer is compared with", SOON, async || {
        let told = verified(&left, json!({"Peer": "right", "Database": "shop"})).await;
        if told.1.len() == 4 { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
    let place = ["--url", &left.url, "--key", ROOT_KEY];
    let order = ["verify", "--peer", "right", "--database", "shop", "--repair"];
    for (choice, summary) in [
        (&[][..], "1 documents differ, and no log can tell which side is right for 1: "),
        (&["--prefer", "peer"][..], "1 documents differed and are settled."),
        (&[][..], "No document differs."),
    ] {
        let before = wrong_on_either().await;
        let told = homes[0].run(&[&order[..], choice, &["--json"], &place].concat());
        let told: Value = serde_json::from_slice(&told.stdout).unwrap();
        let result = &told["Results"][0];
        assert!(result["Summary"].as_str().unwrap().starts_with(summary), "{result}");
        let after = wrong_on_either().await;
        let is_settled = |one: &&Value| !["Found", "NeedsDecision"].contains(&one["Outcome"].as_str().unwrap());
        let differences = result["Differences"].as_array().unwrap();
        let counted: BTreeSet<String> =
            differences.iter().filter(is_settled).map(|one| one["Id"].as_str().unwrap().to_owned()).collect();
        let repaired: BTreeSet<String> = before.difference(&after).cloned().collect();
        assert_eq!(counted, repaired, "{result}");
        if repaired.len() > 1 {
            let rest = format!(" {} others differed and are settled.", repaired.len());
            assert!(result["Summary"].as_str().unwrap().contains(&rest), "{result}");
        }
        assert_eq!(told["IsEqual"], after.is_empty(), "{told}");
        let held: usize = left.client("shop").everything().await.values().map(BTreeMap::len).sum();
        assert_eq!(result["Records"], held, "{result}");
    }
    assert_eq!(wrong_on_either().await, BTreeSet::new());
}
