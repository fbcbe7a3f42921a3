//! How long things took, counted in buckets.
//!
//! **What stays true.** Adding a time costs three relaxed atomic additions and takes no lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper ends of the buckets, in microseconds.
const ENDS_MICROS: [u64; 15] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    10_000_000,
];

/// Counts of times by their length.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; ENDS_MICROS.len()],
    count: AtomicU64,
    micros: AtomicU64,
}

impl Histogram {
    /// Counts a time.
    pub fn add(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.count.fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
        // What is longer than the last end is in the count alone.
        if let Some(bucket) = self.buckets.get(ENDS_MICROS.partition_point(|end| *end < micros)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The upper end of each bucket in microseconds, with how many times were at most that long.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> {
        let counts = self.buckets.iter().map(|count| count.load(Ordering::Relaxed));
        ENDS_MICROS.into_iter().zip(counts.scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        }))
    }

    /// How many times were counted.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// The sum of all times, in microseconds.
    pub fn micros(&self) -> u64 {
        self.micros.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_its_bucket_and_all_longer_ones() {
        let times = Histogram::default();
        for micros in [100, 101, 99_000_000] {
            times.add(Duration::from_micros(micros));
        }
        let counts: Vec<u64> = times.buckets().map(|(_, count)| count).collect();
        assert_eq!(counts, [vec![1], vec![2; ENDS_MICROS.len() - 1]].concat());
        assert_eq!((times.count(), times.micros()), (3, 99_000_201));
    }
}
