//! A peer that speaks JSON alone, as clients of other makes do, is synced with in JSON.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use holdfast_tests::cluster::{Home, register, wait_until_equal};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const COMPACT: &str = "application/x-holdfast-sync";
const REFUSAL: &str = r#"{"code":"unsupported-media-type","detail":"Send JSON."}"#;

/// What passed the door of a node that knows JSON alone.
#[derive(Debug, Default)]
struct Passed {
    refused: AtomicU64,
    json_pushes: AtomicU64,
    compact_answers: AtomicU64,
}

/// A door before a node that takes and gives no compact form, answering with `status`.
async fn door(url: &str, status: &'static str) -> (String, Arc<Passed>) {
    let target: SocketAddr = url.trim_start_matches("http://").parse().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let passed = Arc::new(Passed::default());
    let counted = Arc::clone(&passed);
    tokio::spawn(async move {
        while let Ok((caller, _)) = listener.accept().await {
            let counted = Arc::clone(&counted);
            tokio::spawn(async move { drop(pass(caller, target, status, &counted).await) });
        }
    });
    (format!("http://{address}"), passed)
}

/// One request and its answer; the connection is closed after it.
async fn pass(mut caller: TcpStream, target: SocketAddr, status: &str, passed: &Passed) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        if caller.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let field = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(of, _)| of.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
    };
    let length: usize = field("content-length").map_or(0, |length| length.parse().unwrap());
    while bytes.len() < head_end + 4 + length {
        if caller.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
    }
    let is_push = head.starts_with("POST /api/replication/push");
    if field("content-type").as_deref() == Some(COMPACT) {
        passed.refused.fetch_add(1, Ordering::Relaxed);
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/problem+json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{REFUSAL}",
            REFUSAL.len()
        );
        return caller.write_all(answer.as_bytes()).await;
    }
    passed.json_pushes.fetch_add(u64::from(is_push), Ordering::Relaxed);
    let kept = head.lines().filter(|line| {
        let name = line.split(':').next().unwrap_or_default();
        !["accept", "connection", "upgrade"].iter().any(|gone| name.eq_ignore_ascii_case(gone))
    });
    let mut asked = kept.collect::<Vec<_>>().join("\r\n");
    asked.push_str("\r\nConnection: close\r\n\r\n");
    let mut node = TcpStream::connect(target).await?;
    node.write_all(asked.as_bytes()).await?;
    node.write_all(&bytes[head_end + 4..]).await?;
    let mut answer = Vec::new();
    node.read_to_end(&mut answer).await?;
    let is_compact = answer.windows(COMPACT.len()).any(|some| some == COMPACT.as_bytes());
    passed.compact_answers.fetch_add(u64::from(is_compact), Ordering::Relaxed);
    caller.write_all(&answer).await
}

async fn a_peer_of_json_is_brought_everything_and_asked_for_everything(status: &'static str) {
    let homes = ["ours", "other"].map(|name| Home::new(name).with("Node:SweepIntervalSeconds", "1"));
    let [ours, other] = homes.each_ref().map(Home::start);
    let (url, passed) = door(&other.url, status).await;
    let lines = |of: &str| -> String {
        let lines: Vec<String> = (0..300).map(|n| json!({"Id": format!("{of}-{n}"), "n": n}).to_string()).collect();
        lines.join("\n")
    };
    ours.client("shop").post("/api/documents/orders/bulk", &lines("ours")).await.expect(200);
    other.client("shop").post("/api/documents/orders/bulk", &lines("other")).await.expect(200);
    register(&ours, "other", &url).await;
    wait_until_equal(&[&ours, &other], "shop").await;
    ours.client("shop").put("/api/documents/orders/later", r#"{"n":1}"#).await.expect(200);
    other.client("shop").put("/api/documents/orders/theirs", r#"{"n":2}"#).await.expect(200);
    wait_until_equal(&[&ours, &other], "shop").await;
    assert_eq!(ours.client("shop").collection("orders").await.len(), 602);
    assert_eq!(passed.refused.load(Ordering::Relaxed), 1, "it is asked once whether it knows the compact form");
    assert!(passed.json_pushes.load(Ordering::Relaxed) >= 2);
    assert_eq!(passed.compact_answers.load(Ordering::Relaxed), 0);
    let told = ours.client("shop").peer_status("other").await.unwrap();
    assert_eq!(told["LastError"], json!(null), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_answers_415_to_the_compact_form_gets_json() {
    a_peer_of_json_is_brought_everything_and_asked_for_everything("415 Unsupported Media Type").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_answers_406_to_the_compact_form_gets_json() {
    a_peer_of_json_is_brought_everything_and_asked_for_everything("406 Not Acceptable").await;
}
