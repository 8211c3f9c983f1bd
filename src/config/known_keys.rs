//! The known receipt key: the one that the server signed receipts with when this mount first used
//! it.
//!
//! A server that later takes this one's place, or that wants to deny what it confirmed, cannot sign
//! receipts with that key. So the key is trusted on first use and stored here, as ssh stores host
//! keys, and receipts are checked with it and not with whatever key the server shows later.

use std::path::Path;

use heirloom_protocol::signature::ReceiptKey;
use serde::{Deserialize, Serialize};

use super::error::ConfigError;
use super::private_file;
use super::state::StateDir;

/// The version of `receipt-key.json` that this program writes.
const VERSION: u32 = 1;

/// The content of `receipt-key.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredKey {
    version: u32,
    /// The server installation that the key belongs to; another installation has other receipts.
    installation: String,
    receipt_key: ReceiptKey,
}

impl StateDir {
    /// The trusted key of a server installation: the first one that it showed. If `shown` is its
    /// first, it is stored. `None` if the installation has never shown a key.
    pub fn trust_on_first_use(
        &self,
        installation: &str,
        shown: Option<ReceiptKey>,
    ) -> Result<Option<ReceiptKey>, ConfigError> {
        if let Some(known) = read(&self.receipt_key())?
            && known.installation == installation
        {
            return Ok(Some(known.receipt_key));
        }
        if let Some(key) = shown {
            self.replace_receipt_key(installation, key)?;
        }
        Ok(shown)
    }

    /// Trusts another key from now on, because the user asked for it.
    pub fn replace_receipt_key(
        &self,
        installation: &str,
        receipt_key: ReceiptKey,
    ) -> Result<(), ConfigError> {
        let stored = StoredKey {
            version: VERSION,
            installation: installation.to_owned(),
            receipt_key,
        };
        private_file::write_json(&self.receipt_key(), &stored)
    }
}

fn read(path: &Path) -> Result<Option<StoredKey>, ConfigError> {
    let stored: Option<StoredKey> = private_file::read_json(path)?;
    match stored {
        Some(stored) if stored.version != VERSION => Err(ConfigError::Version {
            path: path.to_owned(),
            version: stored.version,
        }),
        other => Ok(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> ReceiptKey {
        ReceiptKey::from([byte; 32])
    }

    #[test]
    fn the_first_key_stays_trusted_until_the_user_replaces_it() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(&folder.path().join("state")).unwrap();
        let meet = |installation, shown| state.trust_on_first_use(installation, shown).unwrap();
        assert_eq!(meet("one", None), None, "the server has no key yet");
        assert_eq!(meet("one", Some(key(1))), Some(key(1)));
        assert_eq!(meet("one", Some(key(2))), Some(key(1)));
        assert_eq!(meet("one", None), Some(key(1)));
        let state = StateDir::open(state.root()).unwrap();
        assert_eq!(
            state.trust_on_first_use("one", Some(key(2))).unwrap(),
            Some(key(1)),
            "also after a restart"
        );
        state.replace_receipt_key("one", key(2)).unwrap();
        assert_eq!(
            state.trust_on_first_use("one", Some(key(1))).unwrap(),
            Some(key(2))
        );
        assert_eq!(
            state.trust_on_first_use("other", Some(key(3))).unwrap(),
            Some(key(3)),
            "another server"
        );
    }

    #[test]
    fn version_1_is_read_and_other_versions_are_rejected() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(&folder.path().join("state")).unwrap();
        let stored = |version: u32| {
            let key = "07".repeat(32);
            format!(r#"{{"version": {version}, "installation": "one", "receipt_key": "{key}"}}"#)
        };
        std::fs::write(state.receipt_key(), stored(1)).unwrap();
        assert_eq!(state.trust_on_first_use("one", None).unwrap(), Some(key(7)));
        std::fs::write(state.receipt_key(), stored(2)).unwrap();
        assert!(matches!(
            state.trust_on_first_use("one", Some(key(1))),
            Err(ConfigError::Version { version: 2, .. })
        ));
    }
}
