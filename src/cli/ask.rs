//! Finding the daemon of a mount and asking it.

use std::future::Future;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::config::{Mounts, StateDir};
use crate::control::Asker;

/// The absolute path of a mountpoint as typed, with `.`, `..` and symbolic links resolved.
/// The mountpoint itself is not looked into: a dead mount cannot be.
pub(super) fn absolute(typed: &Path) -> anyhow::Result<PathBuf> {
    let absolute = std::path::absolute(typed).with_context(|| format!("cannot make sense of {}", typed.display()))?;
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => match parent.canonicalize() {
            Ok(parent) => Ok(parent.join(name)),
            Err(_) => Ok(absolute),
        },
        _ => Ok(absolute),
    }
}

/// The daemon of one mountpoint.
pub(super) fn daemon_of(mountpoint: &Path) -> anyhow::Result<Asker> {
    let Some(state) = Mounts::open()?.find(mountpoint)? else {
        bail!("nothing is mounted at {0}; `heirloom mount {0}` mounts it", mountpoint.display());
    };
    Ok(Asker::new(&StateDir::open(&state)?.control_socket()))
}

/// Runs one question to its end.
pub(super) fn block_on<F: Future>(question: F) -> anyhow::Result<F::Output> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    Ok(runtime.block_on(question))
}
