//! A disk without room: writes are refused with 507, reads go on, and with room again everything goes on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use holdfast_tests::cluster::{Home, SOON, wait_for};
use holdfast_tests::seed::Seed;

use crate::ledger::{End, Ledger};

/// A small file system of its own, in memory; unmounted on every way out.
struct SmallDisk {
    _parent: tempfile::TempDir,
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts one, or says why that cannot be done here.
    fn mount(megabytes: u64) -> Result<Self, String> {
        let parent = tempfile::tempdir().map_err(|error| error.to_string())?;
        let path = parent.path().join("disk");
        fs::create_dir(&path).map_err(|error| error.to_string())?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "holdfast-tests"])
            .arg(&path)
            .output()
            .map_err(|error| error.to_string())?;
        if !mounted.status.success() {
            return Err(String::from_utf8_lossy(&mounted.stderr).trim().to_owned());
        }
        Ok(Self { _parent: parent, path })
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, for a process that was just killed may still hold a file.
        let unmounted = Command::new("umount").arg("-l").arg(&self.path).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} could not be unmounted", self.path.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_writes_keeps_reading_and_goes_on_with_room() {
    let disk = match SmallDisk::mount(64) {
        Ok(disk) => disk,
        Err(why) => {
            eprintln!("skipped: a small file system cannot be mounted here: {why}");
            return;
        }
    };
    let ballast = disk.path().join("ballast");
    fs::write(&ballast, vec![7; 29 * 1024 * 1024]).unwrap();
    // Room is refused below 16 MB and twice this, whatever the default is.
    let home = Home::new("till-1").with("Storage:DurableDataMegabytes", "8").with_data_in(&disk.path().join("data"));
    let node = home.start();
    let client = node.client("shop");
    let ledger = Arc::new(Ledger::default());
    let mut seed = Seed::new(4);

    let full = End::Refused(507, "disk-full".to_owned());
    let writers = ledger.start_writers(&client, 8, &mut seed, &Arc::new(AtomicBool::new(false)));
    let mut ends = Vec::new();
    for writer in writers {
        ends.push(writer.await.unwrap());
    }
    assert!(ends.contains(&full), "{ends:?}");
    assert!(ends.iter().all(|end| *end == full), "{ends:?}");

    // Reading goes on at once, and so does everything that needs no room.
    client.get("/api/documents/counters/total").await.expect(200);
    client.get("/healthz").await.expect(200);
    assert_eq!(client.get("/readyz").await.expect(200)["Status"], "read-only");
    let metrics = client.get("/metrics").await.text;
    assert!(metrics.contains("holdfast_database_out_of_room{database=\"shop\"} 1"), "{metrics}");
    ledger.check(&client).await;
    // Somebody else takes what the node has left alone: it reads on, and still writes nothing.
    let rest = disk.path().join("rest");
    assert!(fs::write(&rest, vec![7; 64 * 1024 * 1024]).is_err(), "the disk is full to the brim");
    client.put("/api/documents/states/w0", "{}").await.problem(507, "disk-full");
    ledger.check(&client).await;

    fs::remove_file(&rest).unwrap();
    fs::remove_file(&ballast).unwrap();
    wait_for("writes work again", SOON, async || {
        let answer = client.try_ask("PATCH", "/api/documents/room/again", Some(r#"{"$inc":{"N":1}}"#)).await?;
        if answer.is_success() { Ok(()) } else { Err(answer.text) }
    })
    .await;
    client.delete("/api/documents/room/again").await.expect(200);
    assert_eq!(client.get("/readyz").await.expect(200)["Status"], "ok");
    ledger.check(&client).await;
    node.kill();
    let node = home.start();
    ledger.check(&node.client("shop")).await;
    node.stop();
    home.assert_sound();
}
