//! User accounts: adding, finding, listing and disabling users, and their password hashes.

use async_trait::async_trait;
use heirloom_protocol::possession::UserId;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::error::IndexError;
use super::open::Index;
use super::writer::Write;
use super::{quota, row};
use crate::clock::system_now_ms;

impl Index {
    /// Adds a user; `NameTaken` if the name exists.
    pub async fn add_user(&self, name: &str) -> Result<UserId, IndexError> {
        self.writer
            .write(AddUser {
                id: row::random_id()?,
                name: name.to_owned(),
            })
            .await
    }

    /// The user with this name.
    pub async fn user_named(&self, name: &str) -> Result<Option<UserId>, IndexError> {
        let found = sqlx::query("SELECT id FROM users WHERE name = $1")
            .bind(name)
            .fetch_optional(self.database.read_pool())
            .await;
        let row = found.map_err(IndexError::statement("look up a user"))?;
        row.map(|row| row::integer(&row, 0).map(UserId)).transpose()
    }

    /// Whether any other user exists, active or not.
    pub async fn has_others_than(&self, user: UserId) -> Result<bool, IndexError> {
        let found = sqlx::query("SELECT 1 FROM users WHERE id <> $1 LIMIT 1")
            .bind(user.0)
            .fetch_optional(self.database.read_pool())
            .await;
        found
            .map(|row| row.is_some())
            .map_err(IndexError::statement("look up other users"))
    }

    /// All users, by name.
    pub async fn users(&self) -> Result<Vec<UserEntry>, IndexError> {
        let rows = sqlx::query(
            "SELECT users.quota_bytes, users.held_bytes, users.name, users.state,
                 (SELECT COUNT(*) FROM tokens WHERE tokens.user_id = users.id)
             FROM users ORDER BY users.name",
        )
        .fetch_all(self.database.read_pool())
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

    /// Sets the hash of a user's password.
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

    /// The user with this name and the hash of their password; `None` if the user does not exist,
    /// is disabled or has no password.
    pub async fn credentials(&self, name: &str) -> Result<Option<(UserId, String)>, IndexError> {
        let found = sqlx::query(
            "SELECT id, password FROM users WHERE name = $1 AND state = 0 AND password IS NOT NULL",
        )
        .bind(name)
        .fetch_optional(self.database.read_pool())
        .await;
        let row = found.map_err(IndexError::statement("look up a password"))?;
        row.map(|row| Ok((UserId(row::integer(&row, 0)?), row::text(&row, 1)?)))
            .transpose()
    }

    /// Disables or enables a user. Their photos stay.
    pub async fn set_user_state(&self, user: UserId, state: UserState) -> Result<(), IndexError> {
        self.writer.write(SetState { user, state }).await
    }
}

/// Whether a user may log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserState {
    /// Their tokens and password are valid.
    Active,
    /// Neither their tokens nor their password are valid. Their photos stay.
    Disabled,
}

impl UserState {
    /// The stored code.
    pub(super) const fn code(self) -> i64 {
        match self {
            Self::Active => 0,
            Self::Disabled => 1,
        }
    }

    /// The state with this stored code.
    pub(super) fn of(code: i64) -> Result<Self, IndexError> {
        match code {
            0 => Ok(Self::Active),
            1 => Ok(Self::Disabled),
            _ => Err(IndexError::Corrupt("state of a user")),
        }
    }
}

/// A user as listed for the administrator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserEntry {
    /// The account's name.
    pub name: String,
    /// Whether the user may log in.
    pub state: UserState,
    /// The number of devices with a token.
    pub devices: u64,
    /// Bytes of the images that the user holds.
    pub held_bytes: u64,
    /// The quota in bytes; `None` for no limit.
    pub quota_bytes: Option<u64>,
}

struct AddUser {
    id: i64,
    name: String,
}

#[async_trait]
impl Write for AddUser {
    type Output = UserId;

    async fn apply(&self, rows: &mut AnyConnection) -> Result<UserId, IndexError> {
        let added = sqlx::query(
            "INSERT INTO users (id, name, library_version, created_ms) VALUES ($1, $2, 0, $3)
             ON CONFLICT (name) DO NOTHING RETURNING id",
        )
        .bind(self.id)
        .bind(self.name.as_str())
        .bind(system_now_ms())
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
    type Output = ();

    async fn apply(&self, rows: &mut AnyConnection) -> Result<(), IndexError> {
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
    type Output = ();

    async fn apply(&self, rows: &mut AnyConnection) -> Result<(), IndexError> {
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
