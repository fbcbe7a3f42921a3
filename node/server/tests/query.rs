//! `holdfast query`, run as a user runs it: against a running node, and against answers that no node gives.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::post;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Rows of the long collection: more than a request without lines would answer with.
const PURCHASES: usize = 12_000;

/// What a command did.
#[derive(Debug)]
struct Did {
    code: i32,
    out: String,
    err: String,
}

fn holdfast(room: &Path, arguments: &[&str], typed: &str) -> Did {
    let mut child = Command::new(env!("CARGO_BIN_EXE_holdfast"))
        .current_dir(room)
        .env_remove("HOLDFAST_KEY")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that reads nothing may have ended by now.
    let _ = child.stdin.take().unwrap().write_all(typed.as_bytes());
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Did { code: status.code().unwrap(), out: text(stdout), err: text(stderr) }
}

/// A node with a few documents, stopped when the test ends, however it ends.
struct Node {
    room: TempDir,
    process: Child,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Node {
    fn start() -> Self {
        let room = TempDir::new().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let settings = json!({"Urls": format!("http://127.0.0.1:{port}")}).to_string();
        fs::write(room.path().join("appsettings.json"), settings).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_holdfast"))
            .current_dir(room.path())
            .args(["serve", "--data-dir", "data"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let node = Self { room, process };
        let is_up = |_| {
            std::thread::sleep(std::time::Duration::from_millis(100));
            holdfast(node.room.path(), &["status"], "").code == 0
        };
        assert!((0..300).any(is_up), "the node did not start");
        node
    }

    fn with_goods() -> Self {
        let node = Self::start();
        let goods =
            r"{Id:'1',name:'tea, green',price:3.50,tags:['a','b']}, {Id:'2',name:'',price:null}, {Id:'3',name:'名前'}";
        let did = node.query(&[&format!("INSERT INTO goods VALUES {goods}"), "-d", "shop"]);
        assert_eq!(did.code, 0, "{did:?}");
        assert!(did.out.ends_with("ms\n") && did.out.contains("3 documents written in "), "{did:?}");
        node
    }

    fn query(&self, arguments: &[&str]) -> Did {
        self.typed(arguments, "")
    }

    fn typed(&self, arguments: &[&str], typed: &str) -> Did {
        holdfast(self.room.path(), &[&["query"], arguments].concat(), typed)
    }

    /// Insists on success without a word.
    fn rows(&self, arguments: &[&str]) -> String {
        let did = self.query(arguments);
        assert_eq!((did.code, did.err.as_str()), (0, ""), "{arguments:?}: {did:?}");
        did.out
    }
}

#[test]
fn each_format_shows_the_same_rows() {
    let node = Node::with_goods();
    // Neither address, key nor database is given: they are those of the settings, and the only one there is.
    let all = "SELECT Id, name, price FROM goods ORDER BY Id";
    let table = node.rows(&["SELECT name, price FROM goods ORDER BY Id"]);
    let expected =
        "name        price\n──────────  ─────\ntea, green   3.50\n\"\"          null\n名前        null\n3 rows in ";
    assert!(table.starts_with(expected), "{table}");
    assert!(node.rows(&["SELECT * FROM goods WHERE Id = '3'"]).starts_with("Id  name\n──  ────\n3   名前\n"));
    let lines = node.rows(&[all, "--format", "ndjson"]);
    let rows: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 3);
    assert_eq!(serde_json::from_str::<Value>(&node.rows(&[all, "--format", "json"])).unwrap(), json!(rows));
    let csv = node.rows(&[all, "--format", "csv"]);
    assert_eq!(csv, "Id,name,price\n\"1\",\"tea, green\",3.50\n\"2\",\"\",\n\"3\",名前,\n");
    assert_eq!(node.rows(&["SELECT Id, name FROM goods WHERE 1 = 2", "--format", "csv"]), "Id,name\n");
    assert_eq!(node.rows(&["SELECT Id FROM goods WHERE 1 = 2", "--format", "json"]), "[]\n");
    let plan = node.rows(&["EXPLAIN SELECT Id FROM goods"]);
    assert!(plan.contains("\n└─ ") && !plan.contains('…'), "{plan}");
}

#[test]
fn rows_are_all_there_unless_fewer_are_asked_for() {
    let node = Node::start();
    let mut text = String::from("Id,day,amount\n");
    (0..PURCHASES).for_each(|number| writeln!(text, "p{number},{},{}.5", number % 30, number % 7).unwrap());
    fs::write(node.room.path().join("purchases.csv"), text).unwrap();
    let import = holdfast(node.room.path(), &["import", "purchases.csv", "-d", "shop", "-c", "purchases"], "");
    assert_eq!(import.code, 0, "{import:?}");
    for (format, around) in [("ndjson", 0), ("csv", 1), ("json", 2), ("table", 3)] {
        for order in ["", " ORDER BY amount DESC"] {
            let out = node.rows(&[&format!("SELECT * FROM purchases{order}"), "--format", format]);
            assert_eq!(out.lines().count(), PURCHASES + around, "{format}{order}");
        }
    }
    for order in ["", " ORDER BY amount DESC"] {
        let did = node.query(&[&format!("SELECT * FROM purchases{order}"), "--take", "5", "--format", "ndjson"]);
        assert_eq!((did.code, did.out.lines().count()), (0, 5), "{did:?}");
        assert!(did.err.contains("more rows than --take"), "{did:?}");
    }
    assert_eq!(node.rows(&["SELECT * FROM purchases LIMIT 5", "--format", "ndjson"]).lines().count(), 5);
    let did = node.query(&["DELETE FROM purchases WHERE day = 3", "--take", "30"]);
    assert!(did.out.contains("and 10 more\n30 documents written in "), "{did:?}");
    assert!(did.err.contains("370 documents more match than --take"), "{did:?}");
}

#[test]
fn statements_come_from_the_command_line_a_file_or_a_pipe() {
    let node = Node::with_goods();
    let script = "/* first; the count */\nSELECT COUNT(*) AS n FROM goods;\n\nSELECT name FROM goods WHERE Id = @id;";
    fs::write(node.room.path().join("two.sql"), script).unwrap();
    let expected = "{\"n\":3}\n{\"name\":\"\"}\n";
    let rest = ["--format", "ndjson", "--parameter", "id=\"2\""];
    for (first, typed) in [(vec![script], ""), (vec!["-f", "two.sql"], ""), (vec!["-"], script), (vec![], script)] {
        let did = node.typed(&[first.as_slice(), &rest].concat(), typed);
        assert_eq!((did.code, did.out.as_str(), did.err.as_str()), (0, expected, ""), "{first:?}");
    }
    let did = node.typed(&["--format", "ndjson"], "SELECT 1 AS a;\n\nSELECT 1 FORM x;\nSELECT 2 AS a");
    assert_eq!((did.code, did.out.as_str()), (1, "{\"a\":1}\n"));
    assert!(did.err.starts_with("holdfast: in the statement that begins on line 3: "), "{did:?}");
}

#[test]
fn errors_say_what_the_node_says_and_where() {
    let node = Node::with_goods();
    for (statement, said) in [
        ("SELECT * FORM goods", "Did you mean FROM?\nSELECT * FORM goods\n         ^\n"),
        ("SELECT\n  nofunc(a)\nFROM goods", "at line 2 column 3.\n  nofunc(a)\n  ^\n"),
        ("SELECT 1 / 0", "NULLIF(0, 0)"),
        ("SELECT name FROM goods WHERE Id = @id", "@id"),
    ] {
        let did = node.query(&[statement]);
        assert_eq!((did.code, did.out.as_str()), (1, ""), "{did:?}");
        assert!(did.err.starts_with("holdfast: ") && did.err.contains(said), "{did:?}");
        assert!(!did.err.contains("http://"), "{did:?}");
    }
    for (arguments, code, said) in [
        (["SELECT 1", "-d", "nowhere"].as_slice(), 1, "nowhere"),
        (&["SELECT 1", "--key", "wrong"], 1, "--key"),
        (&["SELECT 1", "--data-dir", "data"], 1, "running node"),
        (&["SELECT 1", "--take", "0"], 2, "--take"),
        (&["SELECT 1", "-p", "17"], 2, "store=17"),
        (&[" ; -- nothing"], 2, "no statement"),
        (&["-f", "nowhere.sql"], 1, "nowhere.sql"),
    ] {
        let did = node.query(arguments);
        assert_eq!(did.code, code, "{arguments:?}: {did:?}");
        assert!(did.err.contains(said), "{arguments:?}: {did:?}");
    }
    let did = node.query(&["INSERT INTO c VALUES {Id: '1'}", "-d", "other"]);
    assert_eq!(did.code, 0, "{did:?}");
    let did = node.query(&["SELECT 1"]);
    assert!(did.code == 1 && did.err.contains("--database: other, shop"), "{did:?}");
}

/// What the command makes of an answer that no node gives.
fn answered(status: StatusCode, kind: &'static str, body: &'static str) -> Did {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let route = post(move || async move { (status, [(CONTENT_TYPE, kind)], body).into_response() });
    let app = Router::new().route("/api/query", route);
    runtime.spawn(async move { axum::serve(listener, app).await });
    let room = TempDir::new().unwrap();
    holdfast(room.path(), &["query", "SELECT 1", "-d", "d", "--format", "ndjson", "--url", &url, "--key", "k"], "")
}

#[test]
fn an_answer_counts_as_whole_only_when_it_says_so() {
    const LINES: &str = "application/x-ndjson";
    let whole = answered(StatusCode::OK, LINES, "{\"a\":1}\n{\"$summary\":{\"ReturnedRows\":1}}\n");
    assert_eq!((whole.code, whole.out.as_str()), (0, "{\"a\":1}\n"), "{whole:?}");
    let alike = "{\"$summary\":{}}\n{\"$error\":1}\n{\"$summary\":{\"ReturnedRows\":2}}";
    let whole = answered(StatusCode::OK, LINES, alike);
    assert_eq!((whole.code, whole.out.as_str()), (0, "{\"$summary\":{}}\n{\"$error\":1}\n"), "{whole:?}");
    for (body, said) in [
        ("{\"a\":1}\n", "broke off"),
        ("", "broke off"),
        (
            "{\"a\":1}\n{\"$error\":{\"code\":\"query-timeout\",\"detail\":\"It took too long.\"}}\n",
            "It took too long.",
        ),
        ("{\"a\":1}\n{\"$summary\":[]}\n", "otherwise than a node"),
        ("{\"a\":1}\n{\"a\":\n", "something else than a node"),
        ("<html>", "something else than a node"),
    ] {
        let did = answered(StatusCode::OK, LINES, body);
        assert!(did.code == 1 && did.err.contains(said), "{body}: {did:?}");
        assert!(body.len() < 20 || did.out == "{\"a\":1}\n", "what came before is shown: {did:?}");
    }
    let proxy = answered(StatusCode::BAD_GATEWAY, "text/html", "<html>\u{1b}[2J");
    assert!(proxy.code == 1 && proxy.err.contains("502") && !proxy.err.contains('\u{1b}'), "{proxy:?}");
    let hostile = answered(StatusCode::BAD_REQUEST, "application/json", "{\"code\":\"x\",\"detail\":\"\u{9b}2Jx\"}");
    assert!(hostile.err.contains("\\u009b2Jx"), "{hostile:?}");
}
