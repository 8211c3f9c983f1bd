//! Rates: how often each may ask.
//!
//! For each key one moment is kept: the one at which all that it asked would have been asked at the
//! steady rate (the generic cell rate algorithm of ITU-T I.371). A key that has caught up is worth
//! forgetting, so the memory is bounded by those who ask too much, and then by a number: from there
//! on newcomers share one count, because to forget whoever waits would be what an attacker with
//! many addresses is after.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Keys that are counted by themselves, of one kind: some 64 bytes each.
const KEYS_MAX: usize = 10_000;

/// So many at once, and so many in a length of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// At once, after a while of nothing.
    pub burst: u32,
    /// For how long one takes away from it.
    pub interval: Duration,
}

impl Rate {
    /// `number` a second, and twice as many at once.
    pub fn per_second(number: u32) -> Self {
        let number = number.max(1);
        Self {
            burst: number.saturating_mul(2),
            interval: Duration::from_secs(1) / number,
        }
    }

    /// `number` a minute, and as many at once.
    pub fn per_minute(number: u32) -> Self {
        let number = number.max(1);
        Self {
            burst: number,
            interval: Duration::from_mins(1) / number,
        }
    }
}

/// Counts what each key asks.
#[derive(Debug)]
pub struct Limiter<K> {
    rate: Rate,
    counts: Mutex<Counts<K>>,
}

#[derive(Debug)]
struct Counts<K> {
    /// When each key will have caught up.
    known: HashMap<K, Instant>,
    /// The same for all who find no place there.
    others: Option<Instant>,
    /// When those that have caught up were last forgotten: looking at all of them for each newcomer
    /// would be work for an attacker to give.
    tidied: Option<Instant>,
}

impl<K: Eq + Hash> Limiter<K> {
    /// Nobody has asked yet.
    pub fn new(rate: Rate) -> Self {
        Self {
            rate,
            counts: Mutex::new(Counts {
                known: HashMap::new(),
                others: None,
                tidied: None,
            }),
        }
    }

    /// Counts one, or says how long to wait; then it is not counted.
    pub fn take(&self, key: K) -> Result<(), Duration> {
        self.take_at(key, Instant::now())
    }

    /// Takes one back that should not have counted.
    pub fn give_back(&self, key: &K) {
        if let Some(until) = self.counts().known.get_mut(key) {
            *until = until.checked_sub(self.rate.interval).unwrap_or(*until);
        }
    }

    fn take_at(&self, key: K, now: Instant) -> Result<(), Duration> {
        let mut counts = self.counts();
        let until = counts.place(key, now);
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

    fn counts(&self) -> MutexGuard<'_, Counts<K>> {
        // Each entry is true by itself: a panic elsewhere has not spoiled them.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash> Counts<K> {
    /// Where this key is counted.
    fn place(&mut self, key: K, now: Instant) -> &mut Instant {
        if self.known.len() >= KEYS_MAX && !self.known.contains_key(&key) {
            if self
                .tidied
                .is_none_or(|tidied| now.duration_since(tidied) >= Duration::from_secs(1))
            {
                self.known.retain(|_, until| *until > now);
                self.tidied = Some(now);
            }
            if self.known.len() >= KEYS_MAX {
                return self.others.get_or_insert(now);
            }
        }
        self.known.entry(key).or_insert(now)
    }
}

/// What counts as one address: of IPv6 the network, because whoever has one address there has 2^64
/// of them (RFC 6177).
pub fn network(address: IpAddr) -> IpAddr {
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
    fn a_burst_is_let_through_and_then_one_at_a_time() {
        let (limiter, now) = (Limiter::new(RATE), Instant::now());
        for _ in 0..3 {
            limiter.take_at(1, now).unwrap();
        }
        assert_eq!(limiter.take_at(1, now), Err(RATE.interval));
        assert_eq!(
            limiter.take_at(1, now),
            Err(RATE.interval),
            "asking in vain makes nobody wait longer"
        );
        limiter.take_at(2, now).unwrap();
        let later = now + RATE.interval;
        limiter.take_at(1, later).unwrap();
        assert!(limiter.take_at(1, later).is_err());
        let rested = later + 4 * RATE.interval;
        for _ in 0..3 {
            limiter.take_at(1, rested).unwrap();
        }
        assert!(
            limiter.take_at(1, rested).is_err(),
            "rest is not saved up beyond a burst"
        );
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let (limiter, now) = (Limiter::new(RATE), Instant::now());
        for _ in 0..10 {
            limiter.take_at(1, now).unwrap();
            limiter.give_back(&1);
        }
        limiter.give_back(&2);
    }

    #[test]
    fn many_keys_take_no_more_than_their_memory_and_push_nobody_out() {
        let (limiter, now) = (Limiter::new(RATE), Instant::now());
        for _ in 0..3 {
            limiter.take_at(0, now).unwrap();
        }
        for key in 1..3 * KEYS_MAX {
            // Beyond those with a place of their own, three are let through in all.
            assert!(limiter.take_at(key, now).is_ok() || key >= KEYS_MAX);
        }
        assert_eq!(limiter.counts().known.len(), KEYS_MAX);
        assert!(
            limiter.take_at(0, now).is_err(),
            "who has to wait is not forgotten"
        );
        limiter
            .take_at(usize::MAX, now + 2 * RATE.interval)
            .unwrap();
        assert!(limiter.counts().known.len() < 3, "who has caught up is");
    }

    #[test]
    fn an_address_of_ipv6_is_its_network() {
        let address = |text: &str| network(text.parse().unwrap());
        assert_eq!(address("2001:db8::1"), address("2001:db8::ffff:1"));
        assert_ne!(address("2001:db8::1"), address("2001:db8:0:1::1"));
        assert!(address("::1").is_loopback() && address("::ffff:127.0.0.1").is_loopback());
        assert_eq!(address("::ffff:192.0.2.1"), address("192.0.2.1"));
        assert_ne!(address("192.0.2.1"), address("192.0.2.2"));
    }
}
