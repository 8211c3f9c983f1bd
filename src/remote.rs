//! The server, as seen from here: requests, answers, time limits. hyper + rustls.

use bytes::Bytes;
use heirloom_protocol::message::{
    CheckImage, CheckedImage, LibraryBatch, LibraryFeed, LibraryOutcomes, ServerStatus, Session, UploadState,
};
use heirloom_protocol::{ContentDigest, Fingerprint, Problem};

use crate::config::Login;

#[derive(Clone, Debug)]
pub struct Remote {}

#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    #[error("login needed")]
    LoginNeeded,
    #[error("the server refused: {0}")]
    Refused(Problem),
    // Unreachable, TimedOut, Malformed answer ...; is_transient(), is_offline(), retry_after()
}

impl Remote {
    pub fn new(login: &Login) -> Result<Self, RemoteError> {
        todo!()
    }
    pub async fn session(&self) -> Result<Session, RemoteError> {
        todo!()
    }
    pub async fn check(&self, images: &[CheckImage]) -> Result<Vec<CheckedImage>, RemoteError> {
        todo!()
    }
    pub async fn put_shard(
        &self,
        fingerprint: Fingerprint,
        size: u64,
        offset: u64,
        digest: ContentDigest,
        bytes: Bytes,
    ) -> Result<UploadState, RemoteError> {
        todo!()
    }
    pub async fn upload(&self, fingerprint: Fingerprint) -> Result<Option<UploadState>, RemoteError> {
        todo!()
    }
    pub async fn change_library(&self, batch: &LibraryBatch) -> Result<LibraryOutcomes, RemoteError> {
        todo!()
    }
    pub async fn library_feed(&self, since: u64, wait_s: u64) -> Result<LibraryFeed, RemoteError> {
        todo!()
    }
    pub async fn status(&self) -> Result<ServerStatus, RemoteError> {
        todo!()
    }
}
