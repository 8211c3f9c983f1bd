//! Users and the hashes of their tokens.

use async_trait::async_trait;
use heirloom_protocol::possession::UserId;
use sqlx::AnyConnection;

use super::error::IndexError;
use super::writer::Write;
use super::{Index, TokenId, TokenOwner, now_ms, row};

impl Index {
    /// Adds a user; `NameTaken` if there is one of that name.
    pub async fn add_user(&self, name: &str) -> Result<UserId, IndexError> {
        self.writer.write(AddUser { id: row::random_id()?, name: name.to_owned() }).await
    }

    /// The user of that name.
    pub async fn user_named(&self, name: &str) -> Result<Option<UserId>, IndexError> {
        let found =
            sqlx::query("SELECT id FROM users WHERE name = $1").bind(name).fetch_optional(self.database.reads()).await;
        let row = found.map_err(IndexError::statement("look for a user"))?;
        row.map(|row| row::integer(&row, 0).map(UserId)).transpose()
    }

    /// Adds a token, as its hash. The same hash for the same user again is the same token.
    pub async fn add_token(&self, user: UserId, token_hash: [u8; 32]) -> Result<TokenId, IndexError> {
        self.writer.write(AddToken { id: row::random_id()?, user, hash: token_hash }).await
    }

    /// Whose token has this hash.
    pub async fn token_owner(&self, token_hash: [u8; 32]) -> Result<Option<TokenOwner>, IndexError> {
        let found = sqlx::query(
            "SELECT tokens.id, users.id, users.name
             FROM tokens JOIN users ON users.id = tokens.user_id WHERE tokens.hash = $1",
        )
        .bind(token_hash.as_slice())
        .fetch_optional(self.database.reads())
        .await;
        let row = found.map_err(IndexError::statement("look for a token"))?;
        row.map(|row| {
            Ok(TokenOwner {
                token: TokenId(row::integer(&row, 0)?),
                user: UserId(row::integer(&row, 1)?),
                name: row::text(&row, 2)?,
            })
        })
        .transpose()
    }
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

struct AddToken {
    id: i64,
    user: UserId,
    hash: [u8; 32],
}

#[async_trait]
impl Write for AddToken {
    type Answer = TokenId;

    async fn carry_out(&self, rows: &mut AnyConnection) -> Result<TokenId, IndexError> {
        let owner =
            sqlx::query("SELECT id FROM users WHERE id = $1").bind(self.user.0).fetch_optional(&mut *rows).await;
        if owner.map_err(IndexError::statement("look for a token's user"))?.is_none() {
            return Err(IndexError::NoSuchUser(self.user));
        }
        sqlx::query(
            "INSERT INTO tokens (hash, id, user_id, created_ms) VALUES ($1, $2, $3, $4) ON CONFLICT (hash) DO NOTHING",
        )
        .bind(self.hash.as_slice())
        .bind(self.id)
        .bind(self.user.0)
        .bind(now_ms())
        .execute(&mut *rows)
        .await
        .map_err(IndexError::statement("add a token"))?;
        let token =
            sqlx::query("SELECT id FROM tokens WHERE hash = $1").bind(self.hash.as_slice()).fetch_one(rows).await;
        row::integer(&token.map_err(IndexError::statement("read a token back"))?, 0).map(TokenId)
    }
}
