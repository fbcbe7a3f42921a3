//! Whoever says something wrong to the replication port is told why, and so is the operator; nothing is changed by it.

use holdfast_core::replica::frame::{HEADER_BYTES, Header, Kind, header};
use holdfast_core::replica::handshake::{
    Challenge, Hello, PROTOCOL, PROTOCOL_OLDEST, Proof, Purpose, Refused, Side, Transcript, Welcome,
};
use holdfast_core::replica::message::{Control, ControlAnswer, OfDatabase, PositionAt, read, write};
use holdfast_core::replica::role::Rank;
use holdfast_tests::cluster::{Home, SOON, wait_for};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::collections::BTreeMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::replicas::{SECRET, ask, follower, free_port, group, leader, port_of, put, run, until, until_following};

/// Somebody who speaks frames.
struct Stranger(TcpStream);

impl Stranger {
    async fn dial(port: &str) -> Self {
        Self(TcpStream::connect(format!("127.0.0.1:{port}")).await.unwrap())
    }

    async fn send(&mut self, kind: Kind, message: &impl Serialize) -> Vec<u8> {
        let payload = write(message);
        self.send_bytes(&[&header(kind, 1, &payload).unwrap()[..], &payload].concat()).await;
        payload
    }

    /// What cannot be sent any more, because the other side has gone, is no error of the test.
    async fn send_bytes(&mut self, bytes: &[u8]) {
        drop(self.0.write_all(bytes).await);
    }

    async fn hear(&mut self) -> (Kind, Vec<u8>) {
        let hearing = async {
            let mut head = [0; HEADER_BYTES];
            self.0.read_exact(&mut head).await.unwrap();
            let head = Header::read(&head, true).unwrap();
            let mut payload = vec![0; head.length];
            self.0.read_exact(&mut payload).await.unwrap();
            (head.kind, payload)
        };
        timeout(SOON, hearing).await.expect("an answer in time")
    }

    async fn hears<T: DeserializeOwned>(&mut self, kind: Kind) -> T {
        loop {
            let (heard, payload) = self.hear().await;
            if heard == kind {
                return read(&payload).unwrap();
            }
            assert!(!matches!(heard, Kind::Refused), "{}", String::from_utf8_lossy(&payload));
        }
    }

    /// The reason that it is told.
    async fn refused(&mut self) -> Refused {
        loop {
            let (kind, payload) = self.hear().await;
            if kind == Kind::Refused {
                return read(&payload).unwrap();
            }
        }
    }

    /// Proves that it knows the secret.
    async fn proven(port: &str, hello: &Hello) -> Self {
        let mut stranger = Self::dial(port).await;
        let hello = stranger.send(Kind::Hello, hello).await;
        let (kind, challenge) = stranger.hear().await;
        assert_eq!(kind, Kind::Challenge);
        read::<Challenge>(&challenge).unwrap();
        let proof = Transcript::new(&hello, &challenge).proof(SECRET.as_bytes(), Side::Dialler);
        stranger.send(Kind::Proof, &Proof { proof }).await;
        stranger
    }

    /// The group that a node belongs to, as it says itself.
    async fn group_of(port: &str) -> Option<String> {
        let mut stranger = Self::proven(port, &hello("asker")).await;
        stranger.hears::<Welcome>(Kind::Welcome).await.group
    }

    /// Greets as one of the group does.
    async fn greeted(port: &str, name: &str, purpose: Purpose, epoch: Option<&str>) -> Self {
        let group = Self::group_of(port).await;
        let hello = Hello { purpose, epoch: epoch.map(str::to_owned), group, ..hello(name) };
        let mut stranger = Self::proven(port, &hello).await;
        stranger.hears::<Welcome>(Kind::Welcome).await;
        stranger
    }

    async fn control(port: &str, control: &Control) -> ControlAnswer {
        let mut stranger = Self::greeted(port, "stranger", Purpose::Control, None).await;
        stranger.send(Kind::Control, control).await;
        stranger.hears(Kind::ControlAnswer).await
    }
}

fn hello(name: &str) -> Hello {
    Hello {
        protocol: PROTOCOL,
        protocol_oldest: PROTOCOL_OLDEST,
        node: name.to_owned(),
        incarnation: format!("{:016x}", 7),
        purpose: Purpose::Follow,
        nonce: format!("{:032x}", 9),
        epoch: None,
        http_endpoint: None,
        replication_endpoint: None,
        is_voter: false,
        leader: None,
        group: None,
        merges: false,
    }
}

async fn logs(home: &Home, text: &str) {
    wait_for("the operator is told", SOON, async || {
        if home.log_lines(text).is_empty() { Err(format!("no line with '{text}'")) } else { Ok(()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_greets_wrongly_is_told_why_and_so_is_the_operator() {
    let leading = run(leader("office"));
    put(&leading.client("shop"), "o-1", 1).await;
    let port = port_of(&leading).await;
    let old = Hello { protocol: 0, protocol_oldest: 0, ..hello("old") };
    for (greeting, code, reason) in [
        (old, "unknown-protocol", "it speaks protocol 0"),
        (hello("office"), "node-name-taken", "another node goes by the same name 'office'"),
        (Hello { incarnation: "no".to_owned(), ..hello("x") }, "malformed-greeting", "its greeting cannot be read"),
    ] {
        let mut stranger = Stranger::dial(&port).await;
        stranger.send(Kind::Hello, &greeting).await;
        let refused = stranger.refused().await;
        assert_eq!(refused.code, code, "{refused:?}");
        assert!(refused.reason.contains(reason), "{refused:?}");
    }
    // The first is logged at once; who comes soon after is counted, for strangers must not fill a log.
    logs(leading.home(), "it speaks protocol 0").await;
    // Frames that are none: too long, damaged, unknown, out of turn, never finished.
    let sound = header(Kind::Hello, 1, b"{}").unwrap();
    let changed = |at: usize, to: u8| {
        let mut head = sound;
        head[at] = to;
        [&head[..], b"{}"].concat()
    };
    for (bytes, reason) in [
        (changed(11, 0x7f), "more than the limit of 4096"),
        (changed(16, 9), "damaged on its way"),
        (changed(4, 99), "unknown kind 99"),
        (changed(4, Kind::Stretch as u8), "has not greeted"),
        (changed(3, b'9'), "another version"),
    ] {
        let mut stranger = Stranger::dial(&port).await;
        stranger.send_bytes(&bytes).await;
        let refused = stranger.refused().await;
        assert!(refused.reason.contains(reason), "{refused:?}");
    }
    let mut stranger = Stranger::dial(&port).await;
    stranger.send_bytes(&sound).await;
    drop(stranger);
    let status = group(&leading).await;
    assert_eq!((&status["epoch"], &status["leader"]["followerCount"]), (&json!(1), &json!(0)), "{status}");
    leading.home().assert_log_is_without(&[SECRET]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_speaks_nonsense_is_disconnected_and_status_says_why() {
    let leading = run(leader("office"));
    put(&leading.client("shop"), "o-1", 1).await;
    let port = port_of(&leading).await;
    let long = {
        let mut head = header(Kind::Stretch, 1, b"").unwrap();
        head[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        head.to_vec()
    };
    let mut damaged = [&header(Kind::Receipt, 1, b"{}").unwrap()[..], b"[]"].concat();
    damaged.truncate(HEADER_BYTES + 2);
    let frame = |kind, payload: &[u8]| [&header(kind, 1, payload).unwrap()[..], payload].concat();
    let position = PositionAt {
        database: "shop".to_owned(),
        log_id: "no number".to_owned(),
        after: 0,
        vector: BTreeMap::default(),
        cache_log_id: "0".to_owned(),
        cache_after: 0,
        cache_vector: BTreeMap::default(),
    };
    let nowhere = OfDatabase { database: "NO name".to_owned(), is_forgotten: false };
    for (bytes, reason) in [
        (long, "was announced, more than the limit"),
        (damaged, "damaged on its way"),
        (frame(Kind::ControlAnswer, b"{}"), "out of turn"),
        (frame(Kind::Databases, b"{}"), "cannot be believed"),
        (frame(Kind::Position, b"{\"database\":"), "cannot be believed"),
        (frame(Kind::Position, &write(&position)), "cannot be believed"),
        (frame(Kind::Stretch, b"\x04shopnonsense"), "out of turn"),
        (frame(Kind::StatesNeeded, &write(&nowhere)), "cannot be believed"),
    ] {
        let mut stranger = Stranger::greeted(&port, "stranger", Purpose::Follow, None).await;
        until("it is connected", &leading, |status| status["leader"]["followerCount"] == 1).await;
        stranger.send_bytes(&bytes).await;
        let said = until(reason, &leading, |status| {
            let error = status["leader"]["followers"][0]["lastError"].as_str().unwrap_or_default();
            status["leader"]["followerCount"] == 0 && error.contains(reason)
        });
        said.await;
    }
    // A frame that is never finished holds nobody up, and others are served meanwhile.
    let mut slow = Stranger::greeted(&port, "slow", Purpose::Follow, None).await;
    slow.send_bytes(&header(Kind::Stretch, 1, &[0; 1_000]).unwrap()).await;
    let following = run(follower("branch", &leading).await);
    until_following(&following).await;
    let status = group(&leading).await;
    assert_eq!((&status["epoch"], &status["role"]), (&json!(1), &json!("leader")), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_in_an_epoch_that_is_over_changes_nothing_and_is_answered_so() {
    let leading = run(leader("office"));
    let following = run(follower("branch", &leading).await);
    until_following(&following).await;
    let (port, behind) = (port_of(&leading).await, port_of(&following).await);
    let rank = Rank { epoch: 9, drops: 0, led: 9, operations: 99 };
    let vote = |epoch: &str| Control::Vote { epoch: epoch.to_owned(), rank, is_trial: false };
    let follow = |epoch: &str| {
        let (epoch, leader) = (epoch.to_owned(), "127.0.0.1:1".to_owned());
        Control::Follow { epoch, leader, http: None }
    };
    let take_over = Control::TakeOver { epoch: "1@branch".to_owned(), operations: 0, drops: 0 };
    for (port, control, reason) in [
        (&port, vote("2@stranger"), "leads already"),
        (&behind, vote("1@stranger"), "is not above it"),
        (&port, follow("1@a"), "is not above it"),
        (&behind, follow("1@a"), "is not above it"),
        (&behind, take_over, "is not above it"),
        (&behind, Control::TakeOver { epoch: "5@stranger".to_owned(), operations: 0, drops: 0 }, "is not of this node"),
        (&behind, vote("none"), "NUMBER@NODE"),
    ] {
        let answer = Stranger::control(port, &control).await;
        assert!(!answer.is_granted, "{control:?}");
        assert!(answer.reason.as_deref().unwrap_or_default().contains(reason), "{control:?}: {answer:?}");
    }
    let mut stranger = Stranger::greeted(&port, "stranger", Purpose::Control, None).await;
    stranger.send(Kind::Control, &json!({"somethingElse": {}})).await;
    let answer: ControlAnswer = stranger.hears(Kind::ControlAnswer).await;
    assert!(!answer.is_granted && answer.reason.unwrap().contains("cannot be read"));
    let status = group(&leading).await;
    assert_eq!(
        (&status["role"], &status["epoch"], &status["epochLeader"]),
        (&json!("leader"), &json!(1), &json!("office"))
    );
    assert_eq!(group(&following).await["follower"]["state"], "streaming");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_sent_to_itself_says_so() {
    let port = free_port().to_string();
    let home = Home::new("lonely").with("Replication:Port", &port).with("Replication:Secret", SECRET);
    let lonely = run(home);
    let itself: u16 = port.parse().unwrap();
    ask(&lonely, "start-follower", json!({"host": "127.0.0.1", "port": itself})).await;
    let what = "it says that it was sent to itself";
    until(what, &lonely, |status| {
        status["follower"]["lastError"].as_str().is_some_and(|error| error.contains("cannot follow itself"))
    })
    .await;
    logs(lonely.home(), "a node cannot follow itself").await;
    assert_eq!(group(&lonely).await["role"], "follower");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_leaders_the_smaller_gives_way_when_it_is_told_of_the_other() {
    let (small, great) = (run(leader("anna")), run(leader("berta")));
    put(&small.client("shop"), "o-1", 1).await;
    // Somebody of its group comes who has followed another in the same epoch.
    let port = port_of(&small).await;
    let group_of_small = Stranger::group_of(&port).await;
    let hello = Hello { epoch: Some("1@berta".to_owned()), group: group_of_small, ..hello("stranger") };
    let mut stranger = Stranger::proven(&port, &hello).await;
    let refused = stranger.refused().await;
    assert_eq!((refused.code.as_str(), refused.epoch.as_deref()), ("not-the-leader", Some("1@berta")), "{refused:?}");
    until("it takes no writes any more", &small, |status| status["role"] == "follower" && status["readOnly"] == true)
        .await;
    logs(small.home(), "another node leads: this one takes no writes any more").await;
    small.client("shop").put("/api/documents/orders/o-2", "{}").await.problem(421, "not-the-leader");
    // The greater one is not moved by the smaller.
    let great_port = port_of(&great).await;
    drop(Stranger::greeted(&great_port, "stranger", Purpose::Follow, Some("1@anna")).await);
    assert_eq!(group(&great).await["role"], "leader");
    put(&great.client("shop"), "o-3", 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_told_and_changes_nothing() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let node = run(Home::new("office").with("Replication:Secret", SECRET));
    let refused = node.client("none").post("/replication/start-leader", &json!({"port": port}).to_string()).await;
    assert!(refused.text.contains("cannot be opened"), "{}", refused.text);
    assert!(refused.status.is_client_error(), "{}", refused.status);
    assert_eq!(group(&node).await["role"], "none");
    ask(&node, "start-leader", json!({"port": free_port()})).await;
    assert_eq!(group(&node).await["role"], "leader");
}
