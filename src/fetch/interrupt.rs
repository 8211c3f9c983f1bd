//! *The asker*: the process that waits for our answer, in so far as we must know whether it still
//! does.
//!
//! The kernel tells a filesystem that a waiting process was interrupted, but only in a request that
//! the FUSE library in use answers by itself with "not supported". And once a request has reached
//! us, the kernel lets even a killed process wait for the answer. So while we make somebody wait,
//! we look now and then whether they are being killed, and then answer at once. (Reads through the
//! page cache need none of this: there the process waits for a page, and may be killed at any
//! time.)

use std::fs;

/// SIGKILL's place in the sets of pending signals of proc(5). A signal whose default action ends
/// the process is turned into this one by the kernel when it is sent (signal(7)), unless the
/// process handles it.
const SIGKILL_BIT: u64 = 1 << (9 - 1);

/// Who asked: a thread, by its number, or somebody whom we cannot see (of another process
/// namespace, or the kernel itself).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterruptProbe(Option<u32>);

impl InterruptProbe {
    /// Of a request's thread number; 0 says that we cannot see it.
    pub fn new(thread: u32) -> Self {
        Self((thread != 0).then_some(thread))
    }

    /// Somebody who is not to be looked at.
    pub const NONE: Self = Self(None);

    /// Whether it is being killed, or gone. Reads two lines that the kernel makes up on the spot:
    /// no disk is touched.
    pub(super) fn is_being_killed(self) -> bool {
        let Some(thread) = self.0 else { return false };
        match fs::read_to_string(format!("/proc/{thread}/status")) {
            Ok(status) => pends(&status),
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        }
    }
}

fn pends(status: &str) -> bool {
    let pending = status.lines().filter_map(|line| {
        line.strip_prefix("SigPnd:")
            .or(line.strip_prefix("ShdPnd:"))
    });
    pending
        .filter_map(|set| u64::from_str_radix(set.trim(), 16).ok())
        .any(|set| set & SIGKILL_BIT != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebody_who_is_being_killed_is_told_from_others() {
        let status = |own, shared| {
            format!("Name:\tcat\nSigQ:\t0/1\nSigPnd:\t{own}\nShdPnd:\t{shared}\nSigBlk:\t0\n")
        };
        assert!(!pends(&status("0000000000000000", "0000000000000000")));
        assert!(
            !pends(&status("0000000000000002", "0000000000004000")),
            "signals that are handled or blocked"
        );
        assert!(pends(&status("0000000000000100", "0000000000000000")));
        assert!(pends(&status("0000000000000000", "0000000000000100")));
    }

    #[test]
    fn we_live_and_the_unknown_are_taken_to_live() {
        assert!(!InterruptProbe::new(std::process::id()).is_being_killed());
        assert!(!InterruptProbe::new(0).is_being_killed());
        assert!(
            InterruptProbe::new(u32::MAX).is_being_killed(),
            "nobody has this number"
        );
    }
}
