//! Request and response bodies of the control socket.
//!
//! Client and daemon come from the same build, so messages carry no version. `heirloom status
//! --json` prints them, so scripts depend on their keys.

use std::path::PathBuf;

use heirloom_protocol::{Fingerprint, LibraryPath, LinkKind};
use serde::{Deserialize, Serialize};

use crate::intake::BackupState;
use crate::journal::Amount;
use crate::library::FeedStatus;
use crate::mount::IoPath;
use crate::uploader::Connection;

/// The state of one mount at one moment: the response of `GET /status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountStatus {
    /// The mounted directory.
    pub mountpoint: PathBuf,
    /// The directory with its spool, journal and log.
    pub state_dir: PathBuf,
    /// The server's address; after `embedded, ` if it runs in the daemon.
    pub server: String,
    /// Whether the server can be reached.
    pub connection: Connection,
    /// Files and bytes by state.
    pub files: StateTotals,
    /// Whether the directory tree is still being compared with the journal after the start. Until
    /// that is done, `files` may be too low.
    pub comparing: bool,
    /// Upload rate in photo bytes per second, measured over the last seconds.
    pub rate_bytes_per_second: u64,
    /// The current shard size: how many bytes one upload request carries.
    pub shard_bytes: u64,
    /// The kind of network link that the first shard size was chosen for.
    pub link: LinkKind,
    /// Shard bytes sent since the start, retransmissions included.
    pub sent_bytes: u64,
    /// Photo bytes that did not have to be sent since the start.
    pub saved: SavedBytes,
    /// Names (new, changed or removed) that the server has not confirmed yet.
    pub names_queued: u64,
    /// Progress in showing what other devices changed.
    pub library: FeedStatus,
    /// Downloads of photos whose bytes are only on the server.
    #[serde(rename = "recall")]
    pub fetch: FetchReport,
    /// Files with a problem and the reason: failed ones first, then those being retried.
    pub failing: Vec<FailingFile>,
    /// How reads and writes of open files reach the disk.
    pub io_path: IoPath,
    /// The daemon's process id.
    pub pid: u32,
}

/// Files and bytes by state. Every file of the mount is in exactly one state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateTotals {
    /// The server has confirmed that it has them.
    pub backed_up: Amount,
    /// Waiting to be uploaded or checked.
    pub pending: Amount,
    /// Being uploaded now.
    pub uploading: Amount,
    /// Not backed up because of their type; they stay on this disk.
    pub local: Amount,
    /// Could not be backed up and need a person's attention.
    pub failed: Amount,
    /// Backed up, with their bytes only on the server.
    pub placeholder: Amount,
}

impl StateTotals {
    /// Files that still have to be backed up.
    pub fn not_backed_up(&self) -> Amount {
        Amount {
            files: self.pending.files + self.uploading.files,
            bytes: self.pending.bytes + self.uploading.bytes,
        }
    }
}

/// Photo bytes that did not have to be sent, by the reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedBytes {
    /// The local sync list had them as backed up.
    pub sync_list_bytes: u64,
    /// The server answered the check with "you already have it".
    pub check_bytes: u64,
    /// Another user had them, and this device proved that it has them too (instant upload).
    pub instant_upload_bytes: u64,
}

/// Downloads of photos whose bytes are only on the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchReport {
    /// Photos being downloaded now.
    pub fetching: u64,
    /// Photo bytes downloaded since the start.
    pub fetched_bytes: u64,
    /// Pinned photos that are not downloaded yet.
    pub pinned_left: Amount,
}

/// Body of `POST /free`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreeRequest {
    /// Files, and folders with everything in them; the whole mount if empty.
    pub paths: Vec<LibraryPath>,
    /// Only files that were not used for this many seconds.
    pub unused_for_s: Option<u64>,
    /// Where to continue: `next` of the response before.
    pub after: Option<u64>,
}

/// Response of `POST /free`: the result for one page of files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreeResponse {
    /// Files whose local copy was removed, and the disk space that this freed.
    pub freed: Amount,
    /// Some of the files that were not freed, and why.
    pub kept: Vec<FailingFile>,
    /// The number of files that were not freed.
    pub kept_files: u64,
    /// Where the next request continues; `None` at the end.
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
    /// Files, and folders with everything in them; the whole mount if empty.
    pub paths: Vec<LibraryPath>,
}

/// Response of `POST /retry`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryResponse {
    /// The failed files that are queued again.
    pub again: Amount,
    /// The files that cannot be queued again, and why.
    pub refused: Vec<FailingFile>,
}

/// Body of `POST /verify`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifyRequest {
    /// Files, at most [`VERIFY_FILES_MAX`]; if empty, one page of all files in the journal.
    pub paths: Vec<LibraryPath>,
    /// Where to continue with all files: `next` of the response before.
    pub after: Option<u64>,
    /// The key that receipts are checked with.
    pub key: KeyChoice,
}

/// Files in one verify request and its response. Each is read by both sides, so a response may take
/// minutes.
pub const VERIFY_FILES_MAX: usize = 20;

/// The key that receipts are checked with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyChoice {
    /// The key that was trusted on first use.
    #[default]
    #[serde(rename = "met")]
    Trusted,
    /// The key that the server shows now, which is trusted from then on.
    Shown,
}

/// How the server's current key compares with the trusted one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyComparison {
    /// The server shows the trusted key.
    Same,
    /// The server shows another key, or none any more.
    Changed,
    /// The server has never shown a key.
    None,
}

/// Response of `POST /verify`: the result for one page of files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyResponse {
    /// How the server's key compares with the trusted one.
    pub key: KeyComparison,
    /// The files that are recorded as backed up, one by one.
    pub files: Vec<VerifiedFile>,
    /// The number of files that are not backed up.
    pub not_backed_up: u64,
    /// Where the next request continues; `None` at the end, and always for named files.
    pub next: Option<u64>,
}

/// The result for one file that is recorded as backed up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedFile {
    /// The file's path in the library.
    pub path: LibraryPath,
    /// The receipt stored on this device.
    pub receipt: ReceiptCheck,
    /// The server's copy, which the server has just read and hashed.
    pub server: ServerCopy,
    /// The local copy, which the daemon has just read and hashed.
    pub here: LocalCopy,
}

impl VerifiedFile {
    /// Whether receipt and both copies are in order.
    pub const fn is_sound(&self) -> bool {
        matches!(self.receipt, ReceiptCheck::Signed | ReceiptCheck::Unsigned)
            && matches!(self.server, ServerCopy::Sound)
            && matches!(
                self.here,
                LocalCopy::Same | LocalCopy::Changed | LocalCopy::Placeholder
            )
    }
}

/// The state of the stored receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReceiptCheck {
    /// Signed with the trusted key.
    Signed,
    /// It had no signature; the server has signed it now.
    Unsigned,
    /// Signed with another key.
    Foreign,
    /// No receipt is stored.
    Missing,
}

/// The state of the server's copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerCopy {
    /// Its hash is the fingerprint.
    Sound,
    /// It is missing or damaged.
    Missing,
}

/// The state of the local copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LocalCopy {
    /// Its hash is the fingerprint.
    Same,
    /// Its hash differs, though its size and times are unchanged since it was backed up.
    Differs,
    /// It was modified since it was backed up.
    Changed,
    /// It is a placeholder: its bytes are only on the server.
    Placeholder,
    /// It cannot be read.
    Unreadable,
}

/// A file with a problem, and the reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailingFile {
    /// The file's path in the library.
    pub path: LibraryPath,
    /// The reason, as text for a person.
    pub why: String,
}

/// Body of `POST /wait`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaitRequest {
    /// The files to wait for; the whole mount if empty.
    pub paths: Vec<LibraryPath>,
    /// Respond after this many milliseconds, done or not.
    pub within_ms: u64,
}

/// Response of `POST /wait`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitResponse {
    /// Whether every requested file is backed up, or will not be without a person (see `stuck`).
    pub done: bool,
    /// Files that are not backed up yet.
    pub left: Amount,
    /// Files that will not be backed up as they are.
    pub stuck: Vec<FileReport>,
    /// Whether the server can be reached.
    pub connection: Connection,
}

/// The state of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileReport {
    /// The file's path in the library.
    pub path: LibraryPath,
    /// Its state.
    pub state: BackupState,
    /// Its fingerprint, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
    /// Why it is not backed up, as text for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Response of `POST /unmount`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "unmount", rename_all = "snake_case")]
pub enum UnmountResponse {
    /// The kernel has released the mount; the daemon is stopping.
    Unmounted {
        /// The daemon's process id. Once that process has ended, everything can be used again.
        pid: u32,
        /// Files that are not backed up yet; their upload continues at the next mount.
        left: Amount,
    },
    /// A program still uses the mount.
    Busy,
}

#[cfg(test)]
mod tests;
