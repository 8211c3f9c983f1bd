//! Who may ask: users, and the devices whose tokens speak for them.
//!
//! A token is 256 random bits, shown once and kept only as its SHA-256: with that much randomness a
//! slow hash would protect nothing more. It begins with `hl_`, so that scanners for leaked secrets
//! can know it.

mod password;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use heirloom_protocol::Fingerprint;
use heirloom_protocol::message::Scope;
use heirloom_protocol::possession::UserId;

use crate::index::{DeviceEntry, Index, IndexError, NewDevice, TokenId, UserEntry, UserState};

use password::Passwords;

/// How long a caller is remembered: thousands of requests a second do not each ask the index, and a
/// token that is taken away is good for no longer than this.
const REMEMBERED: Duration = Duration::from_secs(2);

/// Callers remembered, at most; beyond it all are forgotten and asked for again. Only good tokens
/// get in.
const CALLERS_MAX: usize = 10_000;

/// What every token begins with.
const TOKEN_PREFIX: &str = "hl_";

/// Random bytes in a token.
const TOKEN_BYTES: usize = 32;

/// Characters of a user's or a device's name, at most.
const NAME_MAX: usize = 64;

/// Who is asking, as proved by a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The account.
    pub user: UserId,
    /// The token they showed.
    pub token: TokenId,
    /// The account's name.
    pub name: String,
    /// What the token may do.
    pub scope: Scope,
    /// The most that the account may hold, in bytes.
    pub quota: Option<u64>,
}

/// The door book.
#[derive(Clone, Debug)]
pub struct Accounts {
    index: Index,
    passwords: Passwords,
    callers: Arc<Mutex<HashMap<[u8; 32], Remembered>>>,
}

#[derive(Clone, Debug)]
struct Remembered {
    caller: Caller,
    since: Instant,
}

/// What can go wrong with accounts.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// No name for a user.
    #[error("a user's name has 1 to 64 of a-z 0-9 . _ -")]
    MalformedName,
    /// There is a user of that name.
    #[error("there is a user named {0} already")]
    NameTaken(String),
    /// There is no user of that name.
    #[error("there is no user named {0}")]
    NoSuchUser(String),
    /// No name for a device.
    #[error("a device's name has 1 to 64 visible ASCII characters")]
    MalformedDevice,
    /// The user has a device of that name.
    #[error("there is a device named {0} already")]
    DeviceTaken(String),
    /// The user has no device of that name.
    #[error("{user} has no device named {device}")]
    NoSuchDevice {
        /// Whose.
        user: String,
        /// Which.
        device: String,
    },
    /// No password to keep.
    #[error("a password has at least 8 characters and at most 1024 bytes")]
    UnfitPassword,
    /// Too many log in at a time.
    #[error("too many logins at a time")]
    Busy,
    /// A password could not be hashed, or its hash in the index is damaged.
    // Without the standard library's features their error is no source; so it is told here.
    #[error("hash a password: {0}")]
    Hash(argon2::password_hash::Error),
    /// The system gave no random bytes.
    #[error("ask the system for random bytes")]
    Random(#[source] getrandom::Error),
    /// The index failed.
    #[error("look into the index")]
    Index(#[source] IndexError),
}

impl AccountError {
    /// Whether the same request may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Index(error) => error.is_transient(),
            Self::Busy => true,
            Self::MalformedName
            | Self::NameTaken(_)
            | Self::NoSuchUser(_)
            | Self::MalformedDevice
            | Self::DeviceTaken(_)
            | Self::NoSuchDevice { .. }
            | Self::UnfitPassword
            | Self::Hash(_)
            | Self::Random(_) => false,
        }
    }
}

impl Accounts {
    /// Accounts as the index knows them.
    pub fn new(index: Index) -> Self {
        Self {
            index,
            passwords: Passwords::default(),
            callers: Arc::default(),
        }
    }

    /// Adds a user; answers the token, which is kept only as its hash and cannot be shown again.
    pub async fn add_user(&self, name: &str) -> Result<String, AccountError> {
        check_name(name)?;
        let user = self
            .index
            .add_user(name)
            .await
            .map_err(|error| match error {
                IndexError::NameTaken(name) => AccountError::NameTaken(name),
                error => AccountError::Index(error),
            })?;
        self.give_token(user, None, Scope::Full).await
    }

    /// Another token for a user that exists, of full scope, for a device that nobody named.
    pub async fn add_token(&self, name: &str) -> Result<String, AccountError> {
        self.give_token(self.user(name).await?, None, Scope::Full)
            .await
    }

    /// A token for another device of a user's; kept only as its hash, like every other.
    pub async fn add_device(
        &self,
        user: &str,
        device: &str,
        scope: Scope,
    ) -> Result<String, AccountError> {
        check_device(device)?;
        self.give_token(self.user(user).await?, Some(device.to_owned()), scope)
            .await
    }

    /// A user's devices, the oldest first.
    pub async fn devices(&self, user: &str) -> Result<Vec<DeviceEntry>, AccountError> {
        self.index
            .devices(self.user(user).await?)
            .await
            .map_err(AccountError::Index)
    }

    /// Takes a device's token away. Servers that know its bearer forget them within [`REMEMBERED`].
    pub async fn revoke_device(&self, user: &str, device: &str) -> Result<(), AccountError> {
        let id = self.user(user).await?;
        if self
            .index
            .revoke_device(id, device)
            .await
            .map_err(AccountError::Index)?
        {
            return Ok(());
        }
        Err(AccountError::NoSuchDevice {
            user: user.to_owned(),
            device: device.to_owned(),
        })
    }

    /// All users, by name.
    pub async fn users(&self) -> Result<Vec<UserEntry>, AccountError> {
        self.index.users().await.map_err(AccountError::Index)
    }

    /// Locks a user out, or lets them in again; what they have stays.
    pub async fn set_user_state(&self, user: &str, state: UserState) -> Result<(), AccountError> {
        self.index
            .set_user_state(self.user(user).await?, state)
            .await
            .map_err(AccountError::Index)
    }

    /// Sets the most that a user may hold, in bytes; none takes the limit away. Heeded within
    /// [`REMEMBERED`].
    pub async fn set_quota(&self, user: &str, quota: Option<u64>) -> Result<(), AccountError> {
        self.index
            .set_quota(self.user(user).await?, quota)
            .await
            .map_err(AccountError::Index)
    }

    /// Sets a user's password. Tokens that were given out stay good.
    pub async fn set_password(&self, user: &str, password: String) -> Result<(), AccountError> {
        let id = self.user(user).await?;
        let hash = self.passwords.hash(password).await?;
        self.index
            .set_password(id, hash)
            .await
            .map_err(AccountError::Index)
    }

    /// A token of full scope for a password; none if there is no such user, they are disabled or
    /// have no password, or it is another. All of these take the same time.
    pub async fn log_in(
        &self,
        user: &str,
        password: String,
        device: &str,
    ) -> Result<Option<String>, AccountError> {
        check_device(device)?;
        let found = self
            .index
            .credentials(user)
            .await
            .map_err(AccountError::Index)?;
        let (id, kept) = found.unzip();
        let fits = self.passwords.fits(password, kept).await?;
        let Some(id) = id.filter(|_| fits) else {
            return Ok(None);
        };
        let token = match self
            .give_token(id, Some(device.to_owned()), Scope::Full)
            .await
        {
            Err(AccountError::DeviceTaken(_)) => {
                self.give_token(id, Some(password::similar(device)?), Scope::Full)
                    .await?
            }
            token => token?,
        };
        tracing::info!(user = %id, "logged in");
        Ok(Some(token))
    }

    /// Takes the caller's own token away, at once.
    pub async fn log_out(&self, caller: &Caller) -> Result<(), AccountError> {
        self.index
            .revoke_token(caller.token)
            .await
            .map_err(AccountError::Index)?;
        self.callers()
            .retain(|_, remembered| remembered.caller.token != caller.token);
        Ok(())
    }

    /// Who the bearer of this token is; none if it is not one of ours. Remembered for
    /// [`REMEMBERED`].
    pub async fn authenticate(&self, token: &str) -> Result<Option<Caller>, AccountError> {
        if !is_token(token) {
            return Ok(None);
        }
        // Looked up by its hash: what a lookup's time tells of a hash helps nobody to a token.
        let hash = hash(token);
        if let Some(caller) = self.remembered(&hash) {
            return Ok(Some(caller));
        }
        let owner = self
            .index
            .token_owner(hash)
            .await
            .map_err(AccountError::Index)?;
        let caller = owner.map(|owner| Caller {
            user: owner.user,
            token: owner.token,
            name: owner.name,
            scope: owner.scope,
            quota: owner.quota,
        });
        if let Some(caller) = &caller {
            self.remember(hash, caller.clone());
        }
        Ok(caller)
    }

    async fn user(&self, name: &str) -> Result<UserId, AccountError> {
        let user = self
            .index
            .user_named(name)
            .await
            .map_err(AccountError::Index)?;
        user.ok_or_else(|| AccountError::NoSuchUser(name.to_owned()))
    }

    async fn give_token(
        &self,
        user: UserId,
        name: Option<String>,
        scope: Scope,
    ) -> Result<String, AccountError> {
        let mut random = [0; TOKEN_BYTES];
        getrandom::fill(&mut random).map_err(AccountError::Random)?;
        let token = format!("{TOKEN_PREFIX}{}", HEXLOWER.encode(&random));
        let device = NewDevice {
            token_hash: hash(&token),
            name,
            scope,
        };
        self.index
            .add_device(user, device)
            .await
            .map_err(|error| match error {
                IndexError::NameTaken(name) => AccountError::DeviceTaken(name),
                error => AccountError::Index(error),
            })?;
        Ok(token)
    }

    fn remembered(&self, hash: &[u8; 32]) -> Option<Caller> {
        let callers = self.callers();
        let found = callers
            .get(hash)
            .filter(|remembered| remembered.since.elapsed() < REMEMBERED)?;
        Some(found.caller.clone())
    }

    fn remember(&self, hash: [u8; 32], caller: Caller) {
        let mut callers = self.callers();
        if callers.len() >= CALLERS_MAX {
            callers.clear();
        }
        callers.insert(
            hash,
            Remembered {
                caller,
                since: Instant::now(),
            },
        );
    }

    fn callers(&self) -> MutexGuard<'_, HashMap<[u8; 32], Remembered>> {
        // Each entry is true by itself: a panic elsewhere has not spoiled them.
        self.callers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check_name(name: &str) -> Result<(), AccountError> {
    let good = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
    let fits = (1..=NAME_MAX).contains(&name.len());
    if fits && name.bytes().all(good) {
        Ok(())
    } else {
        Err(AccountError::MalformedName)
    }
}

fn check_device(name: &str) -> Result<(), AccountError> {
    let fits = (1..=NAME_MAX).contains(&name.len());
    if fits && name.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(())
    } else {
        Err(AccountError::MalformedDevice)
    }
}

/// Whether a text looks like one of our tokens: what does not is not worth a question to the index.
fn is_token(text: &str) -> bool {
    text.strip_prefix(TOKEN_PREFIX)
        .is_some_and(|digits| digits.len() == 2 * TOKEN_BYTES)
}

/// SHA-256 of a token.
fn hash(token: &str) -> [u8; 32] {
    *Fingerprint::of(token.as_bytes()).as_bytes()
}

#[cfg(test)]
mod tests;
