//! Two nodes in one program: one leads, the other follows, and they change places, first as planned and then because the
//! leader is gone.
//!
//! `cargo run --example leader_and_follower`

#![allow(clippy::print_stdout, reason = "what it shows is what it is for")]

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use holdfast::embedded::{EmbeddedNode, GroupEvent, GroupEvents, NodeOptions};
use tokio::sync::oneshot;

type Failed = Box<dyn Error + Send + Sync>;

/// Long enough for everything below.
const SOON: Duration = Duration::from_secs(20);

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let home = tempfile::tempdir()?;
    run(home.path()).await
}

/// The whole story, with the data of both nodes in this directory.
pub(crate) async fn run(home: &Path) -> Result<(), Failed> {
    // 1. A leader. It also serves HTTP, on a port that is free; without `http` it has no socket but the one for followers.
    let office = EmbeddedNode::open(options("office", home).http("http://127.0.0.1:0")).await?;
    let port = office.start_logical_replication_server(0, None).await?;
    println!("office leads: followers connect to port {port}, clients to {:?}", office.urls());
    let first = office.database("shop").insert("orders", r#"{"pnr": "ABC123", "price": 119.90}"#).await?;

    // 2. A follower. It has what the leader has, and reads that name a write wait for it.
    let branch = EmbeddedNode::open(options("branch", home)).await?;
    let mut news = branch.events();
    branch.start_logical_replication_follower("127.0.0.1", port, None)?;
    until(&mut news, |event| matches!(event, GroupEvent::Follows { .. })).await?;
    let copy = branch.database("shop").get_after("orders", &first.id, &first.token, SOON).await?;
    println!("the follower has {}", copy.ok_or("it has not")?.json);

    // 3. Writes are for the leader.
    let refused = branch.database("shop").put("orders", "mine", "{}").await.err().ok_or("a follower took a write")?;
    assert!(refused.is_read_only(), "{refused:?}");
    println!("the follower takes no writes: {refused}; the leader is at {:?}", refused.leader());

    // 4. A planned handover, step by step: the leader stops, the follower has everything, and takes the lead.
    let mut office_news = office.events();
    let last = office.begin_planned_handover(|| branch.follower_last_seq(), SOON).await?;
    branch.promote_to_leader(0).await?;
    println!("handed over after operation {last}; branch leads in term {}", branch.leader_term());
    until(&mut office_news, |event| matches!(event, GroupEvent::Follows { .. })).await?;
    let second = branch.database("shop").put("orders", "second", r#"{"pnr": "DEF456"}"#).await?;
    assert!(office.database("shop").get_after("orders", "second", &second.token, SOON).await?.is_some());

    // 5. And back, in one call.
    let handed = branch.hand_over(Some("office"), SOON).await?;
    println!("{} leads again; nobody took writes for {:?}", handed.to, handed.unavailable);
    until(&mut news, |event| matches!(event, GroupEvent::Follows { .. })).await?;

    // 6. The leader goes, and the follower takes its place. With two nodes nobody can tell a dead leader from one that is cut
    //    off: give a third node a vote where that matters.
    let (told, promoted) = oneshot::channel();
    let mut office_news = office.events();
    branch.enable_auto_failover(None, Duration::from_secs(1), move |port| {
        // Nobody waits for it any more if the program ends meanwhile.
        let _ = told.send(port);
    })?;
    // It tells the leader that it has a vote now; the leader remembers whom to ask when it comes back.
    until(&mut office_news, |event| matches!(event, GroupEvent::FollowerCame { .. })).await?;
    office.close().await;
    let port = tokio::time::timeout(SOON, promoted).await??;
    assert!(branch.was_auto_failover_promoted());
    println!("the leader fell silent: branch leads, on port {port}");
    let third = branch.database("shop").put("orders", "third", r#"{"pnr": "GHI789"}"#).await?;

    // 7. The old leader comes back. It asks who leads by now, and follows.
    let office = EmbeddedNode::open(options("office", home)).await?;
    assert!(office.database("shop").get_after("orders", "third", &third.token, SOON).await?.is_some());
    let found = office.database("shop").execute("SELECT pnr FROM orders ORDER BY pnr").await?;
    println!("office is a {} now, and has {} orders", office.replication_role(), found.rows.len());
    assert_eq!((office.replication_role(), found.rows.len()), ("follower", 3));

    office.close().await;
    branch.close().await;
    Ok(())
}

fn options(name: &str, home: &Path) -> NodeOptions {
    // Port 0 is one that is free; a node that stays names one.
    NodeOptions::new(name, home.join(name)).replication_secret("known-to-both").set("Replication:Port", "0")
}

async fn until(news: &mut GroupEvents, is: impl Fn(&GroupEvent) -> bool) -> Result<(), Failed> {
    let heard = async {
        while let Some(event) = news.next().await {
            if is(&event) {
                return Ok(());
            }
        }
        Err("the node has ended".into())
    };
    tokio::time::timeout(SOON, heard).await?
}
