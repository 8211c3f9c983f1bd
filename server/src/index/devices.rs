//! Devices: a device is a token with a name and a scope. Only the hash of the token is stored.

use async_trait::async_trait;
use heirloom_protocol::message::Scope;
use heirloom_protocol::possession::UserId;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::error::IndexError;
use super::open::Index;
use super::writer::Write;
use super::{quota, row};
use crate::clock::system_now_ms;

/// A token's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenId(pub i64);

/// The owner of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenOwner {
    /// The token.
    pub token: TokenId,
    /// The user it belongs to.
    pub user: UserId,
    /// The user's name.
    pub name: String,
    /// What the token may do.
    pub scope: Scope,
    /// The user's quota in bytes; `None` for no limit.
    pub quota: Option<u64>,
}

/// A device to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDevice {
    /// SHA-256 of its token.
    pub token_hash: [u8; 32],
    /// Its name, unique among the devices of the user; `None` to generate one.
    pub name: Option<String>,
    /// What the device may do.
    pub scope: Scope,
}

/// A device as listed for the administrator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceEntry {
    /// Its name.
    pub name: String,
    /// What the device may do.
    pub scope: Scope,
    /// When the device was added, in milliseconds since the epoch.
    pub created_ms: i64,
}

impl Index {
    /// Adds a device; `NameTaken` if the user has a device with this name. Adding the same hash for
    /// the same user again returns the same device.
    pub async fn add_device(&self, user: UserId, device: NewDevice) -> Result<TokenId, IndexError> {
        self.writer
            .write(AddDevice {
                id: row::random_id()?,
                user,
                device,
            })
            .await
    }

    /// A user's devices, oldest first.
    pub async fn devices(&self, user: UserId) -> Result<Vec<DeviceEntry>, IndexError> {
        let rows = sqlx::query(
            "SELECT name, scope, created_ms FROM tokens WHERE user_id = $1
                ORDER BY created_ms, name",
        )
        .bind(user.0)
        .fetch_all(self.database.read_pool())
        .await
        .map_err(IndexError::statement("list a user's devices"))?;
        let entry = |row: &AnyRow| {
            let scope = scope_of(row::integer(row, 1)?)?;
            Ok(DeviceEntry {
                name: row::text(row, 0)?,
                scope,
                created_ms: row::integer(row, 2)?,
            })
        };
        rows.iter().map(entry).collect()
    }

    /// Revokes a device's token; returns whether the device existed.
    pub async fn revoke_device(&self, user: UserId, name: &str) -> Result<bool, IndexError> {
        self.writer
            .write(RevokeDevice {
                user,
                name: name.to_owned(),
            })
            .await
    }

    /// Revokes a token. Succeeds if it does not exist.
    pub async fn revoke_token(&self, token: TokenId) -> Result<(), IndexError> {
        self.writer.write(RevokeToken { token }).await
    }

    /// The owner of the token with this hash; `None` if their account is disabled.
    pub async fn token_owner(
        &self,
        token_hash: [u8; 32],
    ) -> Result<Option<TokenOwner>, IndexError> {
        let found = sqlx::query(
            "SELECT users.quota_bytes, tokens.id, users.id, users.name, tokens.scope
             FROM tokens JOIN users ON users.id = tokens.user_id WHERE tokens.hash = $1
             AND users.state = 0",
        )
        .bind(token_hash.as_slice())
        .fetch_optional(self.database.read_pool())
        .await;
        let row = found.map_err(IndexError::statement("look up a token"))?;
        row.map(|row| {
            Ok(TokenOwner {
                token: TokenId(row::integer(&row, 1)?),
                user: UserId(row::integer(&row, 2)?),
                name: row::text(&row, 3)?,
                scope: scope_of(row::integer(&row, 4)?)?,
                quota: quota::quota(&row)?,
            })
        })
        .transpose()
    }
}

const fn code_of(scope: Scope) -> i64 {
    match scope {
        Scope::Full => 0,
        Scope::AppendOnly => 1,
        Scope::ReadOnly => 2,
    }
}

fn scope_of(code: i64) -> Result<Scope, IndexError> {
    match code {
        0 => Ok(Scope::Full),
        1 => Ok(Scope::AppendOnly),
        2 => Ok(Scope::ReadOnly),
        _ => Err(IndexError::Corrupt("scope of a token")),
    }
}

struct AddDevice {
    id: i64,
    user: UserId,
    device: NewDevice,
}

impl AddDevice {
    /// The given name, or one with the random id, so that generated names do not collide.
    fn name(&self) -> String {
        self.device
            .name
            .clone()
            .unwrap_or_else(|| format!("device-{:x}", self.id))
    }

    async fn check(&self, rows: &mut AnyConnection) -> Result<(), IndexError> {
        let user = sqlx::query("SELECT id FROM users WHERE id = $1")
            .bind(self.user.0)
            .fetch_optional(&mut *rows)
            .await;
        if user
            .map_err(IndexError::statement("look up a token's user"))?
            .is_none()
        {
            return Err(IndexError::NoSuchUser(self.user));
        }
        let same =
            sqlx::query("SELECT id FROM tokens WHERE user_id = $1 AND name = $2 AND hash <> $3")
                .bind(self.user.0)
                .bind(self.name())
                .bind(self.device.token_hash.as_slice())
                .fetch_optional(rows)
                .await;
        match same.map_err(IndexError::statement("look up a device"))? {
            Some(_) => Err(IndexError::NameTaken(self.name())),
            None => Ok(()),
        }
    }
}

#[async_trait]
impl Write for AddDevice {
    type Output = TokenId;

    async fn apply(&self, rows: &mut AnyConnection) -> Result<TokenId, IndexError> {
        self.check(rows).await?;
        let hash = self.device.token_hash.as_slice();
        sqlx::query(
            "INSERT INTO tokens (hash, id, user_id, created_ms, name, scope)
             VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (hash) DO NOTHING",
        )
        .bind(hash)
        .bind(self.id)
        .bind(self.user.0)
        .bind(system_now_ms())
        .bind(self.name())
        .bind(code_of(self.device.scope))
        .execute(&mut *rows)
        .await
        .map_err(IndexError::statement("add a device"))?;
        let token = sqlx::query("SELECT id FROM tokens WHERE hash = $1")
            .bind(hash)
            .fetch_one(rows)
            .await;
        row::integer(
            &token.map_err(IndexError::statement("read a device back"))?,
            0,
        )
        .map(TokenId)
    }
}

struct RevokeToken {
    token: TokenId,
}

#[async_trait]
impl Write for RevokeToken {
    type Output = ();

    async fn apply(&self, rows: &mut AnyConnection) -> Result<(), IndexError> {
        let revoked = sqlx::query("DELETE FROM tokens WHERE id = $1")
            .bind(self.token.0)
            .execute(rows)
            .await;
        revoked
            .map(drop)
            .map_err(IndexError::statement("revoke a token"))
    }
}

struct RevokeDevice {
    user: UserId,
    name: String,
}

#[async_trait]
impl Write for RevokeDevice {
    type Output = bool;

    async fn apply(&self, rows: &mut AnyConnection) -> Result<bool, IndexError> {
        let revoked =
            sqlx::query("DELETE FROM tokens WHERE user_id = $1 AND name = $2 RETURNING id")
                .bind(self.user.0)
                .bind(self.name.as_str())
                .fetch_optional(rows)
                .await;
        revoked
            .map(|row| row.is_some())
            .map_err(IndexError::statement("revoke a device"))
    }
}
