//! Repeatable randomness: one number decides everything that happens in a test's world.
//!
//! [`worlds`] runs a test under many seeds and, when one fails, prints the command that runs exactly that one again.
//!
//! | variable | meaning |
//! |---|---|
//! | `HOLDFAST_SEED` | run only this seed |
//! | `HOLDFAST_WORLDS` | how many times the usual number of worlds to run; `100` makes a long run |
//!
//! What must stay true: the same seed gives the same numbers on every platform and in every version of this file, because
//! seeds of old bugs are kept as tests. It is not fit for secrets.

use std::ops::Range;

/// A stream of numbers decided by one `u64`: xoshiro256**, seeded by splitmix64
/// (Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2018).
#[derive(Clone, Debug)]
pub struct Seed {
    state: [u64; 4],
}

impl Seed {
    /// The stream of this number.
    pub fn new(number: u64) -> Self {
        let mut splitmix = number;
        let state = [(); 4].map(|()| {
            splitmix = splitmix.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut mixed = splitmix;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            mixed ^ (mixed >> 31)
        });
        Seed { state }
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let result = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let (c, d) = (c ^ a, d ^ b);
        self.state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        result
    }

    /// A number of the range, its end excluded. Panics on an empty range.
    pub fn range(&mut self, range: Range<u64>) -> u64 {
        assert!(range.start < range.end, "a range to choose from must not be empty: {range:?}");
        // The high half of a 128-bit product is close enough to uniform for choosing what happens in a test.
        let width = u128::from(range.end - range.start);
        let offset = (u128::from(self.next_u64()) * width) >> 64;
        range.start + u64::try_from(offset).expect("an offset below the width of the range")
    }

    /// An index below `len`. Panics when there is nothing to choose from.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.range(0..len as u64)).expect("an index below a usize")
    }

    /// True in `percent` of a hundred cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.range(0..100) < percent
    }

    /// One of the choices. Panics when there are none.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        let index = self.index(choices.len());
        choices.get(index).expect("an index below the number of choices")
    }

    /// Puts the items into any order, each order as likely as another.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.index(last + 1));
        }
    }

    /// A stream of its own, so that what one part of a world draws does not change what another part gets.
    #[must_use]
    pub fn fork(&mut self) -> Seed {
        Seed::new(self.next_u64())
    }
}

/// The seed of one world among many that a base decides. The first is the base itself, so that any world can be run
/// again alone.
pub fn of_world(base: u64, number: u64) -> u64 {
    if number == 0 {
        return base;
    }
    // Neighbouring bases must not share worlds, so the number goes through the stream's own mixing.
    Seed::new(base ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15)).next_u64()
}

/// Runs a test under the seeds `0..count`, or as the environment says, and names the seed that fails.
///
/// `test` is the test's full name, as `cargo test` knows it.
pub fn worlds(test: &str, count: u64, mut world: impl FnMut(Seed)) {
    if let Some(only) = number_from_environment("HOLDFAST_SEED") {
        world(Seed::new(only));
        return;
    }
    let count = count * number_from_environment("HOLDFAST_WORLDS").unwrap_or(1);
    for number in 0..count {
        let failing = NameOnPanic { test, number };
        world(Seed::new(number));
        drop(failing);
    }
}

/// Says how to run a world again if it is dropped by a panic.
struct NameOnPanic<'a> {
    test: &'a str,
    number: u64,
}

impl Drop for NameOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "\nworld {number} failed; to run it alone: HOLDFAST_SEED={number} cargo test -p holdfast-tests {test}\n",
                number = self.number,
                test = self.test,
            );
        }
    }
}

fn number_from_environment(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.trim().parse().unwrap_or_else(|_| panic!("{variable} must be a number, and is '{text}'")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::Seed;

    #[test]
    fn one_number_always_gives_the_same_stream() {
        // The published outputs for this state: kept seeds of old bugs must mean what they meant.
        let mut seed = Seed { state: [1, 2, 3, 4] };
        let first = [(); 4].map(|()| seed.next_u64());
        assert_eq!(first, [11520, 0, 1_509_978_240, 1_215_971_899_390_074_240]);
        // And of splitmix64 for the seed 1234567.
        assert_eq!(
            Seed::new(1_234_567).state,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423,
                4_593_380_528_125_082_431,
            ]
        );
    }

    #[test]
    fn every_number_of_a_range_is_drawn_and_no_other() {
        let mut seed = Seed::new(1);
        let mut drawn = [0_u32; 5];
        for _ in 0..1000 {
            let number = seed.range(10..15);
            assert!((10..15).contains(&number));
            drawn[usize::try_from(number - 10).unwrap()] += 1;
        }
        assert!(drawn.iter().all(|times| *times > 100), "{drawn:?}");
    }
}
