//! The storage code of the node on the simulated disk: random work, every kind of fault, and what is found afterwards.

use crate::world::{DATA, LOG, Stop, World, open, small_options};
use holdfast_storage::integrity::verify;
use holdfast_tests::disk::{Disk, Room, Survival, SyncLoss};
use holdfast_tests::seed::{Seed, worlds};
use redb::backends::InMemoryBackend;
use std::panic::{AssertUnwindSafe, catch_unwind};

#[test]
fn a_power_cut_at_any_write_loses_nothing_acknowledged_and_halves_nothing() {
    worlds("a_power_cut_at_any_write_loses_nothing_acknowledged_and_halves_nothing", 60, |seed| {
        let mut world = World::new(seed);
        for _ in 0..3 {
            let mut opened = world.recover().unwrap();
            world.disk.cut_power_after(world.seed.range(0..500));
            let batches = world.seed.range(1..40);
            world.work(&mut opened, batches);
            // The crash comes before the files are closed, or closing would still write to them.
            world.crash();
        }
        world.recover().unwrap();
    });
}

#[test]
fn a_failed_sync_or_write_stops_the_database_and_opening_it_again_tells() {
    worlds("a_failed_sync_or_write_stops_the_database_and_opening_it_again_tells", 60, |seed| {
        let mut world = World::new(seed);
        for _ in 0..3 {
            let mut opened = world.recover().unwrap();
            match world.seed.range(0..5) {
                0 => world.disk.fail_write_after(world.seed.range(0..200)),
                1 => world.disk.fail_sync_after(world.seed.range(0..20), SyncLoss::Nothing),
                2 => world.disk.fail_sync_after(world.seed.range(0..20), SyncLoss::Reverted),
                _ => world.disk.fail_sync_after(world.seed.range(0..20), SyncLoss::Forgotten),
            }
            world.work(&mut opened, 30);
            // The same process opens it again; or the power goes as well.
            drop(opened);
            world.disk.heal();
            world.is_after_failure = true;
            if world.seed.chance(30) {
                world.crash();
            }
        }
        world.recover().unwrap();
    });
}

#[test]
fn a_full_disk_refuses_writes_keeps_the_rest_and_goes_on_when_there_is_room() {
    let mut filled_up = 0;
    worlds("a_full_disk_refuses_writes_keeps_the_rest_and_goes_on_when_there_is_room", 30, |seed| {
        let mut world = World::new(seed);
        for _ in 0..2 {
            let mut opened = world.recover().unwrap();
            world.work(&mut opened, 5);
            let room = world.disk.allocated() + world.seed.range(0..40) * 4096;
            world.disk.set_room(Room::Written(room));
            if let Stop::NotWritten(error) | Stop::Unknown(error) = world.work(&mut opened, 60) {
                assert!(error.is_disk_full(), "{error}");
                filled_up += 1;
            }
            drop(opened);
            // Opening may fail for want of room, and must not do harm.
            drop(world.open());
            world.disk.set_room(Room::Endless);
            if world.seed.chance(30) {
                world.crash();
            }
        }
        world.recover().unwrap();
    });
    if std::env::var_os("HOLDFAST_SEED").is_none() {
        assert!(filled_up > 10, "the disk was full only {filled_up} times");
    }
}

#[test]
fn a_clean_stop_leaves_nothing_to_repair_or_replay() {
    worlds("a_clean_stop_leaves_nothing_to_repair_or_replay", 20, |seed| {
        let mut world = World::new(seed);
        for _ in 0..2 {
            let mut opened = world.recover().unwrap();
            assert!(matches!(world.work(&mut opened, 30), Stop::Done));
            if world.seed.chance(50) {
                opened.writer.settle().unwrap();
                // After settling even a power cut leaves nothing to do.
                world.crash();
            }
            drop(opened);
            let opened = world.open().unwrap();
            assert_eq!(opened.replayed, 0);
        }
    });
}

#[test]
fn a_lost_data_file_is_made_again_even_if_that_is_cut_off() {
    worlds("a_lost_data_file_is_made_again_even_if_that_is_cut_off", 60, |seed| {
        let mut world = World::new(seed);
        let mut opened = world.open().unwrap();
        world.work(&mut opened, 10);
        drop(opened);
        let mut image = world.disk.image();
        assert!(image.remove(DATA));
        world.disk = Disk::from_image(&image);
        // The first few operations are the ones that make a file of nothing.
        world.disk.file(DATA);
        world.disk.cut_off_after(DATA, world.seed.range(0..8));
        assert!(world.open().is_err());
        world.crash();
        world.recover().unwrap();
    });
}

#[test]
fn one_seed_always_makes_the_same_world() {
    let run = |number: u64| {
        let mut world = World::new(Seed::new(number));
        for _ in 0..2 {
            let mut opened = world.recover().unwrap();
            world.disk.cut_power_after(world.seed.range(0..300));
            world.work(&mut opened, 20);
            world.crash();
        }
        let image = world.disk.image();
        (world.acknowledged, image.bytes_of(LOG), image.bytes_of(DATA), world.seed.next_u64())
    };
    for number in 0..8 {
        assert!(run(number) == run(number), "world {number} came out differently the second time");
    }
}

#[test]
fn rotten_bits_are_reported_and_never_served() {
    let (mut reported, mut harmless) = (0, 0);
    worlds("rotten_bits_are_reported_and_never_served", 100, |seed| {
        let mut world = World::new(seed);
        let mut opened = world.open().unwrap();
        world.work(&mut opened, 25);
        opened.writer.settle().unwrap();
        drop(opened);
        let mut image = world.disk.image();
        let file = *world.seed.pick(&[LOG, DATA]);
        let len = image.len_of(file).unwrap();
        let bits = world.seed.range(1..4);
        image.flip_bits(file, 0..len, bits, &mut world.seed);
        world.disk = Disk::from_image(&image);
        // The store underneath panics on some damage; whoever opens a database is prepared for that.
        let sound = catch_unwind(AssertUnwindSafe(|| {
            let opened = world.open().ok()?;
            let report = verify(&opened.database, InMemoryBackend::new()).ok()?;
            report.is_sound().then_some(opened)
        }));
        if let Ok(Some(opened)) = sound {
            // What is called sound must be true.
            world.check_documents(&opened.database).unwrap();
            assert_eq!(opened.writer.state().position.0, world.acknowledged.position);
            harmless += 1;
        } else {
            reported += 1;
        }
    });
    if std::env::var_os("HOLDFAST_SEED").is_none() {
        assert!(reported > 5 && harmless > 5, "{reported} reported, {harmless} harmless");
    }
}

#[test]
fn the_checks_find_out_a_disk_that_lies_about_its_syncs() {
    let found_out = (0..40).filter(|number| {
        let mut world = World::new(Seed::new(*number));
        let mut opened = world.open().unwrap();
        world.disk.lie_about_sync();
        let batches = world.seed.range(5..40);
        world.work(&mut opened, batches);
        let image = world.disk.crash_with(Survival::Scattered { kept: 50, torn: 10 }, &mut world.seed);
        world.disk = Disk::from_image(&image);
        !matches!(catch_unwind(AssertUnwindSafe(|| world.recover())), Ok(Ok(_)))
    });
    let found_out = found_out.count();
    assert!(found_out > 30, "only {found_out} of 40 crashes of a lying disk were noticed");
}

#[test]
fn the_checks_find_out_a_sync_that_was_forgotten_and_not_written_again() {
    let found_out = (0..60).filter(|number| {
        let mut world = World::new(Seed::new(*number));
        let survived = catch_unwind(AssertUnwindSafe(|| -> Result<(), String> {
            for _ in 0..2 {
                let mut opened = world.open().map_err(|error| error.to_string())?;
                world.check(&mut opened)?;
                world.disk.fail_sync_after(world.seed.range(0..20), SyncLoss::Forgotten);
                world.work(&mut opened, 30);
                drop(opened);
                world.disk.heal();
            }
            world.crash();
            world.recover().map(drop)
        }));
        !matches!(survived, Ok(Ok(())))
    });
    let found_out = found_out.count();
    assert!(found_out > 5, "only {found_out} of 60 forgotten syncs were noticed");
}

#[test]
fn the_checks_find_out_a_log_that_lost_its_last_commit() {
    // A log of yesterday beside the data of today: opening refuses it, or the comparison with the model does.
    let mut world = World::new(Seed::new(1));
    let mut opened = world.open().unwrap();
    world.work(&mut opened, 10);
    drop(opened);
    let yesterday = world.disk.image();
    let mut opened = world.open().unwrap();
    world.work(&mut opened, 10);
    drop(opened);
    let mut mixed = world.disk.image();
    mixed.put(LOG, &yesterday.bytes_of(LOG).unwrap());
    let error = open(&Disk::from_image(&mixed), small_options()).unwrap_err();
    assert!(error.to_string().contains("restore both together"), "{error}");
}
