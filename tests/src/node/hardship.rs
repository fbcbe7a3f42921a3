//! What a node has to live with: a slow machine, a full or rotting disk, an operator who changes its peers.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use holdfast_core::time::Millis;
use holdfast_storage::integrity::check_file;

use crate::disk::{Disk, DiskImage, Room};
use crate::node::identity::Copy;
use crate::node::{Node, Outbox, empty_image};

thread_local! {
    /// Whether a panic of this thread is expected, and needs no words.
    static IS_PANIC_EXPECTED: Cell<bool> = const { Cell::new(false) };
}

/// The file that can be made again from the log.
const DATA: &str = "data";

/// What a node has to live with, through all its lives.
#[derive(Debug, Default)]
pub(super) struct Hardship {
    /// Everything takes up to so much longer.
    slow_by: Millis,
    /// How much fits on the disk, if that is limited.
    room: Option<u64>,
    /// Peers to or from which the database does not go: out, in.
    unselected: BTreeMap<usize, (bool, bool)>,
    /// A copy of the disk.
    pub(super) backup: Option<Copy>,
}

impl Hardship {
    /// Whether the disk may refuse what it is given.
    pub(super) fn is_disk_limited(&self) -> bool {
        self.room.is_some()
    }

    /// Whether the database goes out to a peer.
    pub(super) fn goes_out(&self, peer: usize) -> bool {
        self.unselected.get(&peer).is_none_or(|(goes_out, _)| *goes_out)
    }

    /// Whether the database comes in from a peer.
    pub(super) fn comes_in(&self, peer: usize) -> bool {
        self.unselected.get(&peer).is_none_or(|(_, comes_in)| *comes_in)
    }
}

impl Node {
    /// From now on everything takes up to so much longer.
    pub fn slow_down(&mut self, by: Millis) {
        self.hardship.slow_by = by;
    }

    /// How long the next thing takes, below `usual` on a machine that is not slow.
    pub(super) fn delay(&mut self, usual: u64) -> Millis {
        Millis(self.seed.range(0..usual + self.hardship.slow_by.0))
    }

    /// Only so many more bytes fit on the disk; with nothing, as many as anyone wants.
    pub fn limit_disk(&mut self, room: Option<u64>) {
        self.hardship.room = room.map(|room| self.disk.allocated() + room);
        self.apply_room();
    }

    /// Puts a limit on a disk that was exchanged for its image.
    pub(super) fn apply_room(&self) {
        self.disk.set_room(self.hardship.room.map_or(Room::Endless, Room::Written));
    }

    /// Stops it, turns bits of its data file over, and takes that file away if the store says that it is not sound, as
    /// an operator does who reads what `verify` says. Answers whether the disk must be wiped: a log that was pruned does
    /// not make the data again.
    pub fn rot(&mut self, bits: u64) -> bool {
        self.crash(false);
        let mut image = self.disk.image();
        let len = image.len_of(DATA).unwrap_or(0);
        if len > 0 {
            image.flip_bits(DATA, 0..len, bits, &mut self.seed);
            if !is_sound(&image) {
                if self.setup.forgets.is_some() {
                    return true;
                }
                image.remove(DATA);
            }
            self.disk = Disk::from_image(&image);
            self.apply_room();
        }
        false
    }

    /// Copies the disk.
    pub fn back_up(&mut self) {
        self.hardship.backup = Some(self.copy());
    }

    /// Puts an empty disk in the place of the one that it has. Answers whether it has to be started again.
    pub fn wipe(&mut self) -> bool {
        self.exchange_disk(empty_image().clone())
    }

    /// Puts the disk back to its copy, if there is one, and knows it. Answers whether it has to be started again.
    pub fn restore(&mut self) -> bool {
        let Some(backup) = self.hardship.backup.clone() else { return false };
        self.exchange_disk(backup.image)
    }

    fn exchange_disk(&mut self, image: DiskImage) -> bool {
        self.crash(false);
        self.disk = Disk::from_image(&image);
        self.apply_room();
        self.identity.incarnation = self.seed.next_u64();
        self.origin = self.identity.clone();
        true
    }

    /// Takes a peer out of the settings.
    pub fn part_from(&mut self, peer: usize) {
        self.setup.peers.remove(&peer);
        if let Some(running) = &mut self.running {
            running.links.remove(&peer);
        }
    }

    /// Puts a peer into the settings, unless it is there.
    pub fn meet(&mut self, now: Millis, peer: usize, outbox: &mut Outbox) {
        if self.setup.peers.insert(peer) {
            self.open_link(now, peer, outbox);
        }
    }

    /// Selects whether the database goes out to a peer and comes in from it.
    pub fn select(&mut self, peer: usize, goes_out: bool, comes_in: bool) {
        self.hardship.unselected.insert(peer, (goes_out, comes_in));
    }

    /// Selects everything, to and from everybody.
    pub fn select_all(&mut self) {
        self.hardship.unselected.clear();
    }
}

/// Whether the store finds nothing wrong with the data file. It gives up with a panic on some damage, which the node
/// takes for what it is.
fn is_sound(image: &DiskImage) -> bool {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = take_hook();
        set_hook(Box::new(move |panic| {
            if !IS_PANIC_EXPECTED.get() {
                usual(panic);
            }
        }));
    });
    IS_PANIC_EXPECTED.set(true);
    let checked = catch_unwind(AssertUnwindSafe(|| check_file(Disk::from_image(image).file(DATA))));
    IS_PANIC_EXPECTED.set(false);
    matches!(checked, Ok(Ok(true)))
}
