//! Whether the program that waits for a reply is being killed.
//!
//! The kernel reports an interrupted process in a request of its own (`FUSE_INTERRUPT`), which the
//! FUSE library in use answers by itself with "not supported". And once a request has reached us,
//! the kernel makes even a killed process wait for the reply. So while a request waits here, we
//! check now and then whether its process is being killed, and then reply at once. (Reads through
//! the page cache do not need this: there the process waits for a page and can be killed at any
//! time.)

use std::fs;

/// SIGKILL's bit in the sets of pending signals of proc(5). The kernel turns a signal whose default
/// action ends the process into SIGKILL when it is sent (signal(7)), unless the process handles it.
const SIGKILL_BIT: u64 = 1 << (9 - 1);

/// Checks whether the thread behind a request is being killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterruptProbe {
    thread: Option<u32>,
}

impl InterruptProbe {
    /// A probe that never reports a kill: there is no thread, or it must not be interrupted.
    pub const NONE: Self = Self { thread: None };

    /// A probe for a request's thread id. 0 is a thread that we cannot see: it is in another
    /// process namespace, or the kernel itself.
    pub fn new(thread: u32) -> Self {
        Self {
            thread: (thread != 0).then_some(thread),
        }
    }

    /// Whether the thread is being killed or gone. Reads `/proc`, so no disk is touched.
    pub(super) fn is_killed(self) -> bool {
        let Some(thread) = self.thread else {
            return false;
        };
        match fs::read_to_string(format!("/proc/{thread}/status")) {
            Ok(status) => has_pending_kill(&status),
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        }
    }
}

fn has_pending_kill(status: &str) -> bool {
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
    fn only_a_pending_sigkill_counts_as_being_killed() {
        let status = |own, shared| {
            format!("Name:\tcat\nSigQ:\t0/1\nSigPnd:\t{own}\nShdPnd:\t{shared}\nSigBlk:\t0\n")
        };
        assert!(!has_pending_kill(&status(
            "0000000000000000",
            "0000000000000000"
        )));
        assert!(
            !has_pending_kill(&status("0000000000000002", "0000000000004000")),
            "signals that are handled or blocked"
        );
        assert!(has_pending_kill(&status(
            "0000000000000100",
            "0000000000000000"
        )));
        assert!(has_pending_kill(&status(
            "0000000000000000",
            "0000000000000100"
        )));
    }

    #[test]
    fn a_running_or_unknown_thread_is_not_killed_and_a_missing_one_is() {
        assert!(!InterruptProbe::new(std::process::id()).is_killed());
        assert!(!InterruptProbe::new(0).is_killed());
        assert!(
            InterruptProbe::new(u32::MAX).is_killed(),
            "no thread has this id"
        );
    }
}
