//! Connecting to the daemon of a mount, or to a server.

use std::future::Future;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use heirloom_protocol::LibraryPath;

use crate::config::{Login, Mounts, StateDir};
use crate::control::ControlClient;
use crate::daemon::{RunningServer, ServerChoice};

/// The absolute path of a mountpoint, with `.`, `..` and symbolic links resolved in its parent. The
/// mountpoint itself is not resolved, since that fails if its daemon has crashed.
pub(super) fn absolute(typed: &Path) -> anyhow::Result<PathBuf> {
    let absolute = std::path::absolute(typed)
        .with_context(|| format!("cannot make {} an absolute path", typed.display()))?;
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => match parent.canonicalize() {
            Ok(parent) => Ok(parent.join(name)),
            Err(_) => Ok(absolute),
        },
        _ => Ok(absolute),
    }
}

/// A client for the daemon of a mountpoint.
pub(super) fn daemon_of(mountpoint: &Path) -> anyhow::Result<ControlClient> {
    let Some(state) = Mounts::open()?.find(mountpoint)? else {
        bail!(
            "{0} is not mounted; `heirloom mount {0}` mounts it, `heirloom status` lists the \
             mounts",
            mountpoint.display()
        );
    };
    Ok(ControlClient::new(
        &StateDir::open(&state)?.control_socket(),
    ))
}

/// The mount that contains a path, and the path in its library; `None` for the mountpoint itself.
pub(super) fn inside_of(typed: &Path) -> anyhow::Result<(PathBuf, Option<LibraryPath>)> {
    let path = absolute(typed)?;
    let mounts = Mounts::open()?.all()?;
    let around = mounts
        .into_iter()
        .map(|mount| mount.mountpoint)
        .filter(|mountpoint| path.starts_with(mountpoint));
    let Some(mountpoint) = around.max_by_key(|mountpoint| mountpoint.as_os_str().len()) else {
        bail!(
            "{} is not in a mounted directory; `heirloom status` lists the mounts",
            typed.display()
        );
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

/// The mount that contains all of the paths, and the paths in its library; no paths if one of them
/// is the mountpoint itself, which stands for the whole library.
pub(super) fn all_inside_of(typed: &[PathBuf]) -> anyhow::Result<(PathBuf, Vec<LibraryPath>)> {
    let (mut around, mut below) = (None, Vec::new());
    for path in typed {
        let (mountpoint, inside) = inside_of(path)?;
        if *around.get_or_insert_with(|| mountpoint.clone()) != mountpoint {
            bail!(
                "{} is in another mount; name paths of one mount at a time",
                path.display()
            );
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

/// Like [`all_inside_of`]; without any path, the whole library of the only mount.
pub(super) fn library_paths(typed: &[PathBuf]) -> anyhow::Result<(PathBuf, Vec<LibraryPath>)> {
    if typed.is_empty() {
        Ok((only_mount()?, Vec::new()))
    } else {
        all_inside_of(typed)
    }
}

fn only_mount() -> anyhow::Result<PathBuf> {
    let mut all = Mounts::open()?.all()?;
    match (all.pop(), all.is_empty()) {
        (Some(mount), true) => Ok(mount.mountpoint),
        (None, _) => {
            bail!("nothing is mounted; mount a directory with `heirloom mount DIRECTORY`")
        }
        (Some(_), false) => bail!("there are several mounts; name one of them"),
    }
}

/// Runs one future to its end.
pub(super) fn block_on<F: Future>(future: F) -> anyhow::Result<F::Output> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    Ok(runtime.block_on(future))
}

/// Runs `job` with a login for the chosen server, which keeps running until the job ends.
pub(super) fn with_server<T>(
    choice: ServerChoice,
    job: impl AsyncFnOnce(&Login) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    block_on(async {
        let server = RunningServer::start(choice)
            .await
            .context("cannot start the embedded server")?;
        let done = job(server.login()).await;
        server.stop().await;
        done
    })?
}
