//! Rate limits on authentication: failed logins, invalid tokens, and checks. Clients over a limit
//! get status 429 and the time to wait.
//!
//! These are the requests that an attacker needs more of than anybody else. Failed proofs are not
//! answered with 429, which would reveal that there was something to prove; their limit is
//! [`crate::possession::PROOF_FAILURES_PER_DAY`].

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderValue;
use axum::http::header::RETRY_AFTER;
use heirloom_protocol::ErrorCode;

use super::ErrorResponse;
use crate::config::RateLimits;
use crate::index::TokenId;
use crate::metrics::SharedCounters;
use crate::rate_limit::{Rate, RateLimiter, network_prefix};

/// Limit of failed logins per address, as a multiple of the limit per user name: this many people
/// behind one address may mistype their passwords at the same time.
const USERS_PER_ADDRESS: u32 = 3;

/// Maximum length of a user name that is counted, in characters. No account has a longer name.
const NAME_CHARS_MAX: usize = 64;

/// The address of the client, as the socket reports it.
#[derive(Clone, Copy, Debug)]
pub struct PeerAddress(pub IpAddr);

/// The rate limits on authentication. Clones share their counts.
#[derive(Clone, Debug)]
pub struct AuthLimits {
    limiters: Arc<AuthLimiters>,
    counters: SharedCounters,
}

#[derive(Debug)]
struct AuthLimiters {
    /// Failed logins per address and user name.
    logins_by_name: RateLimiter<(IpAddr, String)>,
    /// Failed logins per address.
    logins_by_address: RateLimiter<IpAddr>,
    /// Requests without a valid token, per address.
    anonymous: RateLimiter<IpAddr>,
    /// Checks per token.
    image_checks: RateLimiter<TokenId>,
}

/// A login attempt. It counts as failed unless it is [reset](LoginAttempt::reset).
#[derive(Debug)]
pub(super) struct LoginAttempt {
    limits: AuthLimits,
    address: IpAddr,
    name: String,
}

impl AuthLimits {
    /// Limits with all counts at zero.
    pub fn new(limits: RateLimits, counters: SharedCounters) -> Self {
        let logins = limits.failed_logins_per_minute;
        let by_address = Rate::per_minute(logins.saturating_mul(USERS_PER_ADDRESS));
        let limiters = AuthLimiters {
            logins_by_name: RateLimiter::new(Rate::per_minute(logins)),
            logins_by_address: RateLimiter::new(by_address),
            anonymous: RateLimiter::new(Rate::per_second(limits.anonymous_per_second)),
            image_checks: RateLimiter::new(Rate::per_second(limits.checks_per_second)),
        };
        Self {
            limiters: Arc::new(limiters),
            counters,
        }
    }

    /// Counts a login attempt before the password is checked, so that a thousand at the same time
    /// count as a thousand.
    pub(super) fn login(
        &self,
        PeerAddress(peer): PeerAddress,
        name: &str,
    ) -> Result<LoginAttempt, ErrorResponse> {
        let attempt = LoginAttempt {
            limits: self.clone(),
            address: network_prefix(peer),
            name: name.chars().take(NAME_CHARS_MAX).collect(),
        };
        let by_name = (attempt.address, attempt.name.clone());
        self.check(self.limiters.logins_by_name.try_acquire(by_name))?;
        // A proxy on this machine forwards the requests of many clients.
        if !attempt.address.is_loopback() {
            let by_address = self.limiters.logins_by_address.try_acquire(attempt.address);
            if let Err(limited) = self.check(by_address) {
                let by_name = (attempt.address, attempt.name);
                self.limiters.logins_by_name.refund(&by_name);
                return Err(limited);
            }
        }
        Ok(attempt)
    }

    /// Counts a request without a valid token.
    pub(super) fn anonymous(&self, PeerAddress(peer): PeerAddress) -> Result<(), ErrorResponse> {
        let address = network_prefix(peer);
        if address.is_loopback() {
            Ok(())
        } else {
            self.check(self.limiters.anonymous.try_acquire(address))
        }
    }

    /// Counts a check by `token`.
    pub(super) fn image_check(&self, token: TokenId) -> Result<(), ErrorResponse> {
        self.check(self.limiters.image_checks.try_acquire(token))
    }

    /// Turns a limiter's wait into an error response.
    fn check(&self, acquired: Result<(), Duration>) -> Result<(), ErrorResponse> {
        acquired.map_err(|wait| {
            self.counters.requests_limited.add_one();
            let seconds = wait.as_secs() + 1;
            let limited = ErrorResponse::new(
                ErrorCode::TooManyRequests,
                format!("try again in {seconds} s"),
            );
            limited.with_header(RETRY_AFTER, HeaderValue::from(seconds))
        })
    }
}

impl LoginAttempt {
    /// Takes the attempt off the counts: the password was right, or was not checked.
    pub(super) fn reset(self) {
        let limiters = &self.limits.limiters;
        limiters.logins_by_address.refund(&self.address);
        limiters.logins_by_name.refund(&(self.address, self.name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(failed_logins_per_minute: u32) -> AuthLimits {
        let limits = RateLimits {
            failed_logins_per_minute,
            anonymous_per_second: 5,
            checks_per_second: 5,
        };
        AuthLimits::new(limits, SharedCounters::default())
    }

    fn peer(text: &str) -> PeerAddress {
        PeerAddress(text.parse().unwrap())
    }

    #[test]
    fn an_address_that_tries_many_names_is_limited_and_a_right_password_never_counts() {
        let limits = limits(4);
        for number in 0..100 {
            limits
                .login(peer("192.0.2.1"), &format!("user{number}"))
                .unwrap()
                .reset();
        }
        let allowed = (0..100).filter(|number| {
            limits
                .login(peer("192.0.2.1"), &format!("user{number}"))
                .is_ok()
        });
        assert_eq!(allowed.count(), 12);
        limits.login(peer("192.0.2.2"), "anna").unwrap();
        assert_eq!(limits.counters.requests_limited.total(), 88);
    }

    #[test]
    fn one_name_behind_a_proxy_is_limited_and_others_are_not() {
        let limits = limits(4);
        let allowed = (0..100).filter(|_| limits.login(peer("127.0.0.1"), "anna").is_ok());
        assert_eq!(allowed.count(), 4);
        limits.login(peer("127.0.0.1"), "ben").unwrap();
    }

    #[test]
    fn invalid_tokens_and_too_many_checks_are_limited() {
        let limits = limits(4);
        assert_eq!(
            (0..100)
                .filter(|_| limits.anonymous(peer("2001:db8::1")).is_ok())
                .count(),
            10
        );
        assert!((0..100).all(|_| limits.anonymous(peer("::1")).is_ok()));
        assert_eq!(
            (0..100)
                .filter(|_| limits.image_check(TokenId(1)).is_ok())
                .count(),
            10
        );
        limits.image_check(TokenId(2)).unwrap();
    }
}
