//! Users: who may come in at all.

use async_trait::async_trait;
use heirloom_protocol::possession::UserId;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::error::IndexError;
use super::writer::Write;
use super::{Index, now_ms, quota, row};

impl Index {
    /// Adds a user; `NameTaken` if there is one of that name.
    pub async fn add_user(&self, name: &str) -> Result<UserId, IndexError> {
        self.writer
            .write(AddUser {
                id: row::random_id()?,
                name: name.to_owned(),
            })
            .await
    }

    /// The user of that name.
    pub async fn user_named(&self, name: &str) -> Result<Option<UserId>, IndexError> {
        let found = sqlx::query("SELECT id FROM users WHERE name = $1")
            .bind(name)
            .fetch_optional(self.database.reads())
            .await;
        let row = found.map_err(IndexError::statement("look for a user"))?;
        row.map(|row| row::integer(&row, 0).map(UserId)).transpose()
    }

    /// Whether there is any other user, active or not.
    pub async fn has_others_than(&self, user: UserId) -> Result<bool, IndexError> {
        let found = sqlx::query("SELECT 1 FROM users WHERE id <> $1 LIMIT 1")
            .bind(user.0)
            .fetch_optional(self.database.reads())
            .await;
        found
            .map(|row| row.is_some())
            .map_err(IndexError::statement("look for other users"))
    }

    /// All users, by name.
    pub async fn users(&self) -> Result<Vec<UserEntry>, IndexError> {
        let rows = sqlx::query(
            "SELECT users.quota_bytes, users.held_bytes, users.name, users.state,
                 (SELECT COUNT(*) FROM tokens WHERE tokens.user_id = users.id)
             FROM users ORDER BY users.name",
        )
        .fetch_all(self.database.reads())
        .await
        .map_err(IndexError::statement("list the users"))?;
        let entry = |row: &AnyRow| {
            Ok(UserEntry {
                name: row::text(row, 2)?,
                state: UserState::of(row::integer(row, 3)?)?,
                devices: row::count(row, 4)?,
                held_bytes: row::count(row, 1)?,
                quota_bytes: quota::quota(row)?,
            })
        };
        rows.iter().map(entry).collect()
    }

    /// Sets a user's password, as its hash.
    pub async fn set_password(
        &self,
        user: UserId,
        password_hash: String,
    ) -> Result<(), IndexError> {
        self.writer
            .write(SetPassword {
                user,
                password_hash,
            })
            .await
    }

    /// The user of that name with the hash of their password; none if there is no such user, they
    /// are disabled, or have no password.
    pub async fn credentials(&self, name: &str) -> Result<Option<(UserId, String)>, IndexError> {
        let found = sqlx::query(
            "SELECT id, password FROM users WHERE name = $1 AND state = 0 AND password IS NOT NULL",
        )
        .bind(name)
        .fetch_optional(self.database.reads())
        .await;
        let row = found.map_err(IndexError::statement("look for a password"))?;
        row.map(|row| Ok((UserId(row::integer(&row, 0)?), row::text(&row, 1)?)))
            .transpose()
    }

    /// Locks a user out, or lets them in again. What they have stays.
    pub async fn set_user_state(&self, user: UserId, state: UserState) -> Result<(), IndexError> {
        self.writer.write(SetState { user, state }).await
    }
}

/// Whether a user may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserState {
    /// They may.
    Active,
    /// None of their tokens is good, and neither is their password. What they have stays.
    Disabled,
}

impl UserState {
    pub(super) const fn code(self) -> i64 {
        match self {
            Self::Active => 0,
            Self::Disabled => 1,
        }
    }

    pub(super) fn of(code: i64) -> Result<Self, IndexError> {
        match code {
            0 => Ok(Self::Active),
            1 => Ok(Self::Disabled),
            _ => Err(IndexError::Corrupt("state of a user")),
        }
    }
}

/// A user, as the administrator sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserEntry {
    /// The account's name.
    pub name: String,
    /// Whether they may come in.
    pub state: UserState,
    /// How many devices have a token.
    pub devices: u64,
    /// Bytes of the images that they hold.
    pub held_bytes: u64,
    /// The most that they may hold, in bytes.
    pub quota_bytes: Option<u64>,
}

struct AddUser {
    id: i64,
    name: String,
}

#[async_trait]
impl Write for AddUser {
    type Answer = UserId;

    async fn carry_out(&self, rows: &mut AnyConnection) -> Result<UserId, IndexError> {
        let added = sqlx::query(
            "INSERT INTO users (id, name, library_version, created_ms) VALUES ($1, $2, 0, $3)
             ON CONFLICT (name) DO NOTHING RETURNING id",
        )
        .bind(self.id)
        .bind(self.name.as_str())
        .bind(now_ms())
        .fetch_optional(rows)
        .await;
        match added.map_err(IndexError::statement("add a user"))? {
            Some(row) => row::integer(&row, 0).map(UserId),
            None => Err(IndexError::NameTaken(self.name.clone())),
        }
    }
}

struct SetPassword {
    user: UserId,
    password_hash: String,
}

#[async_trait]
impl Write for SetPassword {
    type Answer = ();

    async fn carry_out(&self, rows: &mut AnyConnection) -> Result<(), IndexError> {
        let set = sqlx::query("UPDATE users SET password = $2 WHERE id = $1 RETURNING id")
            .bind(self.user.0)
            .bind(self.password_hash.as_str())
            .fetch_optional(rows)
            .await;
        match set.map_err(IndexError::statement("set a password"))? {
            Some(_) => Ok(()),
            None => Err(IndexError::NoSuchUser(self.user)),
        }
    }
}

struct SetState {
    user: UserId,
    state: UserState,
}

#[async_trait]
impl Write for SetState {
    type Answer = ();

    async fn carry_out(&self, rows: &mut AnyConnection) -> Result<(), IndexError> {
        let set = sqlx::query("UPDATE users SET state = $2 WHERE id = $1 RETURNING id")
            .bind(self.user.0)
            .bind(self.state.code())
            .fetch_optional(rows)
            .await;
        match set.map_err(IndexError::statement("set a user's state"))? {
            Some(_) => Ok(()),
            None => Err(IndexError::NoSuchUser(self.user)),
        }
    }
}
