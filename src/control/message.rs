//! The words between the command line and the daemon. Both come from the same build, so they carry
//! no version of their own; `heirloom status --json` prints them, so scripts depend on their names.

use std::path::PathBuf;

use heirloom_protocol::{Fingerprint, LibraryPath, LinkKind};
use serde::{Deserialize, Serialize};

use crate::intake::BackupState;
use crate::journal::Amount;
use crate::library::FeedStatus;
use crate::mount::IoPath;
use crate::uploader::Connection;

/// The whole truth about one mount, at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountStatus {
    /// Where it is mounted.
    pub mountpoint: PathBuf,
    /// Where its spool, journal and log are.
    pub state_dir: PathBuf,
    /// The server, or `embedded` and its address.
    pub server: String,
    /// Whether the server can be reached.
    pub connection: Connection,
    /// Files and bytes by state.
    pub files: StateTotals,
    /// Whether the tree is still being compared with the journal after the start: until then files
    /// may be missing from `files`.
    pub comparing: bool,
    /// Photo bytes per second on the way to the server, measured over the last seconds.
    pub rate_bytes_per_second: u64,
    /// How many bytes go into one request now (M8).
    pub shard_bytes: u64,
    /// The kind of link that shard sizes started from.
    pub link: LinkKind,
    /// Shard bytes sent since the start, repeated ones included.
    pub sent_bytes: u64,
    /// Photo bytes that did not have to be sent since the start.
    pub saved: SavedBytes,
    /// Changes of names that the server has not confirmed yet.
    pub names_queued: u64,
    /// How far the names that other devices changed are shown here.
    pub library: FeedStatus,
    /// What is only on the server, and being fetched.
    pub recall: FetchReport,
    /// What is failing and why, newest first.
    pub failing: Vec<FailingFile>,
    /// How reads and writes of open files reach the disk.
    pub io_path: IoPath,
    /// The daemon's process id.
    pub pid: u32,
}

/// Files and bytes by state. Every file of the mount is in exactly one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateTotals {
    /// The server has vouched for them.
    pub backed_up: Amount,
    /// To be backed up: promised, or not looked at yet.
    pub pending: Amount,
    /// On their way right now.
    pub uploading: Amount,
    /// They stay here, by their kind.
    pub local: Amount,
    /// They need a person.
    pub failed: Amount,
    /// Their bytes are only on the server.
    pub placeholder: Amount,
}

/// Photo bytes that did not have to be sent, by what saved them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedBytes {
    /// Known to be backed up from the sync list (M3).
    pub sync_list_bytes: u64,
    /// The server said that we have it already (M4, M9).
    pub check_bytes: u64,
    /// Somebody else had it, and we proved that we have it too (M9).
    pub instant_upload_bytes: u64,
}

/// Photos on their way back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchReport {
    /// Photos being fetched now.
    pub fetching: u64,
    /// Photo bytes fetched since the start.
    pub fetched_bytes: u64,
    /// What is pinned and still to be fetched.
    pub pinned_left: Amount,
}

/// Body of `POST /free`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreeRequest {
    /// These files, and what is below these folders; all of the mount if there is none.
    pub paths: Vec<LibraryPath>,
    /// Only what was not used for so many seconds.
    pub unused_for_s: Option<u64>,
    /// Go on behind this.
    pub after: Option<u64>,
}

/// Answer of `POST /free`: what became of a part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreeResponse {
    /// The photos whose bytes are only on the server now, and what the disk got back.
    pub freed: Amount,
    /// Some of those that kept their room, and why.
    pub kept: Vec<FailingFile>,
    /// How many kept it.
    pub kept_files: u64,
    /// Where to go on; nothing at the end.
    pub next: Option<u64>,
}

/// Body of `POST /pin` and `POST /unpin`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinRequest {
    /// A file or folder.
    pub path: LibraryPath,
}

/// Body of `POST /retry`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryRequest {
    /// These files, and what is below these folders; all of the mount if there is none.
    pub paths: Vec<LibraryPath>,
}

/// Answer of `POST /retry`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryResponse {
    /// The failed files that are taken in once more.
    pub again: Amount,
    /// Those that cannot be, and why.
    pub refused: Vec<FailingFile>,
}

/// Body of `POST /verify`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifyRequest {
    /// These files, at most [`VERIFY_FILES_MAX`]; a part of all that the journal knows if there is
    /// none.
    pub paths: Vec<LibraryPath>,
    /// Go on behind this, of all.
    pub after: Option<u64>,
    /// What receipts are held against.
    pub key: KeyChoice,
}

/// Files in one question, and in one answer: each is read here and there, so an answer may take
/// minutes.
pub const VERIFY_FILES_MAX: usize = 20;

/// What receipts are held against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyChoice {
    /// The key that this mount met first.
    #[default]
    Met,
    /// The key that the server shows now, and so from now on.
    Shown,
}

/// How the key that the server shows now compares with the one that this mount met first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyComparison {
    /// It is the same.
    Same,
    /// It is another one, or it shows none any more.
    Changed,
    /// It never showed one.
    None,
}

/// Answer of `POST /verify`: how it is with a part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyResponse {
    /// How it is with the server's key.
    pub key: KeyComparison,
    /// Those that are backed up, one by one.
    pub files: Vec<VerifiedFile>,
    /// Those that are still to be, or cannot be.
    pub not_backed_up: u64,
    /// Where to go on with all; nothing at the end.
    pub next: Option<u64>,
}

/// One file that is said to be backed up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedFile {
    /// Which.
    pub path: LibraryPath,
    /// The receipt that we have of it.
    pub receipt: ReceiptCheck,
    /// What the server found when it read its copy, just now.
    pub server: ServerCopy,
    /// What we found when we read ours.
    pub here: LocalCopy,
}

/// A receipt, as it was kept here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReceiptCheck {
    /// The server signed it, with the key that this mount met first.
    Signed,
    /// It is only said; the server has signed it now.
    Unsigned,
    /// Its signature is not by that key.
    Foreign,
    /// There is none.
    Missing,
}

/// The server's copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerCopy {
    /// Its bytes are those of the fingerprint.
    Sound,
    /// It is not there, or damaged.
    Missing,
}

/// The copy on this disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LocalCopy {
    /// Its bytes are those of the fingerprint.
    Same,
    /// They are others, though nobody wrote to it as far as its times tell.
    Differs,
    /// It is being changed, or was just now.
    Changed,
    /// Its bytes are only on the server.
    Placeholder,
    /// It cannot be read.
    Unreadable,
}

impl VerifiedFile {
    /// Whether nobody has to look after it.
    pub const fn is_sound(&self) -> bool {
        matches!(self.receipt, ReceiptCheck::Signed | ReceiptCheck::Unsigned)
            && matches!(self.server, ServerCopy::Sound)
            && matches!(
                self.here,
                LocalCopy::Same | LocalCopy::Changed | LocalCopy::Placeholder
            )
    }
}

/// A file that is not getting anywhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailingFile {
    /// Which.
    pub path: LibraryPath,
    /// Why, for people.
    pub why: String,
}

/// Body of `POST /wait`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaitRequest {
    /// These files only; all of the mount if there is none.
    pub paths: Vec<LibraryPath>,
    /// Answer after so many milliseconds, done or not.
    pub within_ms: u64,
}

/// Answer of `POST /wait`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitResponse {
    /// Everything asked for is backed up, or never will be without a person (see `stuck`).
    pub done: bool,
    /// What is not backed up yet.
    pub left: Amount,
    /// Those that will not be backed up as they are.
    pub stuck: Vec<FileReport>,
    /// Whether the server can be reached.
    pub connection: Connection,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileReport {
    /// Which.
    pub path: LibraryPath,
    /// Its state.
    pub state: BackupState,
    /// Its content, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
    /// Why it is not backed up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Answer of `POST /unmount`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "unmount", rename_all = "snake_case")]
pub enum UnmountResponse {
    /// The kernel has let go; the daemon is stopping.
    Unmounted {
        /// The process whose end is the end of it all.
        pid: u32,
        /// What is not backed up yet and goes on at the next mount.
        left: Amount,
    },
    /// Something in the mount is still in use.
    Busy,
}

#[cfg(test)]
mod tests;
