//! Passwords: stored as argon2id hashes, and verified in the same time whether or not the user
//! exists.
//!
//! A password has little randomness, so unlike a token it needs a hash that costs memory and time
//! (RFC 9106). The server pays that cost too, so only a few are computed at a time.

use std::sync::Arc;
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use data_encoding::HEXLOWER;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::AccountError;

/// Hashes computed at a time: each takes 19 MiB and some 50 ms of a processor.
const HASHES_MAX: usize = 2;

/// How long a login waits for a permit.
const PERMIT_WAIT: Duration = Duration::from_secs(10);

/// The fewest characters of a password (NIST SP 800-63B, 5.1.1.2).
const CHARACTERS_MIN: usize = 8;

/// The most bytes of a password: longer ones protect nothing more and cost time.
const BYTES_MAX: usize = 1024;

/// Bytes of a salt (RFC 9106, 3.1).
const SALT_BYTES: usize = 16;

/// Computes password hashes. Clones share the permits.
#[derive(Clone, Debug)]
pub(super) struct Passwords {
    permits: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self {
            permits: Arc::new(Semaphore::new(HASHES_MAX)),
        }
    }
}

impl Passwords {
    /// The hash of a new password in PHC format.
    pub(super) async fn hash(&self, password: String) -> Result<String, AccountError> {
        if password.chars().count() < CHARACTERS_MIN || password.len() > BYTES_MAX {
            return Err(AccountError::InvalidPassword);
        }
        let salt = salt()?;
        self.with_permit(move || hash(&password, &salt)).await?
    }

    /// Whether a password has this hash. Without a hash the work is the same, and the result false.
    pub(super) async fn verify(
        &self,
        password: String,
        stored: Option<String>,
    ) -> Result<bool, AccountError> {
        let salt = salt()?;
        self.with_permit(move || match stored {
            Some(stored) => matches(&password, &stored),
            None => hash(&password, &salt).map(|_| false),
        })
        .await?
    }

    async fn with_permit<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, AccountError> {
        let permit = timeout(PERMIT_WAIT, Arc::clone(&self.permits).acquire_owned())
            .await
            .map_err(|_| AccountError::Busy)?;
        let permit = permit.expect("the semaphore is never closed");
        // The permit moves along: the work continues even if the caller stops waiting.
        let worked = spawn_blocking(move || {
            let done = work();
            drop(permit);
            done
        });
        worked.await.map_err(|_| AccountError::Busy)
    }
}

fn salt() -> Result<SaltString, AccountError> {
    let mut random = [0; SALT_BYTES];
    getrandom::fill(&mut random).map_err(AccountError::Random)?;
    SaltString::encode_b64(&random).map_err(AccountError::Hash)
}

fn hash(password: &str, salt: &SaltString) -> Result<String, AccountError> {
    // Argon2id with the crate's parameters, which are those of OWASP: 19 MiB, two passes.
    let hash = Argon2::default()
        .hash_password(truncated(password), salt)
        .map_err(AccountError::Hash)?;
    Ok(hash.to_string())
}

/// Verifies with the parameters in the hash, comparing in constant time.
fn matches(password: &str, stored: &str) -> Result<bool, AccountError> {
    let stored = PasswordHash::new(stored).map_err(AccountError::Hash)?;
    match Argon2::default().verify_password(truncated(password), &stored) {
        Ok(()) => Ok(true),
        Err(argon2::password_hash::Error::Password) => Ok(false),
        Err(error) => Err(AccountError::Hash(error)),
    }
}

/// No stored password is longer, so a longer one matches none; hashing its beginning costs as much
/// as any other.
fn truncated(password: &str) -> &[u8] {
    &password.as_bytes()[..password.len().min(BYTES_MAX + 1)]
}

/// A free device name: the requested one with a random suffix.
pub(super) fn unique_variant(name: &str) -> Result<String, AccountError> {
    let mut random = [0; 4];
    getrandom::fill(&mut random).map_err(AccountError::Random)?;
    let kept = name.len().min(super::NAME_MAX - 1 - 2 * random.len());
    Ok(format!("{}-{}", &name[..kept], HEXLOWER.encode(&random)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_matches_a_hash() {
        let passwords = Passwords::default();
        let kept = passwords.hash("correct horse".to_owned()).await.unwrap();
        assert!(
            kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{kept}"
        );
        assert!(!kept.contains("horse"));
        let again = passwords.hash("correct horse".to_owned()).await.unwrap();
        assert_ne!(kept, again, "salted");
        for (said, kept, is_right) in [
            ("correct horse", Some(kept.clone()), true),
            ("correct horse", Some(again), true),
            ("correct hors", Some(kept.clone()), false),
            ("correct horse ", Some(kept.clone()), false),
            ("", Some(kept), false),
            ("correct horse", None, false),
        ] {
            assert_eq!(
                passwords.verify(said.to_owned(), kept).await.unwrap(),
                is_right,
                "{said:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_password_that_is_too_short_or_too_long_is_refused() {
        for unfit in ["", "1234567", "ää", &"x".repeat(BYTES_MAX + 1)] {
            let refused = Passwords::default().hash(unfit.to_owned()).await;
            assert!(
                matches!(refused, Err(AccountError::InvalidPassword)),
                "{unfit:?}"
            );
        }
        let longest = "x".repeat(BYTES_MAX);
        let kept = Passwords::default().hash(longest.clone()).await.unwrap();
        assert!(
            !Passwords::default()
                .verify(longest + "x", Some(kept))
                .await
                .unwrap()
        );
    }

    #[test]
    fn a_unique_variant_is_a_valid_name() {
        let longest = "n".repeat(64);
        let variant = unique_variant(&longest).unwrap();
        assert!(
            variant.len() <= 64 && variant.starts_with("nnn"),
            "{variant}"
        );
    }
}
