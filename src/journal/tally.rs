//! How much there is of each state, without asking the disk: `status` may be asked every second of
//! a million files.

use serde::{Deserialize, Serialize};

use super::entry::{FileRecord, FileState};

/// Counts and bytes of files by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Promised, not yet on the server.
    pub pending: Amount,
    /// On the server.
    pub backed_up: Amount,
    /// On the server, and here only in name.
    pub placeholder: Amount,
    /// Stays here by its kind.
    pub local: Amount,
    /// Needs the person.
    pub failed: Amount,
}

/// Some files, and their bytes together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// How many.
    pub files: u64,
    /// Their sizes, summed.
    pub bytes: u64,
}

impl Tally {
    pub(super) fn add(&mut self, record: &FileRecord) {
        let amount = self.amount_mut(&record.state);
        amount.files += 1;
        // A sparse file may claim any size: the sum must not overflow over a few of them.
        amount.bytes = amount.bytes.saturating_add(record.stamp.size);
    }

    pub(super) fn take(&mut self, record: &FileRecord) {
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

/// All that is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) tally: Tally,
    /// Changes of names in the outbox.
    pub(super) names: u64,
    pub(super) exactness: Exactness,
}

/// How far counts go that were kept and not made anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Exactness {
    #[default]
    Exact,
    /// A record that could not be read was replaced: what it counted for is not known. Counted anew
    /// at the next start.
    Doubtful,
}
