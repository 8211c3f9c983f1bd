//! `heirloom trash list`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use heirloom_protocol::LibraryPath;
use heirloom_protocol::message::TrashedPhoto;
use heirloom_support::units::{display_bytes, display_duration};
use serde::Serialize;

use super::client::{inside_of, with_server};
use super::server_args::ServerArgs;
use crate::daemon::ServerChoice;
use crate::remote::{Remote, RemoteError};

/// List removed and replaced photos, which can be restored
#[derive(Debug, Subcommand)]
pub(super) enum TrashCommand {
    /// List removed and replaced photos, and how long they are kept
    List(ListArgs),
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// A mounted directory, or a path in one; with --server, a path in the library [default:
    /// everything]
    path: Option<PathBuf>,
    #[command(flatten)]
    access: ServerArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The trash of one user.
#[derive(Debug, Serialize)]
pub(super) struct TrashContents {
    /// How many seconds the server keeps a photo after its removal.
    kept_for_s: u64,
    /// Sorted by ascending version.
    pub(super) photos: Vec<TrashedPhoto>,
}

impl TrashCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Self::List(list) = self;
        let TrashScope { server, below } = TrashScope::of(list.path.as_deref(), &list.access)?;
        let mut contents = with_server(server, async |login| {
            Ok(read_trash(&Remote::new(login)?).await?)
        })?;
        contents
            .photos
            .retain(|photo| is_in_scope(&photo.path, below.as_ref()));
        if list.json {
            println!("{}", serde_json::to_string_pretty(&contents)?);
        } else {
            print!("{}", table(&contents));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The part of a library that a command applies to.
pub(super) struct TrashScope {
    pub(super) server: ServerChoice,
    /// A photo or folder; `None` for the whole library.
    pub(super) below: Option<LibraryPath>,
}

impl TrashScope {
    /// From a path in a mount, or a library path if a server is named.
    pub(super) fn of(typed: Option<&Path>, access: &ServerArgs) -> anyhow::Result<Self> {
        let Some(typed) = typed else {
            return Ok(Self {
                server: access.server(None)?,
                below: None,
            });
        };
        if access.is_named() {
            let text = typed
                .to_str()
                .ok_or_else(|| anyhow::anyhow!("{} is not UTF-8", typed.display()))?;
            return Ok(Self {
                server: access.server(None)?,
                below: Some(LibraryPath::new(text)?),
            });
        }
        let (mountpoint, below) = inside_of(typed)?;
        Ok(Self {
            server: access.server(Some(&mountpoint))?,
            below,
        })
    }
}

/// Reads the whole trash, page by page.
pub(super) async fn read_trash(remote: &Remote) -> Result<TrashContents, RemoteError> {
    let mut contents = TrashContents {
        kept_for_s: 0,
        photos: Vec::new(),
    };
    let mut after = 0;
    loop {
        let page = remote.trash(after).await?;
        contents.kept_for_s = page.kept_for_s;
        contents.photos.extend(page.entries);
        // A faulty server that makes no progress must not keep us here forever.
        if !page.more || page.next <= after {
            return Ok(contents);
        }
        after = page.next;
    }
}

/// Whether a path is `scope` or inside it; `None` stands for the whole library.
pub(super) fn is_in_scope(path: &LibraryPath, scope: Option<&LibraryPath>) -> bool {
    scope.is_none_or(|scope| path.is_at_or_below(scope))
}

fn table(contents: &TrashContents) -> String {
    if contents.photos.is_empty() {
        return "nothing in the trash\n".to_owned();
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let line = |photo: &TrashedPhoto| {
        let removed = Duration::from_millis(u64::try_from(photo.removed_at_ms).unwrap_or_default());
        let left = (removed + Duration::from_secs(contents.kept_for_s)).saturating_sub(now);
        format!(
            "{:>10}  {:>10}  removed {} ago, kept for {}  {}\n",
            photo.version,
            display_bytes(photo.photo.size),
            display_duration(now.saturating_sub(removed)),
            display_duration(left),
            photo.path
        )
    };
    let lines: String = contents.photos.iter().map(line).collect();
    format!("{:>10}  {:>10}\n{lines}", "version", "size")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_does_not_include_names_that_only_start_like_it() {
        let path = |text| LibraryPath::new(text).unwrap();
        assert!(is_in_scope(&path("trip/a.jpg"), Some(&path("trip"))));
        assert!(is_in_scope(&path("trip"), Some(&path("trip"))));
        assert!(is_in_scope(&path("a.jpg"), None));
        assert!(!is_in_scope(&path("trip2/a.jpg"), Some(&path("trip"))));
        assert!(!is_in_scope(&path("trip"), Some(&path("trip/a.jpg"))));
    }
}
