//! The signer: the hand under receipts. Its secret lies in the data directory, for this account
//! alone, and never leaves it.
//!
//! Whoever loses the file has a new hand at the next start: receipts signed before can then no
//! longer be checked, and photos are not affected.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ed25519_dalek::{Signer as _, SigningKey};
use heirloom_protocol::message::Receipt;
use heirloom_protocol::possession::UserId;
use heirloom_protocol::signature::{ReceiptKey, Signature};

use crate::config::DataDir;

/// Bytes of the secret (RFC 8032 section 5.1.5).
const SECRET_BYTES: usize = 32;

/// Signs receipts. Clones are the same hand.
#[derive(Clone, Debug)]
pub struct Signer {
    secret: Arc<SigningKey>,
}

/// Why there is no hand to sign with.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// The system gave no random bytes.
    #[error("ask the system for random bytes")]
    Random(#[source] getrandom::Error),
    /// The secret's file could not be made or read.
    #[error("{doing} {path}")]
    Io {
        /// What we were about to do.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// It is no secret of ours.
    #[error("{path} is not {SECRET_BYTES} bytes long; move it away to begin with a new one")]
    Malformed {
        /// The file.
        path: PathBuf,
    },
}

impl Signer {
    /// The data directory's signer, made at the first start. Blocks on the disk.
    pub fn open(data: &DataDir) -> Result<Self, SignerError> {
        let path = data.receipt_key();
        let secret = match read(&path)? {
            Some(secret) => secret,
            None => make(&path)?,
        };
        Ok(Self {
            secret: Arc::new(SigningKey::from_bytes(&secret)),
        })
    }

    /// What its signatures can be checked with.
    pub fn key(&self) -> ReceiptKey {
        ReceiptKey::from(self.secret.verifying_key().to_bytes())
    }

    /// The receipt, signed.
    pub fn sign(&self, user: UserId, receipt: Receipt) -> Receipt {
        let signature = self.secret.sign(&receipt.payload(user).encode());
        Receipt {
            signature: Some(Signature::from(signature.to_bytes())),
            ..receipt
        }
    }
}

fn read(path: &Path) -> Result<Option<[u8; SECRET_BYTES]>, SignerError> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(SignerError::Io {
                doing: "open",
                path: path.to_owned(),
                source,
            });
        }
    };
    let mut bytes = Vec::with_capacity(SECRET_BYTES);
    let all = file.take(SECRET_BYTES as u64 + 1).read_to_end(&mut bytes);
    all.map_err(|source| SignerError::Io {
        doing: "read",
        path: path.to_owned(),
        source,
    })?;
    bytes
        .try_into()
        .map(Some)
        .map_err(|_| SignerError::Malformed {
            path: path.to_owned(),
        })
}

/// Makes a secret, durably and at once: of two servers that begin together, both use what the first
/// made.
fn make(path: &Path) -> Result<[u8; SECRET_BYTES], SignerError> {
    let mut secret = [0; SECRET_BYTES];
    getrandom::fill(&mut secret).map_err(SignerError::Random)?;
    let aside = path.with_extension(format!("new-{}", std::process::id()));
    let put = put(path, &aside, &secret);
    put.map_err(|source| SignerError::Io {
        doing: "make",
        path: path.to_owned(),
        source,
    })?;
    read(path)?.ok_or_else(|| SignerError::Malformed {
        path: path.to_owned(),
    })
}

fn put(path: &Path, aside: &Path, secret: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(aside)?;
    file.write_all(secret)?;
    file.sync_all()?;
    match fs::hard_link(aside, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    fs::remove_file(aside)?;
    fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use heirloom_protocol::Fingerprint;

    use super::*;

    #[test]
    fn the_hand_is_made_once_for_one_account_and_is_the_same_ever_after() {
        let root = tempfile::tempdir().unwrap();
        let data = DataDir::open(root.path()).unwrap();
        let signer = Signer::open(&data).unwrap();
        assert_eq!(
            fs::metadata(data.receipt_key())
                .unwrap()
                .permissions()
                .mode()
                & 0o777,
            0o600
        );
        assert_eq!(Signer::open(&data).unwrap().key(), signer.key());
        let receipt = Receipt {
            fingerprint: Fingerprint::of(b"abc"),
            size: 3,
            stored_at_ms: 1,
            signature: None,
        };
        let signed = signer.sign(UserId(1), receipt);
        assert!(
            signer
                .key()
                .verify(&receipt.payload(UserId(1)), &signed.signature.unwrap())
        );
        assert!(
            !signer
                .key()
                .verify(&receipt.payload(UserId(2)), &signed.signature.unwrap())
        );
        let names: Vec<_> = fs::read_dir(root.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert!(
            !names
                .iter()
                .any(|name| name.to_string_lossy().contains("new")),
            "{names:?}"
        );
    }

    #[test]
    fn of_two_that_make_a_hand_both_use_the_first() {
        let root = tempfile::tempdir().unwrap();
        let path = DataDir::open(root.path()).unwrap().receipt_key();
        let first = make(&path).unwrap();
        assert_eq!(make(&path).unwrap(), first);
        assert_eq!(read(&path).unwrap(), Some(first));
    }

    #[test]
    fn another_file_in_its_place_is_not_guessed_at() {
        let root = tempfile::tempdir().unwrap();
        let data = DataDir::open(root.path()).unwrap();
        for wrong in [vec![], vec![1; 31], vec![1; 33]] {
            fs::write(data.receipt_key(), wrong).unwrap();
            assert!(matches!(
                Signer::open(&data),
                Err(SignerError::Malformed { .. })
            ));
        }
    }
}
