//! A node that takes no writes: what each route says, that nothing changes, that reads go on, and that nothing slips past
//! a barrier.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use holdfast::conflicts::policies::Policies;
use holdfast::conflicts::resolver::Resolver;
use holdfast::databases::{Asker, Closed, ClosedReason, Gate, OpenDatabase, SubmitError, Unavailable};
use holdfast::settings::Settings;
use holdfast::settings::sections::ConflictResolutionPolicy;
use holdfast::shutdown::Shutdown;
use holdfast_core::id::{CollectionName, DatabaseName, DocumentId};
use holdfast_core::json::JsonText;
use holdfast_storage::request::{Action, Change, Expect, Request};
use holdfast_tests::cluster::{SOON, wait_for};
use serde_json::{Value, json};

use crate::conflicts::Stranger;
use crate::node::{Answer, Node};

const KEY: &str = "I_AM_ONE_OF_YOU";
const LEADER: &str = "http://leader.internal:1446";

/// Every route that a client writes with: method, route, an example of it, and a body.
const WRITES: &[(&str, &str, &str, &str)] = &[
    ("POST", "/api/documents/{collection}", "/api/documents/tea", r#"{"Id":"new"}"#),
    ("PUT", "/api/documents/{collection}/{id}", "/api/documents/tea/one", r#"{"N":2}"#),
    ("PATCH", "/api/documents/{collection}/{id}", "/api/documents/tea/one", r#"{"N":2}"#),
    ("PATCH", "/api/documents/{collection}/{id}", "/api/documents/tea/new", r#"{"$inc":{"N":2}}"#),
    ("DELETE", "/api/documents/{collection}/{id}", "/api/documents/tea/one", ""),
    ("POST", "/api/documents/{collection}/register", "/api/documents/cups/register", ""),
    ("POST", "/api/documents/{collection}/bulk", "/api/documents/tea/bulk", "{\"Id\":\"new\"}\n"),
    ("POST", "/api/documents/{collection}/bulk", "/api/documents/tea/bulk?op=delete", "{\"Id\":\"one\"}\n"),
    (
        "POST",
        "/api/transactions",
        "/api/transactions",
        r#"{"operations":[{"op":"put","collection":"tea","id":"new","document":{}}]}"#,
    ),
    (
        "POST",
        "/api/transactions",
        "/api/transactions",
        r#"{"operations":[{"op":"delete","collection":"tea","id":"one"}]}"#,
    ),
    ("PUT", "/api/cache/{key}", "/api/cache/basket?ttl=60", r#"{"N":2}"#),
    ("DELETE", "/api/cache/{key}", "/api/cache/basket", ""),
    ("POST", "/api/cache/{key}/increment", "/api/cache/count/increment", ""),
    ("POST", "/api/cache/{key}/touch", "/api/cache/basket/touch?ttl=90", ""),
    ("PUT", "/api/cache", "/api/cache", r#"{"Entries":[{"Key":"basket","Value":2}]}"#),
    ("POST", "/api/query", "/api/query", r#"{"query":"INSERT INTO tea (Id, N) VALUES ('new', 2)"}"#),
    ("POST", "/api/query", "/api/query", r#"{"query":"UPDATE tea SET N = 2 WHERE Id = 'one'"}"#),
    ("POST", "/api/query", "/api/query", r#"{"query":"DELETE FROM tea WHERE Id = 'one'"}"#),
    ("POST", "/api/query", "/api/query", r#"{"query":"CREATE INDEX by_size ON tea (Size)"}"#),
    ("POST", "/api/query", "/api/query", r#"{"query":"DROP INDEX by_n"}"#),
    ("POST", "/api/indexes", "/api/indexes", r#"{"Name":"by_size","Collection":"tea","Paths":["Size"]}"#),
    ("DELETE", "/api/indexes/{name}", "/api/indexes/by_n", ""),
    ("DELETE", "/api/databases/{name}", "/api/databases/shop", ""),
    ("POST", "/api/conflicts/resolve", "/api/conflicts/resolve", r#"{"Rule":"LastWriterWins"}"#),
    (
        "POST",
        "/api/conflicts/{id}/resolve",
        "/api/conflicts/0123456789abcdef0123456789abcdef/resolve",
        r#"{"Choose":"shown"}"#,
    ),
    ("POST", "/api/replication/dead-letters/retry", "/api/replication/dead-letters/retry", ""),
    (
        "POST",
        "/api/replication/dead-letters/{letter}/retry",
        "/api/replication/dead-letters/till@00000000000000ab:1/retry",
        "",
    ),
    (
        "POST",
        "/api/replication/dead-letters/{letter}/settle",
        "/api/replication/dead-letters/till@00000000000000ab:1/settle",
        "",
    ),
    ("POST", "/api/replication/members/fence", "/api/replication/members/fence", r#"{"Member":"till","Force":true}"#),
];

/// Routes that a peer brings something with.
const BRINGING: &[(&str, &str)] = &[
    ("/api/replication/push", r#"{"SourceNodeId":"till"}"#),
    ("/api/replication/cache/push", "x"),
    ("/api/replication/mend", "{}"),
    ("/api/replication/turned", ""),
];

/// Routes that change nothing which is replicated: they ask, or concern this node alone.
const OTHERS: &[(&str, &str)] = &[
    ("POST", "/api/cache"),
    ("POST", "/api/cluster/peers"),
    ("DELETE", "/api/cluster/peers/{node}"),
    ("POST", "/api/replication/audit"),
    ("POST", "/api/replication/branch"),
    ("POST", "/api/replication/documents"),
    ("POST", "/api/replication/operation-log/prune"),
    ("POST", "/api/replication/pull"),
    ("POST", "/api/replication/ranges"),
    ("POST", "/api/replication/rows"),
    ("POST", "/api/replication/states"),
    ("POST", "/api/replication/survey"),
    ("POST", "/api/replication/verify"),
];

fn close(node: &Node, reason: ClosedReason, leader: Option<&str>) {
    let leader_url = leader.map(str::to_owned);
    node.databases.gate().set(Gate::Closed(Closed { reason, leader_url }));
}

/// A database with a document, an entry of the cache and an index.
async fn furnished() -> Node {
    let node = Node::start().await;
    node.put("/api/documents/tea/one", r#"{"N":1}"#).await.expect(200);
    node.put("/api/cache/basket?ttl=3600", r#"{"N":1}"#).await.expect(200);
    let index = r#"{"Name":"by_n","Collection":"tea","Paths":["N"]}"#;
    node.post("/api/indexes", index).await.expect(201);
    node
}

async fn write(node: &Node, database: &str, (method, _, path, body): (&str, &str, &str, &str)) -> Answer {
    let mut question = node.ask(method, path).header("Database", database);
    if path.contains("/api/replication/") {
        question = question.header("ReplicationApiKey", KEY);
    }
    if path.contains("/bulk") {
        question = question.header("Content-Type", "application/x-ndjson");
    }
    if !body.is_empty() {
        question = question.body(body.to_owned());
    }
    question.send().await
}

/// What clients see of the whole node, and where its logs end.
async fn contents(node: &Node) -> Value {
    let databases = node.get("/api/databases").await.expect(200);
    let of = |one: &Value| {
        let of = &one["Contents"];
        assert!(of["NewestLogSequence"].as_u64() > Some(0), "{one}");
        [&one["Name"], &of["NewestLogSequence"], &of["Digest"], &of["Collections"], &of["CacheKeys"]].map(Clone::clone)
    };
    let ends: Vec<_> = databases.as_array().unwrap().iter().map(of).collect();
    let indexes = node.get("/api/indexes").await.expect(200);
    let indexes: Vec<_> = indexes.as_array().unwrap().iter().map(|index| index["Name"].clone()).collect();
    json!([ends, node.get("/api/cache/basket").await.header("etag"), indexes])
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_that_writes_is_known_here() {
    let node = Node::start().await;
    let document = node.get("/openapi.json").await.expect(200);
    let writes = WRITES.iter().map(|(method, route, _, _)| (*method, *route));
    let bringing = BRINGING.iter().map(|(route, _)| ("POST", *route));
    let all = writes.chain(bringing).chain(OTHERS.iter().copied());
    let known: BTreeSet<_> = all.map(|(method, route)| (method.to_ascii_lowercase(), route.to_owned())).collect();
    for (route, methods) in document["paths"].as_object().unwrap() {
        let writing = methods.as_object().unwrap().keys().filter(|method| *method != "get" && *method != "parameters");
        for method in writing.filter(|_| route.starts_with("/api/")) {
            let is_known = known.contains(&(method.clone(), route.clone()));
            assert!(is_known, "say here what {method} {route} does while the node takes no writes");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_sends_every_write_to_its_leader_and_changes_nothing() {
    let node = furnished().await;
    let before = contents(&node).await;
    close(&node, ClosedReason::Follower, Some(LEADER));
    for database in ["shop", "absent"] {
        for one in WRITES {
            let answer = write(&node, database, *one).await;
            let body = answer.problem(421, "not-the-leader");
            assert_eq!((answer.header("leader"), &body["leader"]), (LEADER, &json!(LEADER)), "{one:?}");
            assert!(body["detail"].as_str().unwrap().contains(LEADER), "{body}");
        }
    }
    assert_eq!(contents(&node).await, before);
    close(&node, ClosedReason::Follower, None);
    let answer = node.put("/api/documents/tea/one", "{}").await;
    let body = answer.problem(421, "not-the-leader");
    assert!(answer.header("leader").is_empty() && body.get("leader").is_none(), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_takes_no_writes_for_now_says_when_to_come_again_and_how_it_ends() {
    let node = furnished().await;
    let before = contents(&node).await;
    for reason in [ClosedReason::Handover, ClosedReason::Starting, ClosedReason::Operator] {
        close(&node, reason, Some(LEADER));
        for one in WRITES {
            let answer = write(&node, "shop", *one).await;
            let body = answer.problem(503, "read-only");
            assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1, "{one:?}");
            assert!(answer.header("leader").is_empty());
            let names_the_way = body["detail"].as_str().unwrap().contains("POST /replication/read-write");
            assert_eq!(names_the_way, reason == ClosedReason::Operator, "{body}");
        }
    }
    assert_eq!(contents(&node).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_go_on_while_no_writes_are_taken_and_writes_when_the_gate_opens() {
    let node = furnished().await;
    close(&node, ClosedReason::Follower, Some(LEADER));
    assert_eq!(node.get("/api/documents/tea/one").await.expect(200)["N"], 1);
    node.get("/api/cache/basket").await.expect(200);
    node.post("/api/cache", r#"{"Keys":["basket"]}"#).await.expect(200);
    let query = node.post("/api/query", r#"{"query":"SELECT * FROM tea WHERE N = 1"}"#).await.expect(200);
    assert!(query.to_string().contains("one"), "{query}");
    node.post("/api/conflicts/resolve", r#"{"Rule":"LastWriterWins","DryRun":true}"#).await.expect(200);
    node.databases.gate().set(Gate::Open);
    node.put("/api/documents/tea/one", r#"{"N":2}"#).await.expect(200);
    assert_eq!(node.get("/api/documents/tea/one").await.expect(200)["N"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_takes_nothing_from_peers_and_still_answers_them() {
    let node = furnished().await;
    let before = contents(&node).await;
    for (reason, status, code) in [
        (ClosedReason::Follower, 421, "not-the-leader"),
        (ClosedReason::Handover, 503, "read-only"),
        (ClosedReason::Starting, 503, "read-only"),
    ] {
        close(&node, reason, Some(LEADER));
        for database in ["shop", "absent"] {
            for (path, body) in BRINGING {
                let question = node.ask("POST", path).header("ReplicationApiKey", KEY).header("Database", database);
                question.body(*body).send().await.problem(status, code);
            }
        }
    }
    let question = json!({"RequestingNodeId": "till", "AfterLogSequence": 0}).to_string();
    let pull = node.ask("POST", "/api/replication/pull").header("ReplicationApiKey", KEY);
    let stretch = pull.body(question).send().await.expect(200);
    assert!(!stretch["Operations"].as_array().unwrap().is_empty());
    assert_eq!(contents(&node).await, before);
    // Without the secret nobody learns that it follows.
    let stranger = node.ask("POST", "/api/replication/push").header("ReplicationApiKey", "no").body("{}").send().await;
    stranger.expect(401);
    // What an operator has closed takes in what peers have done already: this one is looked at, and makes no sense.
    close(&node, ClosedReason::Operator, None);
    let push = node.ask("POST", "/api/replication/push").header("ReplicationApiKey", KEY).body("{}").send().await;
    push.expect(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn sync_with_peers_rests_on_a_follower_and_goes_on_when_it_leads() {
    let leader = Node::start_with(Vec::new(), |settings| "east".clone_into(&mut settings.node.node_id)).await;
    let node = Node::start_with(Vec::new(), |settings| "west".clone_into(&mut settings.node.node_id)).await;
    close(&node, ClosedReason::Follower, None);
    let peer = json!({"NodeId": "east", "BaseUrl": leader.url, "IsActive": true}).to_string();
    let register = node.ask("POST", "/api/cluster/peers").header("ReplicationApiKey", KEY);
    register.body(peer).send().await.expect(200);
    leader.put("/api/documents/tea/one", r#"{"N":1}"#).await.expect(200);
    let shop = DatabaseName::parse("shop").unwrap();
    node.databases.create(&shop, Asker::Node).await.unwrap();
    wait_for("sync rests", SOON, async || {
        let status =
            node.ask("GET", "/api/replication/status").header("ReplicationApiKey", KEY).send().await.expect(200);
        let peer = &status["Databases"][0]["Peers"][0];
        let says_why = peer["StateReason"].as_str().is_some_and(|why| why.contains("this node follows a leader"));
        if peer["State"] == "Resting" && peer["CatchUpStatus"] == "Resting" && says_why {
            Ok(())
        } else {
            Err(status.to_string())
        }
    })
    .await;
    node.get("/api/documents/tea/one").await.expect(404);
    node.databases.gate().set(Gate::Open);
    wait_for("sync goes on", SOON, async || {
        let found = node.get("/api/documents/tea/one").await;
        if found.status == 200 { Ok(()) } else { Err(found.text) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicts_wait_while_no_writes_are_taken_and_are_settled_then() {
    let node = Node::start().await;
    let mut settings = Settings::default().node;
    settings.conflict_resolution_policy = ConflictResolutionPolicy::MergeFields;
    let stop = Shutdown::new(Duration::from_secs(1));
    let policies = Policies::from_settings(&settings);
    let resolver = Resolver::start(Arc::clone(&node.databases), policies, stop.token()).unwrap();
    node.put("/api/documents/stock/tea", r#"{"here":1}"#).await.expect(200);
    close(&node, ClosedReason::Operator, None);
    Stranger::new("till").write(&node, "tea", Some(json!({"there": 2})), 1_000).await;
    assert_eq!(node.get("/api/conflicts").await.expect(200)["Open"], 1, "what peers have written is taken in");
    node.databases.barrier().await.unwrap();
    assert_eq!(node.get("/api/documents/stock/tea").await.expect(200)["there"], Value::Null);
    node.databases.gate().set(Gate::Open);
    wait_for("the conflict is settled", SOON, async || {
        let found = node.get("/api/documents/stock/tea").await.expect(200);
        if found["there"] == 2 && found["here"] == 1 { Ok(()) } else { Err(found.to_string()) }
    })
    .await;
    stop.begin();
    resolver.await.unwrap();
}

fn put(id: u64) -> Request {
    Request::Each(vec![Change {
        collection: CollectionName::parse("tea").unwrap(),
        id: DocumentId::parse(&format!("d{id}")).unwrap(),
        action: Action::Put(JsonText::parse(&format!("{{\"Id\":\"d{id}\"}}")).unwrap()),
        expect: Expect::Any,
    }])
}

/// Writers that never stop, and what became of their writes.
struct Hammering {
    written: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Hammering {
    fn begin(database: &Arc<OpenDatabase>) -> Self {
        let (written, refused) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let is_over = Arc::<AtomicBool>::default();
        let task = |number: u64| {
            let (database, written, refused) = (Arc::clone(database), Arc::clone(&written), Arc::clone(&refused));
            let is_over = Arc::clone(&is_over);
            tokio::spawn(async move {
                for id in (number << 32).. {
                    if is_over.load(Ordering::SeqCst) {
                        return;
                    }
                    match database.submit(put(id)).await {
                        Ok(_) => written.fetch_add(1, Ordering::SeqCst),
                        Err(SubmitError::ReadOnly(_)) => refused.fetch_add(1, Ordering::SeqCst),
                        Err(SubmitError::Busy) => 0,
                        Err(other) => panic!("{other}"),
                    };
                }
            })
        };
        let tasks = (0..16).map(task).collect();
        Self { written, refused, is_over, tasks }
    }

    /// Waits until so many more writes were refused or written than now.
    async fn more(count: &AtomicU64, many: u64) {
        let before = count.load(Ordering::SeqCst);
        wait_for("writers go on", SOON, async || {
            let now = count.load(Ordering::SeqCst);
            if now >= before + many { Ok(()) } else { Err(format!("{before} then, {now} now")) }
        })
        .await;
    }

    async fn end(self) -> u64 {
        self.is_over.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.unwrap();
        }
        self.written.load(Ordering::SeqCst)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_barrier_behind_a_closed_gate_nothing_is_committed_any_more() {
    let node = Node::start_with(Vec::new(), |settings| settings.limits.queue_writes_max = 64).await;
    let shop = DatabaseName::parse("shop").unwrap();
    let database = node.databases.create(&shop, Asker::Client).await.unwrap();
    let hammering = Hammering::begin(&database);
    for _ in 0..20 {
        Hammering::more(&hammering.written, 100).await;
        node.databases.gate().set(Gate::Closed(Closed::because(ClosedReason::Handover)));
        let ends = node.databases.barrier().await.unwrap();
        let end = ends[&shop];
        assert_eq!(database.log().unwrap().newest().unwrap(), end);
        Hammering::more(&hammering.refused, 1_000).await;
        assert_eq!(database.log().unwrap().newest().unwrap(), end, "something slipped past the barrier");
        assert_eq!(*database.newest().borrow(), end);
        node.databases.gate().set(Gate::Open);
    }
    let written = hammering.end().await;
    assert_eq!(database.view().unwrap().collections().unwrap()[0].1.alive, written, "who was answered finds the write");
    assert_eq!(database.barrier().await.unwrap().0, written);
    assert_eq!(database.counts().waiting.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_leader_sends_passes_a_gate_that_stops_everybody_else() {
    let node = Node::start().await;
    let shop = DatabaseName::parse("shop").unwrap();
    close(&node, ClosedReason::Follower, None);
    for asker in [Asker::Client, Asker::Peer] {
        let refused = node.databases.create(&shop, asker).await;
        assert!(matches!(refused, Err(Unavailable::ReadOnly(_))), "{asker:?}");
    }
    let database = node.databases.create(&shop, Asker::Node).await.unwrap();
    database.submit(Request::States(Vec::new())).await.unwrap();
    let refused = database.submit_from_peer(Request::States(Vec::new())).await;
    assert!(matches!(refused, Err(SubmitError::ReadOnly(_))), "{refused:?}");
    let refused = database.submit(put(1)).await;
    assert!(matches!(refused, Err(SubmitError::ReadOnly(_))), "{refused:?}");
    let refused = node.databases.drop_database(&shop, Asker::Client).await;
    assert!(matches!(refused, Err(Unavailable::ReadOnly(_))), "{refused:?}");
    assert_eq!(
        node.databases.barrier().await.unwrap(),
        BTreeMap::from([(shop.clone(), database.barrier().await.unwrap())])
    );
    node.databases.drop_database(&shop, Asker::Node).await.unwrap();
    assert!(node.databases.barrier().await.unwrap().is_empty());
}
