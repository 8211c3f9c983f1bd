//! Who may ask: users and their tokens.

use heirloom_protocol::possession::UserId;

use crate::index::{Index, TokenId};

/// Who is asking, as proved by a token.
#[derive(Clone, Debug)]
pub struct Caller {
    pub user: UserId,
    pub token: TokenId,
    pub name: String,
}

#[derive(Clone, Debug)]
pub struct Accounts {
    index: Index,
}

#[derive(Debug, thiserror::Error)]
pub enum AccountError {}

impl Accounts {
    pub fn new(index: Index) -> Self {
        Self { index }
    }
    /// Adds a user; answers the token, which is kept only as its hash and cannot be shown again.
    pub async fn add_user(&self, name: &str) -> Result<String, AccountError> {
        todo!()
    }
    /// Another token for a user that exists.
    pub async fn add_token(&self, name: &str) -> Result<String, AccountError> {
        todo!()
    }
    /// Who the bearer of this token is; none if it is not one of ours. Cached for a named short time.
    pub async fn caller(&self, token: &str) -> Result<Option<Caller>, AccountError> {
        todo!()
    }
}
