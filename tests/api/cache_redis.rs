//! The cache and a real Redis are told the same, and answer the same.
//!
//! A seed decides which commands: set in all its forms, get, add, touch, delete, several at once, keys by prefix; on few
//! keys, so that each meets what others left. In the first part everything lives for hours. In the second some entries
//! live for a moment, and both are asked well before and well after: a round that took too long to say what had ended by
//! then is thrown away, and the next one has more time.
//!
//! Not compared is what the two mean differently on purpose: Redis knows no JSON, adds whole numbers of 64 bits by one
//! command and binary fractions by another, keeps entries for ever, and tells the value that was there where `nx` found
//! one. Where no `redis-server` is installed, nothing is tested, and that is said.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use holdfast::settings::sections::CacheDurability;
use holdfast_tests::seed::{Seed, worlds};
use serde_json::{Value, json};

use crate::node::{Answer, Node};
use crate::redis::{Redis, Said};

/// Commands of the first part.
const COMMANDS: usize = 1_200;
/// Rounds of the second part that count.
const ROUNDS: usize = 16;
/// Commands of a round before anything ends.
const ROUND_COMMANDS: usize = 8;
/// The shortest life in the first round.
const SHORT: Duration = Duration::from_millis(40);
/// How far from an end both are asked.
const MARGIN: Duration = Duration::from_millis(15);
/// Commands that are told with a difference.
const TOLD: usize = 24;
const HOUR: u64 = 3_600_000;
/// What lives as long is set without a ttl.
const USUAL: u64 = 300_000;

/// Keys of text and whole numbers, and keys of numbers with fractions, to which Redis adds by another command.
const KEYS: [&str; 7] = ["a", "b", "b:1", "cart:ä", "rate:1", "rate:2", "rate:3"];
/// Keys of the second part.
const FEW_KEYS: [&str; 3] = ["a", "b", "rate:1"];
/// What is no number. Of each that is not JSON, what it is in base64.
const TEXTS: [&str; 7] = ["\"7\"", "{\"n\":1,\"of\":[1,2]}", "[]", "null", "true", "\"grün\"", "plain text"];
const IN_BASE64: &str = "cGxhaW4gdGV4dA==";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    Absent,
    Present,
}

/// What both are told.
#[derive(Debug, Clone)]
enum Command {
    Get(&'static str),
    GetMany(Vec<&'static str>),
    Keys(&'static str),
    Set { key: &'static str, value: String, ttl: u64, keeps_end: bool, when: When, wants_value: bool },
    SetMany { keys: Vec<&'static str>, value: String, ttl: u64 },
    Add { key: &'static str, by: String, ttl: u64 },
    Touch { key: &'static str, ttl: u64 },
    Delete { key: &'static str, wants_value: bool },
}

/// What they answer. Ends are told in hours: each answer takes its time.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Reply {
    Entry(Option<(String, u64)>),
    Values(Vec<Option<String>>),
    Keys(Vec<String>),
    /// Written, with the value that was there if it was asked for.
    Written(Option<String>),
    NotWritten,
    Sum(String),
    NotANumber,
    Touched(bool),
}

fn command(seed: &mut Seed, keys: &[&'static str], ttls: &[u64]) -> Command {
    let key = *seed.pick(keys);
    let ttl = *seed.pick(ttls);
    match seed.range(0..100) {
        0..25 => Command::Get(key),
        25..55 => Command::Set {
            key,
            value: value(seed, key),
            ttl,
            keeps_end: seed.chance(25),
            when: *seed.pick(&[When::Always, When::Always, When::Absent, When::Present]),
            wants_value: seed.chance(30),
        },
        55..73 => Command::Add { key, by: number(seed, key), ttl },
        73..83 => Command::Touch { key, ttl },
        83..91 => Command::Delete { key, wants_value: seed.chance(50) },
        91..94 => Command::GetMany((0..seed.range(1..6)).map(|_| *seed.pick(keys)).collect()),
        94..97 => Command::Keys(["", "b", "b:", "rate:", "none"][seed.index(5)]),
        _ => {
            let whole = [*seed.pick(&["a", "b"]), *seed.pick(&["a", "b"])];
            Command::SetMany { keys: whole.to_vec(), value: value(seed, "a").replace(TEXTS[6], "0"), ttl }
        }
    }
}

fn value(seed: &mut Seed, key: &str) -> String {
    if seed.chance(45) { (*seed.pick(&TEXTS)).to_owned() } else { number(seed, key) }
}

/// Halves and quarters are exact in binary too.
fn number(seed: &mut Seed, key: &str) -> String {
    let whole = seed.range(0..2_000_000).cast_signed() - 1_000_000;
    if key.starts_with("rate:") {
        format!("{whole}{}", seed.pick(&["", ".25", ".5", ".75"]))
    } else {
        whole.to_string()
    }
}

/// The cache of a node, and Redis.
struct Pair {
    node: Node,
    scope: &'static str,
    redis: Redis,
    told: VecDeque<String>,
}

impl Pair {
    async fn ask(&mut self, command: &Command) -> (Reply, Reply) {
        let replies = (self.ask_node(command).await, self.ask_redis(command));
        self.told.truncate(TOLD - 1);
        self.told.push_front(format!("{command:?}\n    node:  {:?}\n    Redis: {:?}", replies.0, replies.1));
        replies
    }

    fn compare(&self, (node, redis): (Reply, Reply)) -> Reply {
        assert_eq!(
            node,
            redis,
            "they differ; commands, the newest first:\n{}",
            Vec::from(self.told.clone()).join("\n")
        );
        node
    }

    async fn both(&mut self, command: &Command) -> Reply {
        let replies = self.ask(command).await;
        self.compare(replies)
    }

    async fn forget(&mut self, keys: &[&'static str]) {
        for key in keys {
            self.ask(&Command::Delete { key, wants_value: false }).await;
        }
    }

    async fn send(&self, method: &str, path: &str, parameters: &str, body: &str) -> Answer {
        let path = format!("/api/cache{path}?scope={}{parameters}", self.scope);
        let question = self.node.ask(method, &path);
        let question = if body == TEXTS[6] { question.header("content-type", "text/plain") } else { question };
        question.body(body.to_owned()).send().await
    }

    async fn ask_node(&self, command: &Command) -> Reply {
        match command {
            Command::Get(key) => {
                let answer = self.send("GET", &format!("/{key}"), "", "").await;
                if answer.status.as_u16() == 404 {
                    answer.problem(404, "cache-miss");
                    return Reply::Entry(None);
                }
                assert_eq!(answer.status.as_u16(), 200, "{}", answer.text);
                let left = answer.header("cache-remaining-ttl").to_owned();
                Reply::Entry(Some(if left.is_empty() {
                    let entry = answer.json();
                    (entry["Value"].to_string(), in_hours(entry["RemainingTtl"].as_str().unwrap()))
                } else {
                    (answer.text, in_hours(&left))
                }))
            }
            Command::GetMany(keys) => {
                let body = json!({"Keys": keys, "Scope": self.scope}).to_string();
                let found = self.node.post("/api/cache", body).await.expect(200);
                let entries = found["Entries"].as_array().unwrap().iter();
                Reply::Values(entries.map(|entry| (!entry.is_null()).then(|| shown(&entry["Value"]))).collect())
            }
            Command::Keys(prefix) => Reply::Keys(self.keys_of_node(prefix).await),
            Command::Set { key, value, ttl, keeps_end, when, wants_value } => {
                let condition = match when {
                    When::Always => "",
                    When::Absent => "&nx=true",
                    When::Present => "&xx=true",
                };
                let ttl = if *ttl == USUAL { String::new() } else { format!("&ttl={ttl}ms") };
                let parameters = format!("{ttl}&keepTtl={keeps_end}&get={wants_value}{condition}");
                let answer = self.send("PUT", &format!("/{key}"), &parameters, value).await;
                match (when, answer.status.as_u16()) {
                    (When::Absent, 409) => answer.problem(409, "cache-key-exists"),
                    (When::Present, 404) => answer.problem(404, "cache-miss"),
                    _ => return written(&answer, *wants_value),
                };
                Reply::NotWritten
            }
            Command::SetMany { keys, value, ttl } => {
                let value: Value = serde_json::from_str(value).unwrap();
                let entries: Vec<Value> = keys.iter().map(|key| json!({"Key": key, "Value": value})).collect();
                let body = json!({"Entries": entries, "Ttl": format!("{ttl}ms"), "Scope": self.scope}).to_string();
                let answer = self.node.put("/api/cache", body).await.expect(200);
                assert_eq!(answer["WrittenCount"], keys.len(), "{answer}");
                Reply::Written(None)
            }
            Command::Add { key, by, ttl } => {
                let answer =
                    self.send("POST", &format!("/{key}/increment"), &format!("&by={by}&ttl={ttl}ms"), "").await;
                if answer.status.as_u16() == 409 {
                    answer.problem(409, "not-a-number");
                    return Reply::NotANumber;
                }
                Reply::Sum(answer.expect(200)["Value"].to_string())
            }
            Command::Touch { key, ttl } => {
                let answer = self.send("POST", &format!("/{key}/touch"), &format!("&ttl={ttl}ms"), "").await;
                if answer.status.as_u16() == 404 {
                    answer.problem(404, "cache-miss");
                    return Reply::Touched(false);
                }
                answer.expect(200);
                Reply::Touched(true)
            }
            Command::Delete { key, wants_value } => {
                let answer = self.send("DELETE", &format!("/{key}"), &format!("&get={wants_value}"), "").await;
                written(&answer, *wants_value)
            }
        }
    }

    /// All keys with a prefix, two at a time.
    async fn keys_of_node(&self, prefix: &str) -> Vec<String> {
        let mut keys = Vec::new();
        let mut after = String::new();
        loop {
            let page = self.send("GET", "", &format!("&prefix={prefix}&limit=2{after}"), "").await.expect(200);
            let entries = page["Entries"].as_array().unwrap();
            keys.extend(entries.iter().map(|entry| entry["Key"].as_str().unwrap().to_owned()));
            let Some(next) = page["Next"].as_str() else { return keys };
            after = format!("&after={next}");
        }
    }

    fn ask_redis(&mut self, command: &Command) -> Reply {
        let redis = &mut self.redis;
        match command {
            Command::Get(key) => {
                let value = text(redis.ask(&["GET", key]));
                let left = number_of(redis.ask(&["PTTL", key]));
                Reply::Entry(value.map(|value| (value, in_hours(&format!("{left}ms")))))
            }
            Command::GetMany(keys) => {
                let words: Vec<&str> = std::iter::once("MGET").chain(keys.iter().copied()).collect();
                Reply::Values(many(redis.ask(&words)).into_iter().map(text).collect())
            }
            Command::Keys(prefix) => {
                let keys = many(redis.ask(&["KEYS", &format!("{prefix}*")]));
                let mut keys: Vec<String> = keys.into_iter().filter_map(text).collect();
                keys.sort();
                Reply::Keys(keys)
            }
            Command::Set { key, value, ttl, keeps_end, when, wants_value } => {
                let ttl = ttl.to_string();
                let mut words = vec!["SET", key, value.as_str()];
                words.extend(if *keeps_end { vec!["KEEPTTL"] } else { vec!["PX", &ttl] });
                words.extend(match when {
                    When::Always => None,
                    When::Absent => Some("NX"),
                    When::Present => Some("XX"),
                });
                words.extend(wants_value.then_some("GET"));
                let said = redis.ask(&words);
                if *keeps_end {
                    // One that was not there lives for ever so far.
                    redis.ask(&["PEXPIRE", key, &ttl, "NX"]);
                }
                if !wants_value {
                    return if said == Said::Text(None) { Reply::NotWritten } else { Reply::Written(None) };
                }
                let found = text(said);
                let is_written = match when {
                    When::Always => true,
                    When::Absent => found.is_none(),
                    When::Present => found.is_some(),
                };
                if is_written { Reply::Written(before(found)) } else { Reply::NotWritten }
            }
            Command::SetMany { keys, value, ttl } => {
                for key in keys {
                    assert_eq!(redis.ask(&["SET", key, value, "PX", &ttl.to_string()]), Said::Word("OK".to_owned()));
                }
                Reply::Written(None)
            }
            Command::Add { key, by, ttl } => {
                let word = if key.starts_with("rate:") { "INCRBYFLOAT" } else { "INCRBY" };
                let sum = match redis.ask(&[word, key, by]) {
                    Said::Number(sum) => sum.to_string(),
                    Said::Text(Some(sum)) => sum,
                    Said::Error(error) if error.contains("not a") => return Reply::NotANumber,
                    other => panic!("{command:?}: {other:?}"),
                };
                redis.ask(&["PEXPIRE", key, &ttl.to_string(), "NX"]);
                Reply::Sum(sum)
            }
            Command::Touch { key, ttl } => {
                Reply::Touched(redis.ask(&["PEXPIRE", key, &ttl.to_string()]) == Said::Number(1))
            }
            Command::Delete { key, wants_value: true } => Reply::Written(before(text(redis.ask(&["GETDEL", key])))),
            Command::Delete { key, wants_value: false } => {
                number_of(redis.ask(&["DEL", key]));
                Reply::Written(None)
            }
        }
    }
}

fn written(answer: &Answer, wants_value: bool) -> Reply {
    let answer = answer.expect(200);
    Reply::Written(wants_value.then(|| shown(&answer["Previous"])).and_then(|value| before(Some(value))))
}

/// A value that was there before; the node says null for none as for a null.
fn before(value: Option<String>) -> Option<String> {
    value.filter(|value| value != "null")
}

/// A value in an answer about several, where what is no JSON is base64.
fn shown(value: &Value) -> String {
    if *value == IN_BASE64 { TEXTS[6].to_owned() } else { value.to_string() }
}

/// A span in milliseconds, to the nearest hour.
fn in_hours(left: &str) -> u64 {
    let left: u64 = left.strip_suffix("ms").unwrap().parse().unwrap();
    (left + HOUR / 2) / HOUR
}

fn text(said: Said) -> Option<String> {
    if let Said::Text(text) = said { text } else { panic!("text was expected: {said:?}") }
}

fn number_of(said: Said) -> i64 {
    if let Said::Number(number) = said { number } else { panic!("a number was expected: {said:?}") }
}

fn many(said: Said) -> Vec<Said> {
    if let Said::Many(many) = said { many } else { panic!("several were expected: {said:?}") }
}

/// Runs a test in worlds of a node and a Redis each; nothing where there is no Redis.
fn in_pairs(test: &str, count: u64, play: impl AsyncFn(&mut Pair, Seed)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    worlds(test, count, |mut seed| {
        let Some(redis) = Redis::start() else {
            eprintln!("skipped: redis-server is not installed");
            return;
        };
        runtime.block_on(async {
            let node = Node::start_with(Vec::new(), |settings| {
                settings.node.cache_durability = CacheDurability::Relaxed;
            });
            let scope = *seed.pick(&["shared", "shared", "local"]);
            let mut pair = Pair { node: node.await, scope, redis, told: VecDeque::new() };
            // A node has a database once something was written.
            pair.node.put("/api/documents/notes/1", "{}").await.expect(200);
            play(&mut pair, seed).await;
        });
    });
}

#[test]
fn generated_commands_are_answered_as_redis_answers_them() {
    in_pairs("generated_commands_are_answered_as_redis_answers_them", 3, async |pair, mut seed| {
        for _ in 0..COMMANDS {
            let command = command(&mut seed, &KEYS, &[USUAL, HOUR, 2 * HOUR, 5 * HOUR, 24 * HOUR]);
            pair.both(&command).await;
        }
    });
}

#[test]
fn what_has_ended_is_to_each_command_as_if_it_had_never_been() {
    in_pairs("what_has_ended_is_to_each_command_as_if_it_had_never_been", 3, async |pair, mut seed| {
        let mut short = SHORT;
        let mut rounds = 0;
        // How many entries had ended after a round, and how many had not.
        let (mut ended, mut alive) = (0, 0);
        while rounds < ROUNDS {
            let span = u64::try_from(short.as_millis()).unwrap();
            let ttls = [span, 2 * span, span + span / 2, HOUR, 2 * HOUR];
            let began = Instant::now();
            let mut replies = Vec::new();
            for _ in 0..ROUND_COMMANDS {
                replies.push(pair.ask(&command(&mut seed, &FEW_KEYS, &ttls)).await);
            }
            if began.elapsed() + MARGIN < short {
                for replies in replies {
                    pair.compare(replies);
                }
                tokio::time::sleep(2 * short + MARGIN).await;
                for key in FEW_KEYS {
                    match pair.both(&Command::Get(key)).await {
                        Reply::Entry(None) => ended += 1,
                        _ => alive += 1,
                    }
                }
                for _ in 0..ROUND_COMMANDS {
                    pair.both(&command(&mut seed, &FEW_KEYS, &[HOUR, 2 * HOUR])).await;
                }
                rounds += 1;
            } else {
                short *= 2;
            }
            pair.forget(&FEW_KEYS).await;
        }
        assert!(ended >= ROUNDS / 2 && alive >= ROUNDS / 2, "{ended} entries had ended, {alive} had not");
    });
}
