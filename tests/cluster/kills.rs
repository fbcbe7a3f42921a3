//! A node is killed while it writes, again and again, and loses nothing that it had acknowledged.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use holdfast_tests::cluster::{Home, times};
use holdfast_tests::seed::Seed;

use crate::ledger::{End, Ledger};

const WRITERS: u64 = 16;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_after_every_kill() {
    let home = Home::new("till-1");
    let ledger = Arc::new(Ledger::default());
    let mut seed = Seed::new(1);
    for round in 0..times(12) {
        let node = home.start();
        let client = node.client("shop");
        let writers = ledger.start_writers(&client, WRITERS, &mut seed, &Arc::new(AtomicBool::new(false)));
        tokio::time::sleep(Duration::from_millis(seed.range(20..700))).await;
        node.kill();
        for writer in writers {
            assert_eq!(writer.await.unwrap(), End::Lost, "round {round}");
        }
        // Opening again is cut short as well now and then.
        while seed.chance(30) {
            home.start_and_kill_after(Duration::from_millis(seed.range(1..150)));
        }
        let node = home.start();
        ledger.check(&node.client("shop")).await;
        // What is found after a restart is found after the next one too.
        if seed.chance(50) { node.kill() } else { node.stop() }
    }
    assert!(ledger.alive() > 50, "only {} documents were written", ledger.alive());
    home.assert_sound();
}
