//! A blob store that records its calls, can fail the next call, and can hold writes back.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use heirloom_protocol::{ByteRange, Fingerprint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::blobs::{
    BlobError, BlobStore, ByteStream, ExclusiveGuard, LocalBlobStore, Prefix, RemovedStats,
    SharedGuard, StoredBatch, StoredImage, UploadKey,
};

/// More concurrent writes than any test makes.
const WRITES: u32 = 100;

/// A blob store that records its calls and forwards them to a real one.
#[derive(Debug)]
pub(super) struct RecordingBlobs {
    local: LocalBlobStore,
    calls: Mutex<Vec<&'static str>>,
    failures: Mutex<VecDeque<&'static str>>,
    /// Permits for writes to continue.
    writes: Arc<Semaphore>,
    /// Counts the writes that have begun.
    pub(super) begun: Arc<Semaphore>,
}

impl RecordingBlobs {
    pub(super) fn new(local: LocalBlobStore) -> Self {
        let (writes, begun) = (
            Arc::new(Semaphore::new(WRITES as usize)),
            Arc::new(Semaphore::new(0)),
        );
        Self {
            local,
            calls: Mutex::default(),
            failures: Mutex::default(),
            writes,
            begun,
        }
    }

    /// The next call of this name fails as a broken disk would.
    pub(super) fn fail_next(&self, call: &'static str) {
        self.failures.lock().unwrap().push_back(call);
    }

    /// Holds all writes back until the permit is dropped.
    pub(super) async fn hold_writes(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.writes)
            .acquire_many_owned(WRITES)
            .await
            .unwrap()
    }

    pub(super) fn count(&self, call: &str) -> usize {
        self.calls
            .lock()
            .unwrap()
            .iter()
            .filter(|recorded| **recorded == call)
            .count()
    }

    fn record(&self, call: &'static str) -> Result<(), BlobError> {
        self.calls.lock().unwrap().push(call);
        let mut failures = self.failures.lock().unwrap();
        if failures.front() != Some(&call) {
            return Ok(());
        }
        failures.pop_front();
        Err(BlobError::Io {
            doing: call,
            path: "test".into(),
            source: io::Error::other("a broken disk"),
        })
    }
}

#[async_trait]
impl BlobStore for RecordingBlobs {
    async fn store(
        &self,
        fingerprint: Fingerprint,
        size: u64,
        body: ByteStream<'_>,
    ) -> Result<SharedGuard, BlobError> {
        self.record("store")?;
        self.local.store(fingerprint, size, body).await
    }

    async fn store_batch(
        &self,
        images: Vec<(Fingerprint, Bytes)>,
    ) -> Result<StoredBatch, BlobError> {
        self.record("store_batch")?;
        self.local.store_batch(images).await
    }

    async fn write(&self, upload: UploadKey, offset: u64, bytes: Bytes) -> Result<(), BlobError> {
        self.record("write")?;
        self.begun.add_permits(1);
        let _permit = self.writes.acquire().await.unwrap();
        self.local.write(upload, offset, bytes).await
    }

    async fn finish(&self, upload: UploadKey, size: u64) -> Result<SharedGuard, BlobError> {
        self.record("finish")?;
        self.local.finish(upload, size).await
    }

    async fn discard(&self, upload: UploadKey) -> Result<(), BlobError> {
        self.record("discard")?;
        self.local.discard(upload).await
    }

    async fn uploads(&self) -> Result<Vec<UploadKey>, BlobError> {
        self.local.uploads().await
    }

    async fn size(&self, fingerprint: Fingerprint) -> Result<Option<u64>, BlobError> {
        self.local.size(fingerprint).await
    }

    async fn read(
        &self,
        fingerprint: Fingerprint,
        range: ByteRange,
    ) -> Result<ByteStream<'static>, BlobError> {
        self.record("read")?;
        self.local.read(fingerprint, range).await
    }

    async fn quarantine(&self, fingerprint: Fingerprint) -> Result<(), BlobError> {
        self.record("quarantine")?;
        self.local.quarantine(fingerprint).await
    }
    async fn list(&self, prefix: Prefix) -> Result<Vec<StoredImage>, BlobError> {
        self.local.list(prefix).await
    }

    async fn try_lock_exclusive(
        &self,
        prefix: Prefix,
    ) -> Result<Option<ExclusiveGuard>, BlobError> {
        self.local.try_lock_exclusive(prefix).await
    }

    async fn remove(
        &self,
        guard: ExclusiveGuard,
        images: Vec<Fingerprint>,
    ) -> Result<RemovedStats, BlobError> {
        self.record("remove")?;
        self.local.remove(guard, images).await
    }
}
