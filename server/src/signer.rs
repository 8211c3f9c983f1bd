//! The receipt signer. Its secret key is a private file in the data directory and never leaves it.
//!
//! If the file is lost, the next start generates a new key: receipts signed before can then no
//! longer be verified; photos are not affected.

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

/// Bytes of the secret key (RFC 8032 section 5.1.5).
const SECRET_BYTES: usize = 32;

/// Signs receipts. Clones share the key.
#[derive(Clone, Debug)]
pub struct Signer {
    secret: Arc<SigningKey>,
}

/// Why the signing key could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// The system returned no random bytes.
    #[error("get random bytes from the system")]
    Random(#[source] getrandom::Error),
    /// The key file could not be created or read.
    #[error("{doing} {path}")]
    Io {
        /// The failed operation, as a verb.
        doing: &'static str,
        /// The key file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file is not a signing key.
    #[error(
        "{path} is not a signing key: it is not {SECRET_BYTES} bytes long; move it away, and a new key is generated"
    )]
    Malformed {
        /// The key file.
        path: PathBuf,
    },
}

impl Signer {
    /// Opens the data directory's signer, generating its key at the first start. Blocks on the
    /// disk.
    pub fn open(data: &DataDir) -> Result<Self, SignerError> {
        let path = data.receipt_key();
        let secret = match read(&path)? {
            Some(secret) => secret,
            None => create(&path)?,
        };
        Ok(Self {
            secret: Arc::new(SigningKey::from_bytes(&secret)),
        })
    }

    /// The public key that verifies its signatures.
    pub fn key(&self) -> ReceiptKey {
        ReceiptKey::from(self.secret.verifying_key().to_bytes())
    }

    /// Signs a receipt.
    pub fn sign(&self, user: UserId, receipt: Receipt) -> Receipt {
        let signature = self.secret.sign(&receipt.payload(user).encode());
        Receipt {
            signature: Some(Signature::from(signature.to_bytes())),
            ..receipt
        }
    }
}

/// Reads the key; `None` if there is no file.
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

/// Generates a key, durably and atomically: two servers that start together both use the key of the
/// first.
fn create(path: &Path) -> Result<[u8; SECRET_BYTES], SignerError> {
    let mut secret = [0; SECRET_BYTES];
    getrandom::fill(&mut secret).map_err(SignerError::Random)?;
    let temporary = path.with_extension(format!("new-{}", std::process::id()));
    let written = write_once(path, &temporary, &secret);
    written.map_err(|source| SignerError::Io {
        doing: "create",
        path: path.to_owned(),
        source,
    })?;
    read(path)?.ok_or_else(|| SignerError::Malformed {
        path: path.to_owned(),
    })
}

/// Writes `secret` to `path` through a temporary file, unless `path` exists.
fn write_once(path: &Path, temporary: &Path, secret: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(temporary)?;
    file.write_all(secret)?;
    file.sync_all()?;
    match fs::hard_link(temporary, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    fs::remove_file(temporary)?;
    fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use heirloom_protocol::Fingerprint;

    use super::*;

    #[test]
    fn the_key_is_generated_once_in_a_private_file() {
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
    fn two_servers_that_generate_a_key_both_use_the_first() {
        let root = tempfile::tempdir().unwrap();
        let path = DataDir::open(root.path()).unwrap().receipt_key();
        let first = create(&path).unwrap();
        assert_eq!(create(&path).unwrap(), first);
        assert_eq!(read(&path).unwrap(), Some(first));
    }

    #[test]
    fn a_file_of_another_length_is_refused() {
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
