//! *The key that was known*: what a server's receipts were signed with when this mount first spoke to
//! it.
//!
//! Whoever later answers in the server's place, or changes what it once promised, cannot sign
//! receipts with that key. So it is kept here at first sight, as ssh keeps the keys of hosts, and a
//! receipt is held against it and not against whatever key is shown today.

use std::path::Path;

use heirloom_protocol::signature::ReceiptKey;
use serde::{Deserialize, Serialize};

use super::private_file;
use super::{ConfigError, StateDir};

/// The version of `receipt-key.json` that this program writes.
const VERSION: u32 = 1;

/// `receipt-key.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredKey {
    version: u32,
    /// Whose key it is: another installation has another one, and our receipts are not its.
    installation: String,
    receipt_key: ReceiptKey,
}

impl StateDir {
    /// The key that receipts of this installation are held against: the first that it ever showed.
    /// If it shows its first one now, that is kept. Nothing if it never showed one.
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

    /// Receipts are held against this key from now on, because a person said so.
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
    fn the_first_key_of_an_installation_stays_until_a_person_says_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(&folder.path().join("state")).unwrap();
        let meet = |installation, shown| state.trust_on_first_use(installation, shown).unwrap();
        assert_eq!(meet("one", None), None, "it signs nothing yet");
        assert_eq!(meet("one", Some(key(1))), Some(key(1)));
        assert_eq!(meet("one", Some(key(2))), Some(key(1)));
        assert_eq!(meet("one", None), Some(key(1)));
        let state = StateDir::open(state.root()).unwrap();
        assert_eq!(
            state.trust_on_first_use("one", Some(key(2))).unwrap(),
            Some(key(1)),
            "also after a start"
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
    fn version_1_is_read_for_ever_and_no_other_is_guessed_at() {
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
