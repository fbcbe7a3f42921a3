//! How often a key may ask, and how often an address may guess.
//!
//! * Each configured key has a bucket of its own, so their number is bounded by the settings and a busy key
//!   takes nothing from another. Checking one costs an atomic and no lock.
//! * Failed authentications are counted per client address, IPv6 by its /64. At most [`MAX_ADDRESSES`] are
//!   remembered; further ones share a bucket.
//!
//! An address that has failed too often gets 429 instead of 401. A right key still works from there, so that
//! one till with an old key cannot lock out the shop behind the same router. The exception is a key so short
//! that guessing could find it: it waits too, or the limit would not slow the guessing.
//!
//! What it does not do: trust `X-Forwarded-For`. Behind a proxy all clients share the proxy's address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
use holdfast_core::access::grant::KeyRate;

use crate::clock;

/// The most client addresses whose failures are counted apart.
pub const MAX_ADDRESSES: usize = 10_000;

/// Failed authentications from one address that may come at once.
const FAILURES_BURST: NonZeroU32 = NonZeroU32::new(20).expect("20 is not zero");

/// Failed authentications from one address a minute, in the long run.
const FAILURES_PER_MINUTE: NonZeroU32 = NonZeroU32::new(30).expect("30 is not zero");

/// The least time between two hasty looks for room during a flood.
const SHRINK_PAUSE: Duration = Duration::from_secs(5);

/// The rule for keys that have none of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimits {
    /// Whether requests are counted at all. Failed authentications always are.
    pub enabled: bool,
    /// Requests a second that each key may make in the long run.
    pub requests_per_second: u32,
    /// Requests that each key may make at once.
    pub burst: u32,
}

impl RateLimits {
    /// No limit.
    pub const OFF: RateLimits = RateLimits { enabled: false, requests_per_second: 1, burst: 1 };

    fn quota(self, own: KeyRate) -> Option<(NonZeroU32, NonZeroU32)> {
        let rate = own.requests_per_second.unwrap_or(self.requests_per_second);
        let burst = own.burst.unwrap_or(self.burst);
        NonZeroU32::new(rate).zip(NonZeroU32::new(burst)).filter(|_| self.enabled)
    }
}

/// How long a caller has to wait, in whole seconds, rounded up and at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryAfter(pub u64);

impl RetryAfter {
    fn of(wait: Duration) -> RetryAfter {
        RetryAfter((wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1))
    }
}

/// The bucket of one key.
#[derive(Debug)]
pub struct KeyLimiter {
    quota: Option<(NonZeroU32, NonZeroU32)>,
    bucket: Option<DefaultDirectRateLimiter>,
}

impl KeyLimiter {
    /// Makes a full bucket by the common rule and what the key has of its own.
    pub fn new(limits: RateLimits, own: KeyRate) -> KeyLimiter {
        let quota = limits.quota(own);
        let bucket = quota.map(|(rate, burst)| RateLimiter::direct(Quota::per_second(rate).allow_burst(burst)));
        KeyLimiter { quota, bucket }
    }

    /// Says whether this bucket keeps to the given rule, so that a reload may keep it as it stands.
    pub fn follows(&self, limits: RateLimits, own: KeyRate) -> bool {
        self.quota == limits.quota(own)
    }

    /// Takes one request out of the bucket, or says how long to wait.
    pub fn check(&self) -> Result<(), RetryAfter> {
        let Some(bucket) = &self.bucket else {
            return Ok(());
        };
        bucket.check().map_err(|until| RetryAfter::of(until.wait_time_from(DefaultClock::default().now())))
    }
}

/// The count of failed authentications by client address.
#[derive(Debug)]
pub struct FailureLimiter {
    buckets: DefaultKeyedRateLimiter<IpAddr>,
    /// Addresses that have to wait, and until when. Only touched after failures and by short keys.
    waiting: Mutex<HashMap<IpAddr, Instant>>,
    /// How many wait; zero nearly always, which spares the lock.
    waiting_count: AtomicUsize,
    /// When quiet addresses were last forgotten in haste.
    last_shrink: Mutex<Option<Instant>>,
}

impl Default for FailureLimiter {
    fn default() -> FailureLimiter {
        let quota = Quota::per_minute(FAILURES_PER_MINUTE).allow_burst(FAILURES_BURST);
        FailureLimiter {
            buckets: RateLimiter::keyed(quota),
            waiting: Mutex::default(),
            waiting_count: AtomicUsize::new(0),
            last_shrink: Mutex::default(),
        }
    }
}

impl FailureLimiter {
    /// Counts a failed authentication; says how long to wait when there were too many.
    pub fn count(&self, address: Option<IpAddr>) -> Result<(), RetryAfter> {
        let address = self.bucket_of(address);
        let Err(until) = self.buckets.check_key(&address) else {
            return Ok(());
        };
        let wait = until.wait_time_from(DefaultClock::default().now());
        self.remember(address, wait);
        Err(RetryAfter::of(wait))
    }

    /// Says how long a guessable key has to wait at this address, if at all.
    pub fn check_guessable(&self, address: Option<IpAddr>) -> Result<(), RetryAfter> {
        if self.waiting_count.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        let now = clock::monotonic();
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match waiting.get(&narrowed(address)) {
            Some(until) if *until > now => Err(RetryAfter::of(*until - now)),
            _ => Ok(()),
        }
    }

    /// Forgets addresses that have been quiet. Call it every minute or so.
    pub fn shrink(&self) {
        self.buckets.retain_recent();
        self.buckets.shrink_to_fit();
        let now = clock::monotonic();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, until| *until > now);
        waiting.shrink_to_fit();
        self.waiting_count.store(waiting.len(), Ordering::Relaxed);
    }

    fn bucket_of(&self, address: Option<IpAddr>) -> IpAddr {
        if self.buckets.len() >= MAX_ADDRESSES && !self.shrink_in_haste() {
            // A flood from everywhere: all of it shares one bucket; right keys are not affected.
            return narrowed(None);
        }
        narrowed(address)
    }

    /// Makes room during a flood, but not so often that making room becomes the load. Says whether there is some.
    fn shrink_in_haste(&self) -> bool {
        let now = clock::monotonic();
        {
            let mut last = self.last_shrink.lock().unwrap_or_else(PoisonError::into_inner);
            if last.is_some_and(|last| now.duration_since(last) < SHRINK_PAUSE) {
                return false;
            }
            *last = Some(now);
        }
        self.shrink();
        self.buckets.len() < MAX_ADDRESSES
    }

    fn remember(&self, address: IpAddr, wait: Duration) {
        let until = clock::monotonic() + wait;
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < MAX_ADDRESSES || waiting.contains_key(&address) {
            waiting.insert(address, until);
        }
        self.waiting_count.store(waiting.len(), Ordering::Relaxed);
    }
}

/// Reduces an address to what one client can hardly change: IPv4 whole, IPv6 by its /64.
fn narrowed(address: Option<IpAddr>) -> IpAddr {
    match address.map(|address| address.to_canonical()) {
        None => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        Some(IpAddr::V4(address)) => IpAddr::V4(address),
        Some(IpAddr::V6(address)) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    const LIMITS: RateLimits = RateLimits { enabled: true, requests_per_second: 1, burst: 3 };

    #[allow(clippy::unnecessary_wraps)]
    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn a_burst_passes_and_the_next_request_waits() {
        let limiter = KeyLimiter::new(LIMITS, KeyRate::default());
        for _ in 0..3 {
            assert_eq!(limiter.check(), Ok(()));
        }
        assert_eq!(limiter.check(), Err(RetryAfter(1)));
    }

    #[test]
    fn a_key_can_have_a_rate_of_its_own_and_keeps_its_bucket_only_under_the_same_rule() {
        let own = KeyRate { requests_per_second: None, burst: Some(1) };
        let limiter = KeyLimiter::new(LIMITS, own);
        assert_eq!(limiter.check(), Ok(()));
        assert!(limiter.check().is_err());
        assert!(limiter.follows(LIMITS, own) && !limiter.follows(LIMITS, KeyRate::default()));
    }

    #[test]
    fn nothing_is_limited_while_the_setting_is_off() {
        let limiter = KeyLimiter::new(RateLimits::OFF, KeyRate::default());
        assert!((0..10_000).all(|_| limiter.check().is_ok()));
    }

    #[test]
    fn guessing_from_one_address_is_slowed_and_does_not_touch_another() {
        let failures = FailureLimiter::default();
        let (guesser, neighbour) = (address("192.0.2.1"), address("192.0.2.2"));
        assert_eq!(failures.check_guessable(guesser), Ok(()));
        let refused = (0..100).filter(|_| failures.count(guesser).is_err()).count();
        assert!(refused >= 75, "{refused}");
        assert!(failures.check_guessable(guesser).is_err());
        assert_eq!(failures.check_guessable(neighbour), Ok(()));
        assert_eq!(failures.count(neighbour), Ok(()));
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_as_one_and_mapped_ipv4_as_ipv4() {
        assert_eq!(narrowed(address("2001:db8::1")), narrowed(address("2001:db8::ffff:1")));
        assert_ne!(narrowed(address("2001:db8::1")), narrowed(address("2001:db8:0:1::1")));
        assert_eq!(narrowed(address("::ffff:192.0.2.1")), narrowed(address("192.0.2.1")));
    }

    #[test]
    fn a_flood_of_addresses_takes_bounded_memory() {
        let failures = FailureLimiter::default();
        for index in 0..u32::try_from(MAX_ADDRESSES * 2).unwrap() {
            let _ = failures.count(Some(IpAddr::from(index.to_be_bytes())));
        }
        assert!(failures.buckets.len() <= MAX_ADDRESSES + 1);
        failures.shrink();
        assert!(failures.waiting.lock().unwrap().len() <= 1);
    }
}
