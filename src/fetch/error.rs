//! Why bytes did not come.

use std::io;
use std::sync::Arc;

/// Why a reader does not get its bytes. Cheap to clone: one fault may end many waits.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FetchError {
    /// Nothing came within the limit.
    #[error("nothing came from the server for {limit_s} seconds{}", because(.why.as_deref()))]
    Timeout {
        /// The limit.
        limit_s: u64,
        /// What the last request met, if it met something.
        why: Option<String>,
    },
    /// The server will not give them, now or later.
    #[error("the server does not give this photo: {0}")]
    Refused(String),
    /// All of it came, and it is not the photo.
    #[error("what came from the server is not this photo: its SHA-256 is another one")]
    Corrupt,
    /// The local disk does not take or give them.
    #[error("{doing} a placeholder")]
    Disk {
        /// What was attempted.
        doing: &'static str,
        /// What the disk said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The file was emptied or removed meanwhile: these bytes are not its content any more.
    #[error("the file was written anew meanwhile")]
    Discarded,
    /// Whoever asked is being killed, and takes no answer.
    #[error("whoever asked is being killed")]
    Killed,
    /// The mount ends.
    #[error("the mount ends")]
    Unmounting,
}

impl FetchError {
    /// Whether the same read may succeed later, without anybody repairing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::Disk { .. } | Self::Killed | Self::Unmounting => true,
            Self::Refused(_) | Self::Corrupt | Self::Discarded => false,
        }
    }

    /// Whether the owner should be told: the photo is in doubt, and not only this one read.
    pub(super) fn is_trouble(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::Refused(_) | Self::Corrupt | Self::Disk { .. } => true,
            Self::Discarded | Self::Killed | Self::Unmounting => false,
        }
    }

    /// The message with its source: one line for the person.
    pub(super) fn chain(&self) -> String {
        match self {
            Self::Disk { source, .. } => format!("{self}: {source}"),
            Self::Timeout { .. }
            | Self::Refused(_)
            | Self::Corrupt
            | Self::Discarded
            | Self::Killed
            | Self::Unmounting => self.to_string(),
        }
    }
}

fn because(why: Option<&str>) -> String {
    why.map(|why| format!(": {why}")).unwrap_or_default()
}
