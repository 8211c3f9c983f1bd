//! Accounts: users, and the devices whose tokens authenticate them.
//!
//! A token is 256 random bits, shown once and stored only as its SHA-256: with that much randomness
//! a slow hash would protect nothing more. It begins with `hl_`, so that scanners for leaked
//! secrets recognize it.

mod password;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use heirloom_protocol::Fingerprint;
use heirloom_protocol::message::Scope;
use heirloom_protocol::possession::UserId;
use parking_lot::Mutex;

use crate::index::{DeviceEntry, Index, IndexError, NewDevice, TokenId, UserEntry, UserState};

use password::Passwords;

/// How long a caller is cached: thousands of requests a second must not each query the index. A
/// revoked token stays valid for at most this long.
const CALLER_CACHE_TTL: Duration = Duration::from_secs(2);

/// The most cached callers; beyond it the cache is cleared. Only valid tokens get in.
const CALLERS_MAX: usize = 10_000;

/// The prefix of every token.
const TOKEN_PREFIX: &str = "hl_";

/// Random bytes in a token.
const TOKEN_BYTES: usize = 32;

/// The most characters of a user's or a device's name.
const NAME_MAX: usize = 64;

/// The authenticated sender of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The user.
    pub user: UserId,
    /// The token that authenticated them.
    pub token: TokenId,
    /// The user's name.
    pub name: String,
    /// What the token may do.
    pub scope: Scope,
    /// The user's quota in bytes; `None` for no limit.
    pub quota: Option<u64>,
}

/// Users, devices and logins. Clones share the cache of callers.
#[derive(Clone, Debug)]
pub struct Accounts {
    index: Index,
    passwords: Passwords,
    callers: Arc<Mutex<HashMap<[u8; 32], CachedCaller>>>,
}

#[derive(Clone, Debug)]
struct CachedCaller {
    caller: Caller,
    since: Instant,
}

/// Why an operation on an account failed.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The user's name is invalid.
    #[error("invalid user name: use 1 to 64 of the characters a-z 0-9 . _ -")]
    InvalidUserName,
    /// The user's name is taken.
    #[error("a user named {0} already exists")]
    NameTaken(String),
    /// The user does not exist.
    #[error("there is no user named {0}")]
    NoSuchUser(String),
    /// The device's name is invalid.
    #[error("invalid device name: use 1 to 64 visible ASCII characters")]
    InvalidDeviceName,
    /// The device's name is taken.
    #[error("a device named {0} already exists")]
    DeviceTaken(String),
    /// The device does not exist.
    #[error("{user} has no device named {device}")]
    NoSuchDevice {
        /// The user's name.
        user: String,
        /// The device's name.
        device: String,
    },
    /// The password is too short or too long.
    #[error("a password needs at least 8 characters and at most 1024 bytes")]
    InvalidPassword,
    /// Too many logins are in progress.
    #[error("too many logins are in progress; try again later")]
    Busy,
    /// A password could not be hashed, or its hash in the index is corrupt.
    // Without the crate's `std` feature its error is no `Error`, so the message prints it.
    #[error("hash a password: {0}")]
    Hash(argon2::password_hash::Error),
    /// The system returned no random bytes.
    #[error("get random bytes from the system")]
    Random(#[source] getrandom::Error),
    /// The index failed.
    #[error("access the index")]
    Index(#[source] IndexError),
}

impl AccountError {
    /// Whether the same request may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Index(error) => error.is_transient(),
            Self::Busy => true,
            Self::InvalidUserName
            | Self::NameTaken(_)
            | Self::NoSuchUser(_)
            | Self::InvalidDeviceName
            | Self::DeviceTaken(_)
            | Self::NoSuchDevice { .. }
            | Self::InvalidPassword
            | Self::Hash(_)
            | Self::Random(_) => false,
        }
    }
}

impl Accounts {
    /// The accounts in `index`.
    pub fn new(index: Index) -> Self {
        Self {
            index,
            passwords: Passwords::default(),
            callers: Arc::default(),
        }
    }

    /// Adds a user and returns a token, which is stored only as its hash and cannot be shown again.
    pub async fn add_user(&self, name: &str) -> Result<String, AccountError> {
        check_user_name(name)?;
        let user = self
            .index
            .add_user(name)
            .await
            .map_err(|error| match error {
                IndexError::NameTaken(name) => AccountError::NameTaken(name),
                error => AccountError::Index(error),
            })?;
        self.issue_token(user, None, Scope::Full).await
    }

    /// Adds a device with a generated name and full scope to an existing user; returns its token.
    pub async fn add_token(&self, name: &str) -> Result<String, AccountError> {
        self.issue_token(self.user(name).await?, None, Scope::Full)
            .await
    }

    /// Adds a device to an existing user; returns its token.
    pub async fn add_device(
        &self,
        user: &str,
        device: &str,
        scope: Scope,
    ) -> Result<String, AccountError> {
        check_device_name(device)?;
        self.issue_token(self.user(user).await?, Some(device.to_owned()), scope)
            .await
    }

    /// A user's devices, oldest first.
    pub async fn devices(&self, user: &str) -> Result<Vec<DeviceEntry>, AccountError> {
        self.index
            .devices(self.user(user).await?)
            .await
            .map_err(AccountError::Index)
    }

    /// Revokes a device's token. Running servers stop accepting it within [`CALLER_CACHE_TTL`].
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

    /// Disables or enables a user; their photos stay.
    pub async fn set_user_state(&self, user: &str, state: UserState) -> Result<(), AccountError> {
        self.index
            .set_user_state(self.user(user).await?, state)
            .await
            .map_err(AccountError::Index)
    }

    /// Sets a user's quota in bytes; `None` removes the limit. Takes effect within
    /// [`CALLER_CACHE_TTL`].
    pub async fn set_quota(&self, user: &str, quota: Option<u64>) -> Result<(), AccountError> {
        self.index
            .set_quota(self.user(user).await?, quota)
            .await
            .map_err(AccountError::Index)
    }

    /// Sets a user's password. Existing tokens stay valid.
    pub async fn set_password(&self, user: &str, password: String) -> Result<(), AccountError> {
        let id = self.user(user).await?;
        let hash = self.passwords.hash(password).await?;
        self.index
            .set_password(id, hash)
            .await
            .map_err(AccountError::Index)
    }

    /// Exchanges a password for a token of full scope; `None` if the user does not exist, is
    /// disabled or has no password, or the password is wrong. All of these take the same time.
    pub async fn log_in(
        &self,
        user: &str,
        password: String,
        device: &str,
    ) -> Result<Option<String>, AccountError> {
        check_device_name(device)?;
        let found = self
            .index
            .credentials(user)
            .await
            .map_err(AccountError::Index)?;
        let (id, stored_hash) = found.unzip();
        let is_right = self.passwords.verify(password, stored_hash).await?;
        let Some(id) = id.filter(|_| is_right) else {
            return Ok(None);
        };
        let token = match self
            .issue_token(id, Some(device.to_owned()), Scope::Full)
            .await
        {
            Err(AccountError::DeviceTaken(_)) => {
                self.issue_token(id, Some(password::unique_variant(device)?), Scope::Full)
                    .await?
            }
            token => token?,
        };
        tracing::info!(user = %id, "logged in");
        Ok(Some(token))
    }

    /// Revokes the caller's own token, at once on this server.
    pub async fn log_out(&self, caller: &Caller) -> Result<(), AccountError> {
        self.index
            .revoke_token(caller.token)
            .await
            .map_err(AccountError::Index)?;
        self.callers
            .lock()
            .retain(|_, cached| cached.caller.token != caller.token);
        Ok(())
    }

    /// The caller that a token authenticates; `None` if it is not valid. Cached for
    /// [`CALLER_CACHE_TTL`].
    pub async fn authenticate(&self, token: &str) -> Result<Option<Caller>, AccountError> {
        if !is_token(token) {
            return Ok(None);
        }
        // Looked up by its hash: the duration of the lookup may reveal something of a hash, which
        // does not help to find a token.
        let hash = hash(token);
        if let Some(caller) = self.cached(&hash) {
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
            self.cache(hash, caller.clone());
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

    async fn issue_token(
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

    fn cached(&self, hash: &[u8; 32]) -> Option<Caller> {
        let callers = self.callers.lock();
        let found = callers
            .get(hash)
            .filter(|cached| cached.since.elapsed() < CALLER_CACHE_TTL)?;
        Some(found.caller.clone())
    }

    fn cache(&self, hash: [u8; 32], caller: Caller) {
        let mut callers = self.callers.lock();
        if callers.len() >= CALLERS_MAX {
            callers.clear();
        }
        callers.insert(
            hash,
            CachedCaller {
                caller,
                since: Instant::now(),
            },
        );
    }
}

fn check_user_name(name: &str) -> Result<(), AccountError> {
    let good = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
    let fits = (1..=NAME_MAX).contains(&name.len());
    if fits && name.bytes().all(good) {
        Ok(())
    } else {
        Err(AccountError::InvalidUserName)
    }
}

fn check_device_name(name: &str) -> Result<(), AccountError> {
    let fits = (1..=NAME_MAX).contains(&name.len());
    if fits && name.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(())
    } else {
        Err(AccountError::InvalidDeviceName)
    }
}

/// Whether a text has the form of a token; anything else is not worth a query.
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
