//! Nonces for proofs. They are computed, not stored, so that every process of an installation
//! issues and accepts the same ones, and a restart costs nobody a round trip.

use std::fmt;

use heirloom_protocol::possession::{NONCE_SECONDS, Nonce};

use crate::index::TokenId;

/// Names the purpose of the key (BLAKE3 section 6.2), so that the secret can serve others too.
const CONTEXT: &str = "heirloom nonce 1";

/// Computes the nonces of one installation.
#[derive(Clone)]
pub(super) struct Nonces {
    key: [u8; 32],
}

impl Nonces {
    /// Derives the key from the installation's secret.
    pub(super) fn of(secret: [u8; 32]) -> Self {
        Self {
            key: blake3::derive_key(CONTEXT, &secret),
        }
    }

    /// The nonce of this hour, and the seconds until the next.
    pub(super) fn current(&self, token: TokenId, now_ms: i64) -> (Nonce, u64) {
        let seconds = seconds(now_ms);
        (
            self.at(token, seconds / NONCE_SECONDS),
            NONCE_SECONDS - seconds % NONCE_SECONDS,
        )
    }

    /// The nonces that a proof may use: those of this hour and the previous one.
    pub(super) fn accepted(&self, token: TokenId, now_ms: i64) -> [Nonce; 2] {
        let period = seconds(now_ms) / NONCE_SECONDS;
        [
            self.at(token, period),
            self.at(token, period.saturating_sub(1)),
        ]
    }

    fn at(&self, token: TokenId, period: u64) -> Nonce {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher
            .update(&token.0.to_be_bytes())
            .update(&period.to_be_bytes());
        Nonce::from(*hasher.finalize().as_bytes())
    }
}

/// Seconds since the epoch; 0 for a clock set to before it.
fn seconds(milliseconds: i64) -> u64 {
    milliseconds.max(0).unsigned_abs() / 1000
}

impl fmt::Debug for Nonces {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Nonces(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    #[test]
    fn a_nonce_is_accepted_in_its_hour_and_the_next_only() {
        let nonces = Nonces::of([1; 32]);
        let (given, renewal_s) = nonces.current(TokenId(7), 5 * HOUR_MS + 1_000);
        assert_eq!(renewal_s, NONCE_SECONDS - 1);
        for (later_ms, good) in [
            (0, true),
            (HOUR_MS, true),
            (2 * HOUR_MS - 2_000, true),
            (2 * HOUR_MS, false),
        ] {
            let accepted = nonces.accepted(TokenId(7), 5 * HOUR_MS + 1_000 + later_ms);
            assert_eq!(accepted.contains(&given), good, "{later_ms} ms later");
        }
    }

    #[test]
    fn tokens_and_installations_never_share_a_nonce() {
        let ours = Nonces::of([1; 32]).current(TokenId(7), 0).0;
        assert_ne!(ours, Nonces::of([1; 32]).current(TokenId(8), 0).0);
        assert_ne!(ours, Nonces::of([2; 32]).current(TokenId(7), 0).0);
    }

    #[test]
    fn a_clock_before_the_epoch_is_survived() {
        assert_eq!(Nonces::of([1; 32]).current(TokenId(7), -5).1, NONCE_SECONDS);
    }
}
