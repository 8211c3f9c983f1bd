//! Counts and sizes of files by state, kept in memory: `status` may be called every second with a
//! million files.

use serde::{Deserialize, Serialize};

use super::entry::{FileRecord, FileState};

/// Counts and bytes of files by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// To be uploaded.
    pub pending: Amount,
    /// On the server.
    pub backed_up: Amount,
    /// On the server, and here as a placeholder.
    pub placeholder: Amount,
    /// Not to be backed up.
    pub local: Amount,
    /// Failed; the owner has to act.
    pub failed: Amount,
}

/// A number of files and their total size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// Number of files.
    pub files: u64,
    /// Total size in bytes.
    pub bytes: u64,
}

impl Tally {
    pub(super) fn add(&mut self, record: &FileRecord) {
        let amount = self.amount_mut(&record.state);
        amount.files += 1;
        // A sparse file may claim any size: the sum must not overflow over a few of them.
        amount.bytes = amount.bytes.saturating_add(record.stamp.size);
    }

    pub(super) fn subtract(&mut self, record: &FileRecord) {
        let amount = self.amount_mut(&record.state);
        amount.files = amount.files.saturating_sub(1);
        amount.bytes = amount.bytes.saturating_sub(record.stamp.size);
    }

    fn amount_mut(&mut self, state: &FileState) -> &mut Amount {
        match state {
            FileState::Pending { .. } => &mut self.pending,
            FileState::BackedUp { .. } => &mut self.backed_up,
            FileState::Placeholder { .. } => &mut self.placeholder,
            FileState::Local { .. } => &mut self.local,
            FileState::Failed { .. } => &mut self.failed,
        }
    }
}

/// Everything that is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) tally: Tally,
    /// Number of changes in the outbox.
    pub(super) names: u64,
    pub(super) exactness: Exactness,
}

/// Whether stored counts are right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Exactness {
    #[default]
    Exact,
    /// A record that could not be read was replaced, and its state is unknown. Everything is
    /// counted again at the next start.
    Uncertain,
}
