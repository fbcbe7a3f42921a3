//! The commands that move documents and look after files, run as a user runs them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Runs the program in a directory without settings; answers with exit code, standard output, standard error.
fn holdfast(directory: &Path, arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_holdfast"))
        .current_dir(directory)
        .env_remove("HOLDFAST_KEY")
        .env_remove("RUST_BACKTRACE")
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// Runs the program and insists on success; answers with standard output.
fn done(directory: &Path, arguments: &[&str]) -> String {
    let (code, stdout, stderr) = holdfast(directory, arguments);
    assert_eq!(code, 0, "{arguments:?}: {stdout}{stderr}");
    stdout
}

/// Every purchase of some customers, a few of them twice to the same day and amount.
fn purchases(directory: &Path) -> PathBuf {
    let mut text = String::from("customer_id,date,quantity,amount\r\n");
    for number in 0..3_000 {
        let (customer, day) = (number / 4, number % 3 + 1);
        write!(text, "{customer:05},1997-01-{day:02},{},{}.50\r\n", number % 7, number % 5).unwrap();
    }
    let path = directory.join("purchases.csv");
    fs::write(&path, text).unwrap();
    path
}

fn exported(directory: &Path, data: &str, collection: &str) -> Vec<Value> {
    let text = done(directory, &["export", "-d", "shop", "-c", collection, "--data-dir", data]);
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn an_import_can_be_repeated_without_duplicates() {
    let room = TempDir::new().unwrap();
    let file = purchases(room.path());
    let import = ["import", file.to_str().unwrap(), "-d", "shop", "-c", "purchases", "--data-dir", "data"];
    assert!(done(room.path(), &import).starts_with("3,000 rows: 3,000 written, 0 bad"));
    assert!(done(room.path(), &import).starts_with("3,000 rows: 0 written, 3,000 there already, 0 bad"));
    let documents = exported(room.path(), "data", "purchases");
    assert_eq!(documents.len(), 3_000);
    assert!(documents.iter().all(|document| document["customer_id"].is_string() && document["amount"].is_number()));
}

#[test]
fn an_export_imported_elsewhere_is_equal() {
    let room = TempDir::new().unwrap();
    let file = purchases(room.path());
    done(room.path(), &["import", file.to_str().unwrap(), "-d", "shop", "-c", "p", "--data-dir", "data"]);
    let documents = exported(room.path(), "data", "p");
    for name in ["out.csv", "out.tsv", "out.json", "out.ndjson"] {
        done(room.path(), &["export", "-d", "shop", "-c", "p", "--data-dir", "data", "-o", name]);
        done(room.path(), &["import", name, "-d", "shop", "-c", "p", "--data-dir", name.trim_start_matches("out.")]);
        assert_eq!(exported(room.path(), name.trim_start_matches("out."), "p"), documents, "{name}");
    }
    assert!(!room.path().join("out.csv.partial").exists());
}

#[test]
fn bad_rows_are_named_and_the_rest_goes_on_unless_it_is_strict() {
    let room = TempDir::new().unwrap();
    fs::write(room.path().join("a.ndjson"), "{\"Id\":\"1\"}\n{\"Id\":\"2\",}\n\n{\"Id\":\"3\"}\n[]\n").unwrap();
    let import = ["import", "a.ndjson", "-d", "shop", "-c", "things", "--data-dir", "data", "--errors", "bad.txt"];
    let (code, stdout, stderr) = holdfast(room.path(), &import);
    assert_eq!(code, 1, "{stdout}{stderr}");
    assert!(stdout.starts_with("4 rows: 2 written, 2 bad"), "{stdout}");
    assert!(stderr.contains("line 2: ") && stderr.contains("line 5: "), "{stderr}");
    assert_eq!(fs::read_to_string(room.path().join("bad.txt")).unwrap().lines().count(), 2);

    let strict = ["import", "a.ndjson", "-d", "shop", "-c", "others", "--data-dir", "data", "--strict"];
    let (code, stdout, stderr) = holdfast(room.path(), &strict);
    assert_eq!(code, 1);
    assert!(stdout.starts_with("2 rows: 1 written, 1 bad"), "{stdout}");
    assert!(stderr.contains("--strict"), "{stderr}");
    assert_eq!(exported(room.path(), "data", "others").len(), 1);
}

#[test]
fn mistakes_on_the_command_line_say_what_to_write() {
    let room = TempDir::new().unwrap();
    fs::write(room.path().join("rows"), "a\n1\n").unwrap();
    let place = ["-d", "shop", "-c", "things", "--data-dir", "data"];
    for (arguments, code, said) in [
        (["import", "rows"].as_slice(), 2, "--format"),
        (&["import", "nowhere.csv"], 1, "nowhere.csv"),
        (&["import", "rows", "--format", "csv", "--id-field", "a..b"], 2, "column"),
        (&["import", "rows", "--format", "csv", "--batch", "0"], 2, "1 to 10000"),
        (&["export", "--columns", "a"], 2, "--format csv"),
    ] {
        let (actual, _, stderr) = holdfast(room.path(), &[arguments, &place].concat());
        assert_eq!(actual, code, "{arguments:?}: {stderr}");
        assert!(stderr.contains(said), "{arguments:?}: {stderr}");
    }
    let (code, _, stderr) = holdfast(room.path(), &["import", "rows", "--format", "csv", "-d", "shop", "-c", "cache"]);
    assert!(code == 2 && stderr.contains("reserved"), "{stderr}");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let settings = json!({"Urls": format!("http://127.0.0.1:{free}")}).to_string();
    fs::write(room.path().join("appsettings.json"), settings).unwrap();
    for command in [["import", "rows", "--format", "csv", "-d", "shop", "-c", "t"].as_slice(), &["status"]] {
        let (code, _, stderr) = holdfast(room.path(), command);
        assert!(code == 1 && stderr.contains("holdfast serve") && stderr.contains("--data-dir"), "{stderr}");
    }
}

#[test]
fn a_directory_keeps_the_name_of_its_node() {
    let room = TempDir::new().unwrap();
    fs::write(room.path().join("rows.csv"), "Id\nx\n").unwrap();
    let import = |data: &str| {
        done(room.path(), &["import", "rows.csv", "-d", "shop", "-c", "things", "--data-dir", data]);
        fs::read_to_string(room.path().join(data).join("node.json")).unwrap()
    };
    let before = import("data");
    fs::write(room.path().join("appsettings.json"), json!({"Node": {"NodeId": "till-9"}}).to_string()).unwrap();
    assert_eq!(import("data"), before);
    assert!(import("other").contains("till-9"));
    done(room.path(), &["verify", "--data-dir", "data"]);
    assert_eq!(import("data"), before);
}

#[test]
fn a_damaged_data_file_is_found_and_made_again_from_the_log() {
    let room = TempDir::new().unwrap();
    let file = purchases(room.path());
    done(room.path(), &["import", file.to_str().unwrap(), "-d", "shop", "-c", "p", "--data-dir", "data"]);
    let documents = exported(room.path(), "data", "p");
    assert!(done(room.path(), &["verify", "--data-dir", "data"]).contains("shop: sound; 3,000 operations"));
    assert!(done(room.path(), &["compact", "--data-dir", "data", "-d", "shop"]).contains(" before, "));
    assert!(done(room.path(), &["verify", "--data-dir", "data"]).contains("shop: sound"));

    // The third byte of every page but the first few is turned over.
    let path = room.path().join("data/shop.db");
    let mut bytes = fs::read(&path).unwrap();
    for page in bytes.chunks_mut(4_096).skip(2) {
        page[2] ^= 0xff;
    }
    fs::write(&path, &bytes).unwrap();
    let (code, stdout, _) = holdfast(room.path(), &["verify", "--data-dir", "data"]);
    assert!(code == 1 && stdout.contains("THE DATA DOES NOT HOLD") && stdout.contains("--repair-data"), "{stdout}");

    let stdout = done(room.path(), &["verify", "--data-dir", "data", "--repair-data"]);
    assert!(stdout.contains("shop: sound; 3,000 operations"), "{stdout}");
    assert_eq!(exported(room.path(), "data", "p"), documents);
    let names = fs::read_dir(room.path().join("data")).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.filter(|name| name.to_string_lossy().starts_with("shop.db.damaged-")).count(), 1);
}

#[test]
fn a_file_that_makes_the_store_panic_fills_no_screen() {
    let room = TempDir::new().unwrap();
    let file = purchases(room.path());
    done(room.path(), &["import", file.to_str().unwrap(), "-d", "shop", "-c", "p", "--data-dir", "data"]);
    let path = room.path().join("data/shop.db");
    let mut bytes = fs::read(&path).unwrap();
    for page in bytes.chunks_mut(4_096).skip(2) {
        page[..64].fill(0xff);
    }
    fs::write(&path, &bytes).unwrap();
    let (code, _, stderr) = holdfast(room.path(), &["export", "-d", "shop", "-c", "p", "--data-dir", "data"]);
    assert_ne!(code, 0, "{stderr}");
    assert!(stderr.lines().count() <= 4 && !stderr.contains("backtrace"), "{stderr}");
}

#[test]
fn a_damaged_log_is_reported_and_left_as_it_is() {
    let room = TempDir::new().unwrap();
    let file = purchases(room.path());
    done(room.path(), &["import", file.to_str().unwrap(), "-d", "shop", "-c", "p", "--data-dir", "data"]);
    fs::write(room.path().join("whole.ndjson"), "{\"Id\":\"a\"}").unwrap();
    done(room.path(), &["import", "whole.ndjson", "-d", "other", "-c", "p", "--data-dir", "data"]);
    let path = room.path().join("data/shop.db.metadata");
    let mut bytes = fs::read(&path).unwrap();
    for page in bytes.chunks_mut(4_096).skip(2) {
        page[2] ^= 0xff;
    }
    fs::write(&path, &bytes).unwrap();
    let (code, stdout, _) = holdfast(room.path(), &["verify", "--data-dir", "data", "--repair-data"]);
    assert_eq!(code, 1);
    assert!(stdout.contains("shop: THE LOG IS DAMAGED") && stdout.contains("backup"), "{stdout}");
    assert!(stdout.contains("other: sound"), "{stdout}");
    assert!(stdout.contains("delete neither") && !stdout.contains("remove"), "{stdout}");
    assert!(room.path().join("data/shop.db").exists());
}

#[test]
fn files_that_cannot_be_opened_are_not_called_damaged() {
    let room = TempDir::new().unwrap();
    fs::write(room.path().join("row.ndjson"), "{\"Id\":\"a\"}").unwrap();
    done(room.path(), &["import", "row.ndjson", "-d", "shop", "-c", "p", "--data-dir", "data"]);
    // A directory in the place of a file: no user may write to it, not even root.
    for file in ["data/shop.db.metadata", "data/shop.db"] {
        let (path, aside) = (room.path().join(file), room.path().join("aside"));
        fs::rename(&path, &aside).unwrap();
        fs::create_dir(&path).unwrap();
        let (code, stdout, _) = holdfast(room.path(), &["verify", "--data-dir", "data", "--repair-data"]);
        assert!(code == 1 && stdout.contains("shop: could not check: "), "{stdout}");
        assert!(!stdout.contains("DAMAGED") && !stdout.contains("DOES NOT HOLD"), "{stdout}");
        fs::remove_dir(&path).unwrap();
        fs::rename(&aside, &path).unwrap();
    }
    assert!(done(room.path(), &["verify", "--data-dir", "data"]).contains("shop: sound"));
}

#[test]
fn a_directory_that_no_node_has_used_is_left_as_it_is() {
    let room = TempDir::new().unwrap();
    fs::create_dir(room.path().join("photos")).unwrap();
    for command in ["verify", "compact"] {
        let (code, _, stderr) = holdfast(room.path(), &[command, "--data-dir", "photos"]);
        assert!(code == 1 && stderr.contains("is not the data directory of a node"), "{stderr}");
        assert_eq!(fs::read_dir(room.path().join("photos")).unwrap().count(), 0, "{command} left something behind");
    }
}

#[test]
fn verifying_one_database_answers_for_that_one_alone() {
    let room = TempDir::new().unwrap();
    fs::write(room.path().join("row.ndjson"), "{\"Id\":\"a\"}").unwrap();
    for database in ["shop", "other"] {
        done(room.path(), &["import", "row.ndjson", "-d", database, "-c", "p", "--data-dir", "data"]);
    }
    fs::write(room.path().join("data/lonely.db"), "x").unwrap();
    fs::write(room.path().join("data/other.db"), [7; 5_000]).unwrap();
    done(room.path(), &["verify", "--data-dir", "data", "--database", "shop", "--repair-data"]);
    let (code, stdout, _) = holdfast(room.path(), &["verify", "--data-dir", "data"]);
    assert!(code == 1 && stdout.contains("lonely") && stdout.contains("other: THE DATA"), "{stdout}");
}

#[test]
fn data_that_knows_more_than_the_log_is_not_thrown_away() {
    let room = TempDir::new().unwrap();
    let log = room.path().join("data/shop.db.metadata");
    for (id, log_before) in [("a", None), ("b", Some("early"))] {
        fs::write(room.path().join("row.ndjson"), format!("{{\"Id\":\"{id}\"}}")).unwrap();
        if let Some(early) = log_before {
            fs::copy(&log, room.path().join(early)).unwrap();
        }
        done(room.path(), &["import", "row.ndjson", "-d", "shop", "-c", "p", "--data-dir", "data"]);
    }
    fs::copy(room.path().join("early"), &log).unwrap();
    let (code, stdout, _) = holdfast(room.path(), &["verify", "--data-dir", "data", "--repair-data"]);
    assert!(code == 1 && stdout.contains("THE LOG IS DAMAGED") && stdout.contains("log ends at 1"), "{stdout}");
    let names = fs::read_dir(room.path().join("data")).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.filter(|name| name.to_string_lossy().contains("damaged")).count(), 0);
}

/// A stand-in that answers as a node does, and is busy at first.
#[derive(Clone, Default)]
struct StandIn {
    documents: Arc<Mutex<BTreeMap<String, Value>>>,
    asked: Arc<Mutex<u32>>,
}

async fn bulk(State(node): State<StandIn>, headers: HeaderMap, body: String) -> Response {
    assert_eq!(headers["database"], "shop");
    assert_eq!(headers["content-type"], "application/x-ndjson");
    if headers["apikey"] != "secret" {
        return (StatusCode::UNAUTHORIZED, json!({"detail": "ApiKey is not known."}).to_string()).into_response();
    }
    let mut asked = node.asked.lock().unwrap();
    *asked += 1;
    if *asked == 1 {
        return (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "0")], "").into_response();
    }
    let mut results = Vec::new();
    let mut documents = node.documents.lock().unwrap();
    for (index, line) in body.lines().enumerate() {
        let document: Value = serde_json::from_str(line).unwrap();
        let id = document["Id"].as_str().unwrap().to_owned();
        if id == "refused" {
            results.push(json!({"Index": index, "Line": index + 1, "Id": id, "Status": 422, "Error": "not this one"}));
        } else {
            documents.insert(id, document);
        }
    }
    let (total, failed) = (body.lines().count(), results.len());
    let answer = json!({"Total": total, "Succeeded": total - failed, "Failed": failed, "Results": results});
    answer.to_string().into_response()
}

async fn list(State(node): State<StandIn>, Query(query): Query<BTreeMap<String, String>>) -> String {
    let documents = node.documents.lock().unwrap();
    let after = query.get("after").cloned().unwrap_or_default();
    let page: Vec<&Value> = documents.iter().filter(|(id, _)| **id > after).map(|(_, value)| value).take(7).collect();
    let next = if page.len() == 7 { page[6]["Id"].clone() } else { Value::Null };
    json!({"Documents": page, "Next": next}).to_string()
}

#[test]
fn documents_go_through_a_running_node_and_come_back() {
    let room = TempDir::new().unwrap();
    let node = StandIn::default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let routes = Router::new()
        .route("/api/documents/{c}/bulk", post(bulk))
        .route("/api/documents/{c}", get(list))
        .with_state(node.clone());
    runtime.spawn(async move { axum::serve(listener, routes).await });

    let mut text = String::from("Id,n\n");
    for number in 0..60 {
        writeln!(text, "id-{},{number}", number % 20).unwrap();
    }
    text.push_str("refused,1\n");
    fs::write(room.path().join("rows.csv"), text).unwrap();
    let to = ["-d", "shop", "-c", "things", "--url", &url];
    let import = [["import", "rows.csv", "--batch", "9"].as_slice(), &to].concat();

    let (code, _, stderr) = holdfast(room.path(), &[import.as_slice(), &["--key", "wrong"]].concat());
    assert!(code == 1 && stderr.contains("ApiKey is not known. Give it with --key"), "{stderr}");
    let (code, _, stderr) = holdfast(room.path(), &import);
    assert!(code == 1 && stderr.contains("no key for"), "{stderr}");

    let (code, stdout, stderr) = holdfast(room.path(), &[import.as_slice(), &["--key", "secret"]].concat());
    assert!(code == 1 && stdout.starts_with("61 rows: 60 written, 1 bad"), "{stdout}{stderr}");
    assert!(stderr.contains("line 62: not this one"), "{stderr}");
    let documents = node.documents.lock().unwrap().clone();
    assert_eq!(documents.len(), 20);
    for (id, document) in &documents {
        let number: u64 = id.trim_start_matches("id-").parse().unwrap();
        assert_eq!(document["n"].as_u64(), Some(number + 40), "the last row of {id} wins");
    }
    let export = [["export", "--key", "secret"].as_slice(), &to].concat();
    let lines: Vec<Value> =
        done(room.path(), &export).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, documents.into_values().collect::<Vec<_>>());
}

/// Runs an export from a stand-in whose every answer is this one; answers as [`holdfast`] does.
fn export_from(status: StatusCode, answer: &Value) -> (i32, String, String) {
    let room = TempDir::new().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let text = answer.to_string();
    let routes = Router::new().fallback(move || {
        let answer = (status, text.clone());
        async move { answer }
    });
    runtime.spawn(async move { axum::serve(listener, routes).await });
    holdfast(room.path(), &["export", "-d", "shop", "-c", "p", "--key", "k", "--url", &url])
}

#[test]
fn damage_at_the_node_ends_an_export_at_once_and_being_busy_is_told() {
    let started = std::time::Instant::now();
    for code in ["storage-failed", "database-quarantined"] {
        let answer = json!({"code": code, "detail": "document p/1 is damaged"});
        let (exit, _, stderr) = export_from(StatusCode::SERVICE_UNAVAILABLE, &answer);
        assert!(exit == 1 && stderr.contains("document p/1 is damaged"), "{stderr}");
        assert!(!stderr.contains("trying again"), "{stderr}");
    }
    assert!(started.elapsed().as_secs() < 10, "it was tried again");
    let answer = json!({"code": "busy", "detail": "too much to do"});
    let (exit, _, stderr) = export_from(StatusCode::SERVICE_UNAVAILABLE, &answer);
    assert!(exit == 1 && stderr.contains("too much to do; trying again"), "{stderr}");
    assert!(started.elapsed().as_secs() < 40, "{:?}", started.elapsed());
}

/// A node that is stopped when the test ends, however it ends.
struct RunningNode(std::process::Child);

impl Drop for RunningNode {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_real_node_takes_and_gives_the_same_documents_as_its_directory() {
    let room = TempDir::new().unwrap();
    let file = purchases(room.path());
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    fs::write(room.path().join("appsettings.json"), json!({"Urls": url}).to_string()).unwrap();
    let serve = Command::new(env!("CARGO_BIN_EXE_holdfast"))
        .current_dir(room.path())
        .args(["serve", "--data-dir", "data"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let node = RunningNode(serve);
    let is_up = |_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        holdfast(room.path(), &["status"]).0 == 0
    };
    assert!((0..300).any(is_up), "the node did not start");

    // Neither address nor key is given: both are those of the settings.
    let import = ["import", file.to_str().unwrap(), "-d", "shop", "-c", "p"];
    for _ in 0..2 {
        assert!(done(room.path(), &import).starts_with("3,000 rows: 3,000 written, 0 bad"));
    }
    let text = done(room.path(), &["export", "-d", "shop", "-c", "p"]);
    let documents: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(documents.len(), 3_000);
    let status = done(room.path(), &["status"]);
    assert!(status.contains("shop") && status.contains("3000") && !status.contains("not known"), "{status}");
    let direct = [import.as_slice(), &["--data-dir", "data"]].concat();
    let (code, _, stderr) = holdfast(room.path(), &direct);
    assert!(code == 1 && stderr.contains("in use by"), "{stderr}");

    drop(node);
    assert!(done(room.path(), &direct).starts_with("3,000 rows: 0 written, 3,000 there already"));
    assert_eq!(exported(room.path(), "data", "p"), documents);
    assert!(done(room.path(), &["verify", "--data-dir", "data"]).contains("shop: sound; 6,000 operations"));
}

#[test]
fn real_files_come_in_whole_and_once() {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let (purchases, movies) = (beside.join("cdnow-purchases.csv"), beside.join("movies.json"));
    if !purchases.exists() || !movies.exists() {
        eprintln!("skipped: {} is not there", beside.display());
        return;
    }
    let room = TempDir::new().unwrap();
    for said in ["69,659 written, 0 bad", "0 written, 69,659 there already, 0 bad"] {
        let import = ["import", purchases.to_str().unwrap(), "-d", "shop", "-c", "purchases", "--data-dir", "data"];
        let stdout = done(room.path(), &import);
        assert!(stdout.contains(said), "{stdout}");
    }
    done(room.path(), &["import", movies.to_str().unwrap(), "-d", "shop", "-c", "movies", "--data-dir", "data"]);
    assert_eq!(exported(room.path(), "data", "purchases").len(), 69_659);
    assert_eq!(exported(room.path(), "data", "movies").len(), 3_201);
    assert!(done(room.path(), &["verify", "--data-dir", "data"]).contains("shop: sound; 72,860 operations"));
}
