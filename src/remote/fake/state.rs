//! The state of the fake server: stored images, unfinished uploads, requests and faults.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use heirloom_protocol::batch::{self, BatchOutcome};
use heirloom_protocol::message::{
    CheckImage, CheckedImage, CrossUser, Limits, Receipt, Session, UploadState,
};
use heirloom_protocol::message::{LibraryChange, LibraryOutcome, Scope};
use heirloom_protocol::possession::{Nonce, Prover, UserId};
use heirloom_protocol::{ByteRange, ContentDigest, ErrorCode, Fingerprint, LibraryPath, RangeSet};

use super::{Fault, TOKEN};

/// The state of the fake server.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) token: String,
    pub(crate) installation: String,
    pub(crate) limits: Limits,
    pub(crate) images: HashMap<Fingerprint, Vec<u8>>,
    /// Images of other users.
    pub(crate) other_users_images: HashMap<Fingerprint, Vec<u8>>,
    pub(crate) uploads: HashMap<Fingerprint, Partial>,
    /// Whether checks report interrupted uploads.
    pub(crate) reports_interrupted: bool,
    pub(crate) library: HashMap<LibraryPath, (u64, Fingerprint)>,
    pub(crate) version: u64,
    /// The next faults: for requests whose line (`PUT /v1/...`) contains this.
    pub(crate) faults: VecDeque<(&'static str, Fault)>,
    /// Lines of all requests, and how many bytes their bodies had.
    pub(crate) requests: Vec<(String, usize)>,
    /// Shards in flight now, and the most at a time.
    pub(crate) in_flight: Traffic,
    pub(crate) max_in_flight: Traffic,
    /// Images that arrive damaged the next time they are in a batch.
    pub(crate) damaged_in_transit: HashSet<Fingerprint>,
    /// How long each shard takes.
    pub(crate) shard_duration: Duration,
}

/// An unfinished upload.
#[derive(Clone, Debug)]
pub(crate) struct Partial {
    pub(crate) bytes: Vec<u8>,
    pub(crate) received: RangeSet,
}

/// Shards in flight, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) shards: usize,
    pub(crate) bytes: usize,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            token: TOKEN.to_owned(),
            installation: "00000000000000000000000000000001".to_owned(),
            limits: Limits {
                check_images_max: 1000,
                library_changes_max: 1000,
                shard_bytes_min: 1,
                shard_bytes_max: 16 << 20,
                image_bytes_max: 64 << 20,
                batch_bytes_max: 0,
            },
            images: HashMap::new(),
            other_users_images: HashMap::new(),
            uploads: HashMap::new(),
            reports_interrupted: true,
            library: HashMap::new(),
            version: 0,
            faults: VecDeque::new(),
            requests: Vec::new(),
            in_flight: Traffic::default(),
            max_in_flight: Traffic::default(),
            damaged_in_transit: HashSet::new(),
            shard_duration: Duration::ZERO,
        }
    }

    pub(crate) fn session(&self) -> Session {
        Session {
            user: UserId(7),
            name: "anna".to_owned(),
            scope: Scope::Full,
            installation: self.installation.clone(),
            nonce: Nonce::from([3; 32]),
            nonce_renewal_s: 1800,
            cross_user: CrossUser::Proof,
            receipt_key: None,
            limits: self.limits,
            server_time_ms: 1,
        }
    }

    /// How many requests had this in their line.
    pub(crate) fn count(&self, line: &str) -> usize {
        self.requests
            .iter()
            .filter(|(request, _)| request.contains(line))
            .count()
    }

    /// Bytes of all shards that were sent.
    pub(crate) fn shard_bytes(&self) -> usize {
        self.requests
            .iter()
            .filter(|(line, _)| line.starts_with("PUT"))
            .map(|(_, bytes)| bytes)
            .sum()
    }

    pub(super) fn fault(&mut self, line: &str) -> Option<Fault> {
        let index = self
            .faults
            .iter()
            .position(|(part, _)| line.contains(part))?;
        self.faults.remove(index).map(|(_, fault)| fault)
    }

    pub(super) fn check(&mut self, image: &CheckImage) -> CheckedImage {
        let fingerprint = image.fingerprint;
        if let Some(bytes) = self.images.get(&fingerprint) {
            return CheckedImage::Owned {
                receipt: receipt(bytes),
            };
        }
        if let Some(bytes) = self.other_users_images.get(&fingerprint).cloned() {
            let session = self.session();
            let mut prover = Prover::new(&session.nonce, session.user, bytes.len() as u64);
            prover.update(&bytes);
            if image.proof == Some(prover.finish()) {
                let receipt = receipt(&bytes);
                self.images.insert(fingerprint, bytes);
                return CheckedImage::Linked { receipt };
            }
        }
        match self.uploads.get(&fingerprint) {
            Some(partial) if self.reports_interrupted => CheckedImage::Interrupted {
                fingerprint,
                received: partial.received.clone(),
            },
            Some(_) | None => CheckedImage::Absent { fingerprint },
        }
    }

    pub(super) fn put(&mut self, shard: Shard, body: &[u8]) -> Result<UploadState, ErrorCode> {
        let Shard {
            fingerprint,
            offset,
            size,
            digest,
        } = shard;
        if let Some(bytes) = self.images.get(&fingerprint) {
            return Ok(UploadState::Stored {
                receipt: receipt(bytes),
            });
        }
        let range = ByteRange::at(offset, body.len() as u64).map_err(|_| ErrorCode::EmptyShard)?;
        if range.end() > size || body.len() as u64 > self.limits.shard_bytes_max {
            return Err(ErrorCode::ShardOutOfBounds);
        }
        if ContentDigest::of(body) != digest {
            return Err(ErrorCode::DigestMismatch);
        }
        if self
            .uploads
            .get(&fingerprint)
            .is_some_and(|partial| partial.bytes.len() as u64 != size)
        {
            return Err(ErrorCode::LengthMismatch);
        }
        let partial = self.add_photo(shard, body);
        if !partial.received.covers(size) {
            return Ok(UploadState::Receiving {
                size,
                received: partial.received.clone(),
            });
        }
        let bytes = self.uploads.remove(&fingerprint).unwrap().bytes;
        if Fingerprint::of(&bytes) != fingerprint {
            return Err(ErrorCode::FingerprintMismatch);
        }
        let receipt = receipt(&bytes);
        self.images.insert(fingerprint, bytes);
        Ok(UploadState::Stored { receipt })
    }

    /// Takes bytes of a shard in, from its start.
    pub(super) fn add_photo(&mut self, shard: Shard, bytes: &[u8]) -> &Partial {
        let length = usize::try_from(shard.size).unwrap();
        let fresh = || Partial {
            bytes: vec![0; length],
            received: RangeSet::new(),
        };
        let partial = self.uploads.entry(shard.fingerprint).or_insert_with(fresh);
        partial.bytes[usize::try_from(shard.offset).unwrap()..][..bytes.len()]
            .copy_from_slice(bytes);
        partial
            .received
            .insert(ByteRange::at(shard.offset, bytes.len() as u64).unwrap());
        partial
    }

    /// The interruption list of an image.
    pub(super) fn upload(&self, image: Fingerprint) -> Option<UploadState> {
        if let Some(bytes) = self.images.get(&image) {
            return Some(UploadState::Stored {
                receipt: receipt(bytes),
            });
        }
        let partial = self.uploads.get(&image)?;
        Some(UploadState::Receiving {
            size: partial.bytes.len() as u64,
            received: partial.received.clone(),
        })
    }

    pub(super) fn store_batch(&mut self, body: &[u8]) -> Vec<BatchOutcome> {
        let images = batch::decode(body).unwrap();
        assert!(body.len() as u64 <= self.limits.batch_bytes_max + batch::HEADER_BYTES_MAX as u64);
        let outcomes = images.into_iter().map(|(fingerprint, place)| {
            let bytes = body[place].to_vec();
            if Fingerprint::of(&bytes) != fingerprint
                || self.damaged_in_transit.remove(&fingerprint)
            {
                return BatchOutcome::Damaged { fingerprint };
            }
            let receipt = receipt(&bytes);
            self.images.insert(fingerprint, bytes);
            BatchOutcome::Stored { receipt }
        });
        outcomes.collect()
    }

    pub(super) fn change(&mut self, change: LibraryChange) -> LibraryOutcome {
        let version_of =
            |path: &LibraryPath| self.library.get(path).map_or(0, |(version, _)| *version);
        let (path, base) = match &change {
            LibraryChange::Put { path, base, .. } | LibraryChange::Remove { path, base } => {
                (path, *base)
            }
            LibraryChange::Move { from, base, .. } => (from, *base),
        };
        let current = version_of(path);
        if current != base {
            return LibraryOutcome::Conflict { current };
        }
        if let LibraryChange::Put { fingerprint, .. } = &change
            && !self.images.contains_key(fingerprint)
        {
            return LibraryOutcome::Refused {
                code: ErrorCode::ImageNotHeld,
            };
        }
        self.version += 1;
        match change {
            LibraryChange::Put {
                path, fingerprint, ..
            } => {
                self.library.insert(path, (self.version, fingerprint));
            }
            LibraryChange::Move { from, to, .. } => match self.library.remove(&from) {
                Some((_, fingerprint)) => {
                    self.library.insert(to, (self.version, fingerprint));
                }
                None => return LibraryOutcome::Conflict { current: 0 },
            },
            LibraryChange::Remove { path, .. } => {
                self.library.remove(&path);
            }
        }
        LibraryOutcome::Applied {
            version: self.version,
        }
    }
}

/// The headers of a shard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shard {
    pub(super) fingerprint: Fingerprint,
    pub(super) offset: u64,
    pub(super) size: u64,
    pub(super) digest: ContentDigest,
}

pub(crate) fn receipt(bytes: &[u8]) -> Receipt {
    Receipt {
        fingerprint: Fingerprint::of(bytes),
        size: bytes.len() as u64,
        stored_at_ms: 1,
        signature: None,
    }
}
