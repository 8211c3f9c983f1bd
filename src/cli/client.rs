//! Finding the daemon of a mount and asking it.

use std::future::Future;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use heirloom_protocol::LibraryPath;

use crate::config::{Login, Mounts, StateDir};
use crate::control::ControlClient;
use crate::daemon::{RunningServer, ServerChoice};

/// The absolute path of a mountpoint as typed, with `.`, `..` and symbolic links resolved.
/// The mountpoint itself is not looked into: a dead mount cannot be.
pub(super) fn absolute(typed: &Path) -> anyhow::Result<PathBuf> {
    let absolute = std::path::absolute(typed)
        .with_context(|| format!("cannot make sense of {}", typed.display()))?;
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => match parent.canonicalize() {
            Ok(parent) => Ok(parent.join(name)),
            Err(_) => Ok(absolute),
        },
        _ => Ok(absolute),
    }
}

/// The daemon of one mountpoint.
pub(super) fn daemon_of(mountpoint: &Path) -> anyhow::Result<ControlClient> {
    let Some(state) = Mounts::open()?.find(mountpoint)? else {
        bail!(
            "nothing is mounted at {0}; `heirloom mount {0}` mounts it",
            mountpoint.display()
        );
    };
    Ok(ControlClient::new(
        &StateDir::open(&state)?.control_socket(),
    ))
}

/// The mount that a path as typed lies in, and the path below it; none for the mountpoint itself.
pub(super) fn inside_of(typed: &Path) -> anyhow::Result<(PathBuf, Option<LibraryPath>)> {
    let path = absolute(typed)?;
    let mounts = Mounts::open()?.all()?;
    let around = mounts
        .into_iter()
        .map(|mount| mount.mountpoint)
        .filter(|mountpoint| path.starts_with(mountpoint));
    let Some(mountpoint) = around.max_by_key(|mountpoint| mountpoint.as_os_str().len()) else {
        bail!("{} is in no mounted directory", typed.display());
    };
    let below = path
        .strip_prefix(&mountpoint)
        .unwrap_or(Path::new(""))
        .to_str();
    let below = below.with_context(|| format!("{} is not UTF-8", typed.display()))?;
    if below.is_empty() {
        return Ok((mountpoint, None));
    }
    let below =
        LibraryPath::new(below).with_context(|| format!("cannot use {}", typed.display()))?;
    Ok((mountpoint, Some(below)))
}

/// The mount that all of some paths lie in, and the paths below it; none for all of it.
pub(super) fn all_inside_of(typed: &[PathBuf]) -> anyhow::Result<(PathBuf, Vec<LibraryPath>)> {
    let (mut around, mut below) = (None, Vec::new());
    for path in typed {
        let (mountpoint, inside) = inside_of(path)?;
        if *around.get_or_insert_with(|| mountpoint.clone()) != mountpoint {
            bail!("{} lies in another mount", path.display());
        }
        match inside {
            None => return Ok((mountpoint, Vec::new())),
            Some(inside) => below.push(inside),
        }
    }
    Ok((
        around.context("name a photo, a folder or a mounted directory")?,
        below,
    ))
}

/// Runs one question to its end.
pub(super) fn block_on<F: Future>(question: F) -> anyhow::Result<F::Output> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    Ok(runtime.block_on(question))
}

/// Runs one job at a server to its end.
pub(super) fn with_server<T>(
    choice: ServerChoice,
    job: impl AsyncFnOnce(&Login) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    block_on(async {
        let reached = RunningServer::start(choice)
            .await
            .context("cannot start the embedded server")?;
        let done = job(reached.login()).await;
        reached.stop().await;
        done
    })?
}
