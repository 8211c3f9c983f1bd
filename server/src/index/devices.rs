//! Devices: a device is a token with a name and a scope. Of the token itself only the hash is
//! known.

use async_trait::async_trait;
use heirloom_protocol::message::Scope;
use heirloom_protocol::possession::UserId;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::error::IndexError;
use super::writer::Write;
use super::{Index, TokenId, TokenOwner, now_ms, quota, row};

/// A device to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDevice {
    /// SHA-256 of its token.
    pub token_hash: [u8; 32],
    /// Its name, which no other device of this user has; without one it is given one.
    pub name: Option<String>,
    /// What it may do.
    pub scope: Scope,
}

/// A device, as the administrator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceEntry {
    /// Its name.
    pub name: String,
    /// What it may do.
    pub scope: Scope,
    /// When it was added, in milliseconds since the epoch.
    pub created_ms: i64,
}

impl Index {
    /// Adds a device; `NameTaken` if the user has one of that name. The same hash for the same user
    /// again is the same device.
    pub async fn add_device(&self, user: UserId, device: NewDevice) -> Result<TokenId, IndexError> {
        self.writer
            .write(AddDevice {
                id: row::random_id()?,
                user,
                device,
            })
            .await
    }

    /// A user's devices, the oldest first.
    pub async fn devices(&self, user: UserId) -> Result<Vec<DeviceEntry>, IndexError> {
        let rows =
            sqlx::query("SELECT name, scope, created_ms FROM tokens WHERE user_id = $1 ORDER BY created_ms, name")
                .bind(user.0)
                .fetch_all(self.database.reads())
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

    /// Takes a device's token away; answers whether there was such a device.
    pub async fn revoke_device(&self, user: UserId, name: &str) -> Result<bool, IndexError> {
        self.writer
            .write(Revoke {
                user,
                name: name.to_owned(),
            })
            .await
    }

    /// Takes a token away; fine if it is gone.
    pub async fn revoke_token(&self, token: TokenId) -> Result<(), IndexError> {
        self.writer.write(RevokeToken { token }).await
    }

    /// Whose token has this hash; none if its user is disabled.
    pub async fn token_owner(
        &self,
        token_hash: [u8; 32],
    ) -> Result<Option<TokenOwner>, IndexError> {
        let found = sqlx::query(
            "SELECT users.quota_bytes, tokens.id, users.id, users.name, tokens.scope
             FROM tokens JOIN users ON users.id = tokens.user_id WHERE tokens.hash = $1 AND users.state = 0",
        )
        .bind(token_hash.as_slice())
        .fetch_optional(self.database.reads())
        .await;
        let row = found.map_err(IndexError::statement("look for a token"))?;
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
    /// Random like the id, so that devices nobody named do not meet.
    fn name(&self) -> String {
        self.device
            .name
            .clone()
            .unwrap_or_else(|| format!("device-{:x}", self.id))
    }

    async fn refuse(&self, rows: &mut AnyConnection) -> Result<(), IndexError> {
        let user = sqlx::query("SELECT id FROM users WHERE id = $1")
            .bind(self.user.0)
            .fetch_optional(&mut *rows)
            .await;
        if user
            .map_err(IndexError::statement("look for a token's user"))?
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
        match same.map_err(IndexError::statement("look for a device"))? {
            Some(_) => Err(IndexError::NameTaken(self.name())),
            None => Ok(()),
        }
    }
}

#[async_trait]
impl Write for AddDevice {
    type Answer = TokenId;

    async fn carry_out(&self, rows: &mut AnyConnection) -> Result<TokenId, IndexError> {
        self.refuse(rows).await?;
        let hash = self.device.token_hash.as_slice();
        sqlx::query(
            "INSERT INTO tokens (hash, id, user_id, created_ms, name, scope) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (hash) DO NOTHING",
        )
        .bind(hash)
        .bind(self.id)
        .bind(self.user.0)
        .bind(now_ms())
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
    type Answer = ();

    async fn carry_out(&self, rows: &mut AnyConnection) -> Result<(), IndexError> {
        let revoked = sqlx::query("DELETE FROM tokens WHERE id = $1")
            .bind(self.token.0)
            .execute(rows)
            .await;
        revoked
            .map(drop)
            .map_err(IndexError::statement("revoke a token"))
    }
}

struct Revoke {
    user: UserId,
    name: String,
}

#[async_trait]
impl Write for Revoke {
    type Answer = bool;

    async fn carry_out(&self, rows: &mut AnyConnection) -> Result<bool, IndexError> {
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
