//! The interface through which the uploader reaches the server. `Remote` implements it over HTTP;
//! an implementation in memory lets the uploader run without sockets.

use std::fmt::Debug;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use heirloom_protocol::batch::{BatchEntry, BatchOutcome};
use heirloom_protocol::message::{CheckImage, CheckedImage, Session, UploadState};
use heirloom_protocol::{ContentDigest, Fingerprint};

use super::{Payload, Remote, RemoteError};

/// A server that images can be uploaded to. All requests may be dropped half-way; then the server
/// has carried them out or not.
pub trait UploadServer: Debug + Send + Sync + 'static {
    /// Whether the server is this machine.
    fn is_loopback(&self) -> bool;

    /// Image bytes that were sent so far, whether they arrived or not.
    fn image_bytes_sent(&self) -> u64;

    /// The session; may be a cached one.
    fn session(&self) -> BoxFuture<'_, Result<Session, RemoteError>>;

    /// The session, always requested anew.
    fn renewed_session(&self) -> BoxFuture<'_, Result<Session, RemoteError>>;

    /// What the server has of each image, in order.
    fn check<'a>(
        &'a self,
        images: &'a [CheckImage],
    ) -> BoxFuture<'a, Result<Vec<CheckedImage>, RemoteError>>;

    /// Sends the bytes at `offset` of an image of `size` bytes. When this returns, they are
    /// durable.
    fn put_shard(
        &self,
        fingerprint: Fingerprint,
        size: u64,
        offset: u64,
        digest: ContentDigest,
        bytes: Payload,
    ) -> BoxFuture<'_, Result<UploadState, RemoteError>>;

    /// Sends several whole images; returns the result of each, in order.
    fn send_batch<'a>(
        &'a self,
        images: &'a [BatchEntry],
        body: Payload,
    ) -> BoxFuture<'a, Result<Vec<BatchOutcome>, RemoteError>>;

    /// The interruption list of an image; nothing if there is no such upload.
    fn upload_state(
        &self,
        fingerprint: Fingerprint,
    ) -> BoxFuture<'_, Result<Option<UploadState>, RemoteError>>;
}

impl UploadServer for Remote {
    fn is_loopback(&self) -> bool {
        Self::is_loopback(self)
    }

    fn image_bytes_sent(&self) -> u64 {
        Self::image_bytes_sent(self)
    }

    fn session(&self) -> BoxFuture<'_, Result<Session, RemoteError>> {
        Self::session(self).boxed()
    }

    fn renewed_session(&self) -> BoxFuture<'_, Result<Session, RemoteError>> {
        Self::renewed_session(self).boxed()
    }

    fn check<'a>(
        &'a self,
        images: &'a [CheckImage],
    ) -> BoxFuture<'a, Result<Vec<CheckedImage>, RemoteError>> {
        Self::check(self, images).boxed()
    }

    fn put_shard(
        &self,
        fingerprint: Fingerprint,
        size: u64,
        offset: u64,
        digest: ContentDigest,
        bytes: Payload,
    ) -> BoxFuture<'_, Result<UploadState, RemoteError>> {
        Self::put_shard(self, fingerprint, size, offset, digest, bytes).boxed()
    }

    fn send_batch<'a>(
        &'a self,
        images: &'a [BatchEntry],
        body: Payload,
    ) -> BoxFuture<'a, Result<Vec<BatchOutcome>, RemoteError>> {
        Self::send_batch(self, images, body).boxed()
    }

    fn upload_state(
        &self,
        fingerprint: Fingerprint,
    ) -> BoxFuture<'_, Result<Option<UploadState>, RemoteError>> {
        Self::upload_state(self, fingerprint).boxed()
    }
}
