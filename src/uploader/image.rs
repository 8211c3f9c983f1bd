//! An image on the local disk, as a delivery sees it: an open file that must not change under its
//! hands.
//!
//! The file may be written to at any moment; it belongs to its owner. So its stamp is compared
//! before and after every read, and what was read from a changed file is thrown away. That is for
//! speed and clear words; the proof that no mixture is ever stored is the server's hash of the
//! whole.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use heirloom_protocol::message::Session;
use heirloom_protocol::possession::{Proof, Prover};
use heirloom_protocol::{ByteRange, ContentDigest, Fingerprint, Fingerprinter};

use super::buffer_pool::{BufWriter, BufferPool};
use crate::journal::Stamp;
use crate::remote::Payload;
use crate::spool::{Placeholder, Spool};

/// Bytes read at a time of a whole image: few enough to come from the allocator's own store.
const PIECE_BYTES: usize = 64 << 10;

/// An image that can be sent.
#[derive(Debug)]
pub struct ImageFile {
    file: File,
    stamp: Stamp,
    fingerprint: Fingerprint,
}

/// Why an image could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The file is not what was fingerprinted any more.
    #[error("the file changed while it was being backed up")]
    Changed,
    /// The disk did not give the bytes.
    #[error("read the file")]
    Read(#[from] io::Error),
}

/// A shard, read.
#[derive(Debug)]
pub(super) struct Shard {
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

    /// Which image it is.
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Its length in bytes.
    pub const fn size(&self) -> u64 {
        self.stamp.size
    }

    /// Fails if the file is not what it was. Blocks on the disk, like all that follow.
    pub(super) fn verify(&self) -> Result<(), ImageError> {
        let (_, stamp) = Spool::identify(&self.file)?;
        // A placeholder has the size and time of the whole, and is read as zeros.
        let is_whole = stamp == self.stamp && Placeholder::of(&self.file)?.is_none();
        if is_whole {
            Ok(())
        } else {
            Err(ImageError::Changed)
        }
    }

    /// The bytes of a shard, and their digest. Of the whole image that is the fingerprint: nobody
    /// hashes twice.
    pub(super) fn read(&self, range: ByteRange, trays: &BufferPool) -> Result<Shard, ImageError> {
        let whole = range.start() == 0 && range.end() == self.size();
        let (mut filling, mut fingerprinter) = (trays.fill(), Fingerprinter::default());
        self.verify()?;
        filling.add(range.len(), |place, done| {
            self.fill(place, range.start() + done)?;
            if !whole {
                fingerprinter.update(place);
            }
            Ok::<_, ImageError>(())
        })?;
        self.verify()?;
        let digest = if whole {
            self.fingerprint
        } else {
            fingerprinter.finish()
        };
        Ok(Shard {
            bytes: filling.finish(),
            digest: digest.into(),
        })
    }

    /// Adds all its bytes.
    pub(super) fn add_to(&self, filling: &mut BufWriter) -> Result<(), ImageError> {
        self.verify()?;
        filling.add(self.size(), |place, done| self.fill(place, done))?;
        self.verify()
    }

    /// The proof that we have every byte (M9), made with the session's nonce.
    pub(super) fn prove(&self, session: &Session) -> Result<Proof, ImageError> {
        self.verify()?;
        let mut prover = Prover::new(&session.nonce, session.user, self.size());
        self.each_piece(|piece| prover.update(piece))?;
        self.verify()?;
        Ok(prover.finish())
    }

    /// Whether its bytes are still those that were fingerprinted. A disk can forget a bit without
    /// any sign.
    pub(super) fn has_its_fingerprint(&self) -> Result<bool, ImageError> {
        self.verify()?;
        let mut fingerprinter = Fingerprinter::default();
        self.each_piece(|piece| fingerprinter.update(piece))?;
        self.verify()?;
        Ok(fingerprinter.finish() == self.fingerprint)
    }

    fn each_piece(&self, mut take: impl FnMut(&[u8])) -> Result<(), ImageError> {
        let mut piece = vec![0; PIECE_BYTES];
        let mut offset = 0;
        while offset < self.size() {
            let length = usize::try_from(self.size() - offset)
                .unwrap_or(usize::MAX)
                .min(PIECE_BYTES);
            self.fill(&mut piece[..length], offset)?;
            take(&piece[..length]);
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
