//! What is known: users, tokens, images, holdings, interrupted uploads, libraries. SQL that SQLite and PostgreSQL both
//! accept; which of them it is follows from the URL. `server/tests/index_contract.rs` is the contract.

use std::collections::HashMap;

use heirloom_protocol::message::{LibraryChange, LibraryFeed, LibraryOutcome, Receipt, ServerStatus};
use heirloom_protocol::possession::UserId;
use heirloom_protocol::{ByteRange, Fingerprint, RangeSet};

/// The index. Reads run side by side; writes go through one writer that commits them in groups. Every write is durable when it
/// returns, and may be sent twice.
#[derive(Clone, Debug)]
pub struct Index {}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenId(pub i64);

/// Whose token it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenOwner {
    pub token: TokenId,
    pub user: UserId,
    pub name: String,
}

/// An entry of the interruption list (M6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interrupted {
    pub size: u64,
    pub received: RangeSet,
}

#[derive(Debug, thiserror::Error)]
pub enum IndexError {}

impl Index {
    pub async fn open(url: &str) -> Result<Self, IndexError> {
        todo!()
    }
    /// 32 random bytes made once for this installation, kept in the index so that every server process has the same.
    pub async fn secret(&self) -> Result<[u8; 32], IndexError> {
        todo!()
    }

    // accounts
    /// Adds a user; `NameTaken` if there is one.
    pub async fn add_user(&self, name: &str) -> Result<UserId, IndexError> {
        todo!()
    }
    pub async fn user_named(&self, name: &str) -> Result<Option<UserId>, IndexError> {
        todo!()
    }
    pub async fn add_token(&self, user: UserId, token_hash: [u8; 32]) -> Result<TokenId, IndexError> {
        todo!()
    }
    pub async fn token_owner(&self, token_hash: [u8; 32]) -> Result<Option<TokenOwner>, IndexError> {
        todo!()
    }

    // images and who holds them
    /// The receipts of those of `fingerprints` that this user holds and that are not quarantined. One round trip.
    pub async fn receipts(
        &self,
        user: UserId,
        fingerprints: &[Fingerprint],
    ) -> Result<HashMap<Fingerprint, Receipt>, IndexError> {
        todo!()
    }
    /// The length of an image that anybody holds and that is not quarantined.
    pub async fn image_size(&self, fingerprint: Fingerprint) -> Result<Option<u64>, IndexError> {
        todo!()
    }
    /// Records a stored, verified image as held by this user; forgets the interrupted upload; lifts a quarantine. The receipt of the first
    /// time is the receipt of every time.
    pub async fn hold(&self, user: UserId, fingerprint: Fingerprint, size: u64) -> Result<Receipt, IndexError> {
        todo!()
    }
    /// Like `hold`, for an image that somebody else brought: `None` if it is not (or no longer) there unquarantined.
    pub async fn link(&self, user: UserId, fingerprint: Fingerprint) -> Result<Option<Receipt>, IndexError> {
        todo!()
    }
    /// The stored bytes were found damaged: nobody is told that they have it until somebody brings it again.
    pub async fn quarantine(&self, fingerprint: Fingerprint) -> Result<(), IndexError> {
        todo!()
    }

    // interruption list
    pub async fn interrupted(
        &self,
        user: UserId,
        fingerprints: &[Fingerprint],
    ) -> Result<HashMap<Fingerprint, Interrupted>, IndexError> {
        todo!()
    }
    /// Adds a range to the entry, making it if missing; answers the entry as it is then. `SizeDiffers` if it was begun with another size.
    pub async fn note_shard(
        &self,
        user: UserId,
        fingerprint: Fingerprint,
        size: u64,
        range: ByteRange,
    ) -> Result<Interrupted, IndexError> {
        todo!()
    }
    pub async fn forget_upload(&self, user: UserId, fingerprint: Fingerprint) -> Result<(), IndexError> {
        todo!()
    }
    /// Uploads without a new shard since `before_ms`, some at a time.
    pub async fn stale_uploads(&self, before_ms: i64, limit: u32) -> Result<Vec<(UserId, Fingerprint)>, IndexError> {
        todo!()
    }

    // proofs
    pub async fn proof_failures(&self, user: UserId, day: i64) -> Result<u32, IndexError> {
        todo!()
    }
    pub async fn count_proof_failure(&self, user: UserId, day: i64) -> Result<(), IndexError> {
        todo!()
    }

    // library
    /// Carries out changes in order, each for itself, with the user's own change count as version.
    pub async fn change_library(
        &self,
        user: UserId,
        changes: Vec<LibraryChange>,
    ) -> Result<Vec<LibraryOutcome>, IndexError> {
        todo!()
    }
    pub async fn library_since(&self, user: UserId, since: u64, limit: usize) -> Result<LibraryFeed, IndexError> {
        todo!()
    }
    /// Forgets trash older than `before_ms`, some at a time; answers how many.
    pub async fn purge_trash(&self, before_ms: i64, limit: u32) -> Result<u64, IndexError> {
        todo!()
    }
    pub async fn status(&self, user: UserId) -> Result<ServerStatus, IndexError> {
        todo!()
    }
}
