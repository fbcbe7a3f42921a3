//! The disk keeps its word, and breaks it only as asked.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::{Disk, Room, Survival, SyncLoss};
use crate::seed::{Seed, worlds};
use redb::StorageBackend;
use std::io::ErrorKind;

fn bytes(disk: &Disk, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    disk.file("f").read(0, &mut out).unwrap();
    out
}

#[test]
fn what_was_synced_survives_and_the_rest_may() {
    let (mut lost, mut kept, mut torn) = (0, 0, 0);
    worlds("what_was_synced_survives_and_the_rest_may", 300, |mut seed| {
        let disk = Disk::new();
        let file = disk.file("f");
        file.write(0, &[1; 4096]).unwrap();
        file.sync_data().unwrap();
        file.write(0, &[2; 4096]).unwrap();
        let found = disk.crash(&mut seed).bytes_of("f").unwrap();
        assert_eq!(found.len(), 4096);
        let new = found.chunks(512).filter(|sector| **sector == [2; 512]).count();
        let old = found.chunks(512).filter(|sector| **sector == [1; 512]).count();
        assert_eq!(new + old, 8, "a sector is written whole or not at all");
        match new {
            0 => lost += 1,
            8 => kept += 1,
            _ => torn += 1,
        }
    });
    if std::env::var_os("HOLDFAST_SEED").is_none() {
        assert!(lost > 10 && kept > 10 && torn > 10, "lost {lost}, kept {kept}, torn {torn}");
    }
}

#[test]
fn unsynced_writes_survive_out_of_order() {
    let mut second_without_first = false;
    for number in 0..100 {
        let disk = Disk::new();
        let file = disk.file("f");
        file.set_len(1024).unwrap();
        file.sync_data().unwrap();
        file.write(0, &[1; 512]).unwrap();
        file.write(512, &[1; 512]).unwrap();
        let found = disk.crash_with(Survival::Scattered { kept: 50, torn: 0 }, &mut Seed::new(number));
        let found = found.bytes_of("f").unwrap();
        second_without_first |= found[0] == 0 && found[512] == 1;
    }
    assert!(second_without_first);
}

#[test]
fn the_same_seed_finds_the_same_image() {
    let found = || {
        let disk = Disk::new();
        let file = disk.file("f");
        for write in 0..50_u8 {
            file.write(u64::from(write) * 700, &[write; 3000]).unwrap();
        }
        disk.crash(&mut Seed::new(5)).bytes_of("f").unwrap()
    };
    assert_eq!(found(), found());
}

#[test]
fn a_power_cut_stops_every_file_at_once() {
    let disk = Disk::new();
    let (log, data) = (disk.file("log"), disk.file("data"));
    disk.cut_power_after(2);
    log.write(0, b"one").unwrap();
    data.write(0, b"two").unwrap();
    assert!(!disk.is_without_power());
    log.sync_data().unwrap_err();
    data.write(0, b"gone").unwrap_err();
    data.read(0, &mut [0; 3]).unwrap_err();
    assert!(disk.is_without_power());
    let found = disk.crash_with(Survival::Everything, &mut Seed::new(0));
    assert_eq!(found.bytes_of("log").unwrap(), b"one");
    assert_eq!(found.bytes_of("data").unwrap(), b"two");
}

#[test]
fn one_file_can_be_cut_off_before_the_others() {
    let disk = Disk::new();
    let (log, data) = (disk.file("log"), disk.file("data"));
    disk.cut_off_after("data", 1);
    data.write(0, b"one").unwrap();
    data.write(0, b"two").unwrap_err();
    data.len().unwrap_err();
    log.write(0, b"one").unwrap();
    assert!(disk.is_without_power());
    disk.heal();
    data.len().unwrap_err();
}

#[test]
fn a_failed_sync_may_forget_what_can_still_be_read() {
    for (loss, live, durable) in [(SyncLoss::Nothing, 2, 2), (SyncLoss::Reverted, 1, 1), (SyncLoss::Forgotten, 2, 1)] {
        let disk = Disk::new();
        let file = disk.file("f");
        file.write(0, &[1]).unwrap();
        file.sync_data().unwrap();
        file.write(0, &[2]).unwrap();
        disk.fail_sync_after(0, loss);
        file.sync_data().unwrap_err();
        file.sync_data().unwrap();
        assert_eq!(bytes(&disk, 1), [live], "{loss:?}");
        let found = disk.crash_with(Survival::Synced, &mut Seed::new(0));
        assert_eq!(found.bytes_of("f").unwrap(), [durable], "{loss:?}");
    }
}

#[test]
fn a_failed_write_may_have_written_a_part() {
    let disk = Disk::new();
    let file = disk.file("f");
    file.set_len(4096).unwrap();
    disk.fail_write_after(1);
    file.write(0, &[1; 4096]).unwrap();
    file.write(0, &[2; 4096]).unwrap_err();
    let found = bytes(&disk, 4096);
    assert_eq!(found[..2 * 512], [2; 2 * 512]);
    assert_eq!(found[2 * 512..], [1; 6 * 512]);
    file.write(0, &[3; 4096]).unwrap();
    assert_eq!(bytes(&disk, 4096), [3; 4096]);
}

#[test]
fn a_full_disk_refuses_until_there_is_room_again() {
    let disk = Disk::new();
    let file = disk.file("f");
    disk.set_room(Room::Written(8192));
    file.set_len(1 << 20).unwrap();
    file.write(0, &[1; 8192]).unwrap();
    file.write(100, &[2; 4096]).unwrap();
    assert_eq!(file.write(8192, &[3]).unwrap_err().kind(), ErrorKind::StorageFull);
    disk.set_room(Room::Reserved(1 << 20));
    assert_eq!(file.set_len(2 << 20).unwrap_err().kind(), ErrorKind::StorageFull);
    disk.set_room(Room::Endless);
    file.set_len(2 << 20).unwrap();
    file.write(1 << 20, &[3]).unwrap();
    assert_eq!(disk.allocated(), 3 * 4096);
}

#[test]
fn bits_flip_only_where_asked() {
    let disk = Disk::new();
    disk.file("f").write(0, &[0; 10_000]).unwrap();
    let mut image = disk.image();
    image.flip_bits("f", 5000..5010, 3, &mut Seed::new(1));
    let found = image.bytes_of("f").unwrap();
    assert!(found[5000..5010].iter().any(|byte| *byte != 0));
    assert!(found[..5000].iter().chain(&found[5010..]).all(|byte| *byte == 0));
}
