//! An image on the local disk: an open file that must not change while it is uploaded.
//!
//! The file may be written to at any moment; it belongs to its owner. So its stamp is compared
//! before and after every read, and bytes read from a changed file are thrown away. That saves time
//! and gives a clear error; what proves that no mixture is ever stored is the server's hash of the
//! whole.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use heirloom_protocol::message::{CrossUser, Session};
use heirloom_protocol::possession::{self, Proof, Prover};
use heirloom_protocol::{ByteRange, ContentDigest, Fingerprint, Fingerprinter};

use super::buffer_pool::{BufferPool, PayloadWriter};
use super::limits::READ_BYTES;
use super::types::{Candidate, ImageError, OpenError};
use crate::journal::Stamp;
use crate::remote::Payload;
use crate::spool::{Placeholder, Spool};

/// An open image that can be uploaded.
#[derive(Debug)]
pub struct ImageFile {
    file: File,
    stamp: Stamp,
    fingerprint: Fingerprint,
}

/// The bytes of one shard, with their digest.
#[derive(Debug)]
pub(super) struct ShardData {
    pub(super) bytes: Payload,
    pub(super) digest: ContentDigest,
}

impl ImageFile {
    /// An open file whose content had this fingerprint when its stamp was this.
    pub fn new(file: File, stamp: Stamp, fingerprint: Fingerprint) -> Self {
        Self {
            file,
            stamp,
            fingerprint,
        }
    }

    /// Opens a file, if it is still the one that was queued. Blocks on the disk, like all that
    /// follow.
    pub(super) fn open(spool: &Spool, file: &Candidate) -> Result<Self, OpenError> {
        let opened = spool.open_read(&file.path)?;
        let (id, stamp) = Spool::identify(&opened).map_err(ImageError::Read)?;
        if (id, stamp) != (file.id, file.stamp) {
            return Err(ImageError::Changed.into());
        }
        Ok(Self::new(opened, stamp, file.fingerprint))
    }

    /// The fingerprint of the content.
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The length in bytes.
    pub const fn size(&self) -> u64 {
        self.stamp.size
    }

    /// Fails if the file changed since it was fingerprinted.
    fn ensure_unchanged(&self) -> Result<(), ImageError> {
        let (_, stamp) = Spool::identify(&self.file)?;
        // A placeholder has the size and times of the image, and is read as zeros.
        let is_whole = stamp == self.stamp && Placeholder::of(&self.file)?.is_none();
        if is_whole {
            Ok(())
        } else {
            Err(ImageError::Changed)
        }
    }

    /// Reads one shard. The digest of the whole image is its fingerprint, which is not computed a
    /// second time.
    pub(super) fn read_shard(
        &self,
        range: ByteRange,
        buffers: &BufferPool,
    ) -> Result<ShardData, ImageError> {
        let whole = range.start() == 0 && range.end() == self.size();
        let (mut writer, mut fingerprinter) = (buffers.writer(), Fingerprinter::default());
        self.ensure_unchanged()?;
        writer.append(range.len(), |place, done| {
            self.fill(place, range.start() + done)?;
            if !whole {
                fingerprinter.update(place);
            }
            Ok::<_, ImageError>(())
        })?;
        self.ensure_unchanged()?;
        let digest = if whole {
            self.fingerprint
        } else {
            fingerprinter.finish()
        };
        Ok(ShardData {
            bytes: writer.finish(),
            digest: digest.into(),
        })
    }

    /// Appends the whole image to a payload.
    pub(super) fn append_to(&self, writer: &mut PayloadWriter) -> Result<(), ImageError> {
        self.ensure_unchanged()?;
        writer.append(self.size(), |place, done| self.fill(place, done))?;
        self.ensure_unchanged()
    }

    /// The proof that we have every byte, made with the session's nonce.
    pub(super) fn prove(&self, session: &Session) -> Result<Proof, ImageError> {
        self.ensure_unchanged()?;
        let mut prover = Prover::new(&session.nonce, session.user, self.size());
        self.for_each_part(|part| prover.update(part))?;
        self.ensure_unchanged()?;
        Ok(prover.finish())
    }

    /// Whether the bytes still have the fingerprint. A disk can lose a bit without any sign.
    pub(super) fn matches_fingerprint(&self) -> Result<bool, ImageError> {
        self.ensure_unchanged()?;
        let mut fingerprinter = Fingerprinter::default();
        self.for_each_part(|part| fingerprinter.update(part))?;
        self.ensure_unchanged()?;
        Ok(fingerprinter.finish() == self.fingerprint)
    }

    fn for_each_part(&self, mut use_part: impl FnMut(&[u8])) -> Result<(), ImageError> {
        let mut buffer = vec![0; READ_BYTES];
        let mut offset = 0;
        while offset < self.size() {
            let length = usize::try_from(self.size() - offset)
                .unwrap_or(usize::MAX)
                .min(READ_BYTES);
            self.fill(&mut buffer[..length], offset)?;
            use_part(&buffer[..length]);
            offset += length as u64;
        }
        Ok(())
    }

    fn fill(&self, bytes: &mut [u8], offset: u64) -> Result<(), ImageError> {
        match self.file.read_exact_at(bytes, offset) {
            // Shorter than it was.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(ImageError::Changed),
            read => Ok(read?),
        }
    }
}

/// Whether a check of an image of `size` bytes should carry a proof of possession: only then can
/// the server link another user's copy.
pub(super) fn wants_proof(session: &Session, size: u64) -> bool {
    session.cross_user == CrossUser::Proof && size >= possession::SIZE_MIN
}
