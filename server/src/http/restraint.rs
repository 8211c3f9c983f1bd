//! Restraint: whoever asks too often is told when to come again (429).
//!
//! What is counted is what an attacker does more of than anybody else: wrong passwords, tokens that
//! are none, and checks. Wrong proofs are not answered with 429, which would tell that there was
//! something to prove: their limit is [`crate::possession::PROOF_FAILURES_PER_DAY`].

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderValue;
use axum::http::header::RETRY_AFTER;
use heirloom_protocol::ErrorCode;

use super::Refusal;
use crate::config::RateLimits;
use crate::index::TokenId;
use crate::metrics::SharedCounters;
use crate::rate_limit::{Limiter, Rate, network};

/// Wrong passwords from one address, whatever the name: so many people log in from behind one
/// address at a time and mistype.
const ADDRESS_LOGINS: u32 = 3;

/// Bytes of a name that are counted by: longer ones are nobody's.
const NAME_BYTES: usize = 64;

/// Who asked, as far as the network can tell.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// What each may ask. Clones share the counts.
#[derive(Clone, Debug)]
pub struct Restraint {
    limits: Arc<Limits>,
    counters: SharedCounters,
}

#[derive(Debug)]
struct Limits {
    /// Logins that failed, for one name from one address.
    names: Limiter<(IpAddr, String)>,
    /// Logins that failed, from one address.
    addresses: Limiter<IpAddr>,
    /// Requests with a token that is none, from one address.
    strangers: Limiter<IpAddr>,
    /// Checks by one token.
    checks: Limiter<TokenId>,
}

/// A login that counts as failed until it succeeded.
#[derive(Debug)]
pub(super) struct Attempt {
    restraint: Restraint,
    address: IpAddr,
    name: String,
}

impl Restraint {
    /// Nobody has asked yet.
    pub fn new(limits: RateLimits, counters: SharedCounters) -> Self {
        let logins = limits.failed_logins_per_minute;
        let limits = Limits {
            names: Limiter::new(Rate::per_minute(logins)),
            addresses: Limiter::new(Rate::per_minute(logins.saturating_mul(ADDRESS_LOGINS))),
            strangers: Limiter::new(Rate::per_second(limits.strangers_per_second)),
            checks: Limiter::new(Rate::per_second(limits.checks_per_second)),
        };
        Self {
            limits: Arc::new(limits),
            counters,
        }
    }

    /// Lets somebody try a password. It counts from now on, so that a thousand at once are not one.
    pub(super) fn attempt(&self, Peer(peer): Peer, name: &str) -> Result<Attempt, Refusal> {
        let attempt = Attempt {
            restraint: self.clone(),
            address: network(peer),
            name: name.chars().take(NAME_BYTES).collect(),
        };
        self.heed(
            self.limits
                .names
                .take((attempt.address, attempt.name.clone())),
        )?;
        // A proxy on this machine speaks for everybody.
        if !attempt.address.is_loopback()
            && let Err(refusal) = self.heed(self.limits.addresses.take(attempt.address))
        {
            self.limits
                .names
                .give_back(&(attempt.address, attempt.name));
            return Err(refusal);
        }
        Ok(attempt)
    }

    /// Somebody showed a token that is none.
    pub(super) fn stranger(&self, Peer(peer): Peer) -> Result<(), Refusal> {
        let address = network(peer);
        if address.is_loopback() {
            Ok(())
        } else {
            self.heed(self.limits.strangers.take(address))
        }
    }

    /// A token asks what the server has.
    pub(super) fn check(&self, token: TokenId) -> Result<(), Refusal> {
        self.heed(self.limits.checks.take(token))
    }

    fn heed(&self, taken: Result<(), Duration>) -> Result<(), Refusal> {
        taken.map_err(|wait| {
            self.counters.requests_limited.add_one();
            let seconds = wait.as_secs() + 1;
            let refusal = Refusal::because(
                ErrorCode::TooManyRequests,
                format!("come again in {seconds} s"),
            );
            refusal.with_header(RETRY_AFTER, HeaderValue::from(seconds))
        })
    }
}

impl Attempt {
    /// It was the right password, or none that was looked at: it does not count.
    pub(super) fn forgive(self) {
        let limits = &self.restraint.limits;
        limits.addresses.give_back(&self.address);
        limits.names.give_back(&(self.address, self.name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restraint(failed_logins_per_minute: u32) -> Restraint {
        let limits = RateLimits {
            failed_logins_per_minute,
            strangers_per_second: 5,
            checks_per_second: 5,
        };
        Restraint::new(limits, SharedCounters::default())
    }

    fn peer(text: &str) -> Peer {
        Peer(text.parse().unwrap())
    }

    #[test]
    fn an_address_that_tries_many_names_is_stopped_and_a_right_password_never_counts() {
        let restraint = restraint(4);
        for number in 0..100 {
            restraint
                .attempt(peer("192.0.2.1"), &format!("user{number}"))
                .unwrap()
                .forgive();
        }
        let tried = (0..100).filter(|number| {
            restraint
                .attempt(peer("192.0.2.1"), &format!("user{number}"))
                .is_ok()
        });
        assert_eq!(tried.count(), 12);
        restraint.attempt(peer("192.0.2.2"), "anna").unwrap();
        assert_eq!(restraint.counters.requests_limited.total(), 88);
    }

    #[test]
    fn one_name_behind_a_proxy_is_stopped_and_others_are_not() {
        let restraint = restraint(4);
        let tried = (0..100).filter(|_| restraint.attempt(peer("127.0.0.1"), "anna").is_ok());
        assert_eq!(tried.count(), 4);
        restraint.attempt(peer("127.0.0.1"), "ben").unwrap();
    }

    #[test]
    fn strangers_and_busy_tokens_are_asked_to_wait() {
        let restraint = restraint(4);
        assert_eq!(
            (0..100)
                .filter(|_| restraint.stranger(peer("2001:db8::1")).is_ok())
                .count(),
            10
        );
        assert!((0..100).all(|_| restraint.stranger(peer("::1")).is_ok()));
        assert_eq!(
            (0..100)
                .filter(|_| restraint.check(TokenId(1)).is_ok())
                .count(),
            10
        );
        restraint.check(TokenId(2)).unwrap();
    }
}
