//! Rate limits per key, by the generic cell rate algorithm (GCRA, ITU-T I.371).
//!
//! For each key the limiter keeps one time: its theoretical arrival time, at which all of its
//! requests would have been made at the steady rate. Keys whose time has passed are dropped, so
//! that only those over the rate take memory, and at most [`KEYS_MAX`] of them. From there on, new
//! keys share one count: dropping keys that must wait is what an attacker with many addresses would
//! want.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Maximum number of keys that a limiter counts separately, about 64 bytes each.
const KEYS_MAX: usize = 10_000;

/// A rate: requests allowed at once, and the interval between further ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests allowed at once after a period without any.
    pub burst: u32,
    /// Time after which one more request is allowed.
    pub interval: Duration,
}

impl Rate {
    /// `number` requests per second, and twice as many at once.
    pub fn per_second(number: u32) -> Self {
        let number = number.max(1);
        Self {
            burst: number.saturating_mul(2),
            interval: Duration::from_secs(1) / number,
        }
    }

    /// `number` requests per minute, and as many at once.
    pub fn per_minute(number: u32) -> Self {
        let number = number.max(1);
        Self {
            burst: number,
            interval: Duration::from_mins(1) / number,
        }
    }
}

/// A rate limiter that counts each key separately.
#[derive(Debug)]
pub struct RateLimiter<K> {
    rate: Rate,
    counts: Mutex<Counts<K>>,
}

#[derive(Debug)]
struct Counts<K> {
    /// The theoretical arrival time of each key.
    keys: HashMap<K, Instant>,
    /// The same for all keys beyond [`KEYS_MAX`] together.
    overflow: Option<Instant>,
    /// When keys were last dropped. Searching all keys for every new one would let an attacker
    /// cause that work.
    pruned_at: Option<Instant>,
}

impl<K: Eq + Hash> RateLimiter<K> {
    /// A limiter without any requests counted.
    pub fn new(rate: Rate) -> Self {
        Self {
            rate,
            counts: Mutex::new(Counts {
                keys: HashMap::new(),
                overflow: None,
                pruned_at: None,
            }),
        }
    }

    /// Counts a request of `key`; if the key is over its rate, the request is not counted, and the
    /// error is the time to wait.
    pub fn try_acquire(&self, key: K) -> Result<(), Duration> {
        self.try_acquire_at(key, Instant::now())
    }

    /// Takes back one counted request of `key`.
    pub fn refund(&self, key: &K) {
        if let Some(until) = self.counts.lock().keys.get_mut(key) {
            *until = until.checked_sub(self.rate.interval).unwrap_or(*until);
        }
    }

    fn try_acquire_at(&self, key: K, now: Instant) -> Result<(), Duration> {
        let mut counts = self.counts.lock();
        let until = counts.arrival_time(key, now);
        let after = (*until).max(now) + self.rate.interval;
        let most = now + self.rate.interval.saturating_mul(self.rate.burst);
        match after.checked_duration_since(most) {
            Some(over) if !over.is_zero() => Err(over),
            Some(_) | None => {
                *until = after;
                Ok(())
            }
        }
    }
}

impl<K: Eq + Hash> Counts<K> {
    /// The theoretical arrival time that counts for this key.
    fn arrival_time(&mut self, key: K, now: Instant) -> &mut Instant {
        if self.keys.len() >= KEYS_MAX && !self.keys.contains_key(&key) {
            if self
                .pruned_at
                .is_none_or(|pruned_at| now.duration_since(pruned_at) >= Duration::from_secs(1))
            {
                self.keys.retain(|_, until| *until > now);
                self.pruned_at = Some(now);
            }
            if self.keys.len() >= KEYS_MAX {
                return self.overflow.get_or_insert(now);
            }
        }
        self.keys.entry(key).or_insert(now)
    }
}

/// The part of an address that is limited: an IPv4 address, or the /64 network of an IPv6 address,
/// because every client there has 2^64 addresses (RFC 6177).
pub fn network_prefix(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) if address.is_loopback() => address.into(),
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        burst: 3,
        interval: Duration::from_secs(10),
    };

    #[test]
    fn a_burst_is_allowed_and_then_one_request_per_interval() {
        let (limiter, now) = (RateLimiter::new(RATE), Instant::now());
        for _ in 0..3 {
            limiter.try_acquire_at(1, now).unwrap();
        }
        assert_eq!(limiter.try_acquire_at(1, now), Err(RATE.interval));
        assert_eq!(
            limiter.try_acquire_at(1, now),
            Err(RATE.interval),
            "a rejected request does not prolong the wait"
        );
        limiter.try_acquire_at(2, now).unwrap();
        let later = now + RATE.interval;
        limiter.try_acquire_at(1, later).unwrap();
        assert!(limiter.try_acquire_at(1, later).is_err());
        let idle = later + 4 * RATE.interval;
        for _ in 0..3 {
            limiter.try_acquire_at(1, idle).unwrap();
        }
        assert!(
            limiter.try_acquire_at(1, idle).is_err(),
            "idle time adds up to one burst at most"
        );
    }

    #[test]
    fn a_refunded_request_can_be_made_again() {
        let (limiter, now) = (RateLimiter::new(RATE), Instant::now());
        for _ in 0..10 {
            limiter.try_acquire_at(1, now).unwrap();
            limiter.refund(&1);
        }
        limiter.refund(&2);
    }

    #[test]
    fn many_keys_take_bounded_memory_and_evict_no_limited_key() {
        let (limiter, now) = (RateLimiter::new(RATE), Instant::now());
        for _ in 0..3 {
            limiter.try_acquire_at(0, now).unwrap();
        }
        for key in 1..3 * KEYS_MAX {
            // Of the keys that share one count, three requests are allowed in total.
            assert!(limiter.try_acquire_at(key, now).is_ok() || key >= KEYS_MAX);
        }
        assert_eq!(limiter.counts.lock().keys.len(), KEYS_MAX);
        assert!(
            limiter.try_acquire_at(0, now).is_err(),
            "a key that must wait is kept"
        );
        limiter
            .try_acquire_at(usize::MAX, now + 2 * RATE.interval)
            .unwrap();
        assert!(
            limiter.counts.lock().keys.len() < 3,
            "keys under their rate are dropped"
        );
    }

    #[test]
    fn an_ipv6_address_counts_as_its_network() {
        let address = |text: &str| network_prefix(text.parse().unwrap());
        assert_eq!(address("2001:db8::1"), address("2001:db8::ffff:1"));
        assert_ne!(address("2001:db8::1"), address("2001:db8:0:1::1"));
        assert!(address("::1").is_loopback() && address("::ffff:127.0.0.1").is_loopback());
        assert_eq!(address("::ffff:192.0.2.1"), address("192.0.2.1"));
        assert_ne!(address("192.0.2.1"), address("192.0.2.2"));
    }
}
