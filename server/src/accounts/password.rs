//! Passwords: kept as argon2id hashes, and checked in the same time whether or not there is such a
//! user.
//!
//! A password has little randomness, so unlike a token it needs a hash that costs memory and time
//! (RFC 9106). That cost is ours as well: only a few are computed at a time.

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

/// How long a login waits for its turn.
const TURN_WAIT: Duration = Duration::from_secs(10);

/// Characters of a password, at least (NIST SP 800-63B, 5.1.1.2).
const CHARACTERS_MIN: usize = 8;

/// Bytes of a password, at most: longer ones protect nothing more and cost us.
const BYTES_MAX: usize = 1024;

/// Bytes of a salt (RFC 9106, 3.1).
const SALT_BYTES: usize = 16;

/// Computes hashes. Clones share the turns.
#[derive(Clone, Debug)]
pub(super) struct Passwords {
    turns: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self {
            turns: Arc::new(Semaphore::new(HASHES_MAX)),
        }
    }
}

impl Passwords {
    /// The hash to keep of a new password, as PHC writes it.
    pub(super) async fn hash(&self, password: String) -> Result<String, AccountError> {
        if password.chars().count() < CHARACTERS_MIN || password.len() > BYTES_MAX {
            return Err(AccountError::UnfitPassword);
        }
        let salt = salt()?;
        self.in_turn(move || hash(&password, &salt)).await?
    }

    /// Whether a password has this hash. Without a hash the work is the same, and the answer no.
    pub(super) async fn fits(
        &self,
        password: String,
        kept: Option<String>,
    ) -> Result<bool, AccountError> {
        let salt = salt()?;
        self.in_turn(move || match kept {
            Some(kept) => verified(&password, &kept),
            None => hash(&password, &salt).map(|_| false),
        })
        .await?
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, AccountError> {
        let turn = timeout(TURN_WAIT, Arc::clone(&self.turns).acquire_owned())
            .await
            .map_err(|_| AccountError::Busy)?;
        let turn = turn.expect("the semaphore is never closed");
        // The turn goes along: whoever asked may leave, the work goes on.
        let worked = spawn_blocking(move || {
            let done = work();
            drop(turn);
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
        .hash_password(cut(password), salt)
        .map_err(AccountError::Hash)?;
    Ok(hash.to_string())
}

/// By the parameters that stand in the hash, in constant time as to the bytes.
fn verified(password: &str, kept: &str) -> Result<bool, AccountError> {
    let kept = PasswordHash::new(kept).map_err(AccountError::Hash)?;
    match Argon2::default().verify_password(cut(password), &kept) {
        Ok(()) => Ok(true),
        Err(argon2::password_hash::Error::Password) => Ok(false),
        Err(error) => Err(AccountError::Hash(error)),
    }
}

/// No kept password is longer, so a longer one fits none; hashing its beginning costs what any
/// other does.
fn cut(password: &str) -> &[u8] {
    &password.as_bytes()[..password.len().min(BYTES_MAX + 1)]
}

/// A name for a device that is not taken: the one that was asked for, and something random.
pub(super) fn similar(name: &str) -> Result<String, AccountError> {
    let mut random = [0; 4];
    getrandom::fill(&mut random).map_err(AccountError::Random)?;
    let kept = name.len().min(super::NAME_MAX - 1 - 2 * random.len());
    Ok(format!("{}-{}", &name[..kept], HEXLOWER.encode(&random)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_fits_its_hash_and_no_other_does() {
        let passwords = Passwords::default();
        let kept = passwords.hash("correct horse".to_owned()).await.unwrap();
        assert!(
            kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{kept}"
        );
        assert!(!kept.contains("horse"));
        let again = passwords.hash("correct horse".to_owned()).await.unwrap();
        assert_ne!(kept, again, "salted");
        for (said, kept, fits) in [
            ("correct horse", Some(kept.clone()), true),
            ("correct horse", Some(again), true),
            ("correct hors", Some(kept.clone()), false),
            ("correct horse ", Some(kept.clone()), false),
            ("", Some(kept), false),
            ("correct horse", None, false),
        ] {
            assert_eq!(
                passwords.fits(said.to_owned(), kept).await.unwrap(),
                fits,
                "{said:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_password_that_is_too_short_or_too_long_is_not_kept() {
        for unfit in ["", "1234567", "ää", &"x".repeat(BYTES_MAX + 1)] {
            let refused = Passwords::default().hash(unfit.to_owned()).await;
            assert!(
                matches!(refused, Err(AccountError::UnfitPassword)),
                "{unfit:?}"
            );
        }
        let longest = "x".repeat(BYTES_MAX);
        let kept = Passwords::default().hash(longest.clone()).await.unwrap();
        assert!(
            !Passwords::default()
                .fits(longest + "x", Some(kept))
                .await
                .unwrap()
        );
    }

    #[test]
    fn a_similar_name_is_a_name() {
        let longest = "n".repeat(64);
        let similar = similar(&longest).unwrap();
        assert!(
            similar.len() <= 64 && similar.starts_with("nnn"),
            "{similar}"
        );
    }
}
