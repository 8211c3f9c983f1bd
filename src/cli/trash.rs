//! `heirloom trash list`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use heirloom_protocol::LibraryPath;
use heirloom_protocol::message::TrashedPhoto;
use serde::Serialize;

use super::client::{inside_of, with_server};
use super::format;
use super::server_args::ServerArgs;
use crate::daemon::ServerChoice;
use crate::remote::{Remote, RemoteError};

#[derive(Debug, Subcommand)]
pub(super) enum TrashCommand {
    /// List what was removed or replaced, and until when it can be restored
    List(ListArgs),
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// A mounted directory, or a path in one; with --server, a path in the library
    path: Option<PathBuf>,
    #[command(flatten)]
    access: ServerArgs,
    /// As JSON, for programs; units are in the names
    #[arg(long)]
    json: bool,
}

/// All of a user's trash.
#[derive(Debug, Serialize)]
pub(super) struct TrashContents {
    /// For how many seconds the trash keeps a photo, counted from its removal.
    kept_for_s: u64,
    /// By ascending version.
    pub(super) photos: Vec<TrashedPhoto>,
}

impl TrashCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Self::List(list) = self;
        let TrashScope { server, below } = TrashScope::of(list.path.as_deref(), &list.access)?;
        let mut contents =
            with_server(server, async |login| Ok(read(&Remote::new(login)?).await?))?;
        contents
            .photos
            .retain(|photo| is_below(&photo.path, below.as_ref()));
        if list.json {
            println!("{}", serde_json::to_string_pretty(&contents)?);
        } else {
            print!("{}", table(&contents));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A part of a library, as typed.
pub(super) struct TrashScope {
    pub(super) server: ServerChoice,
    /// None for all of it.
    pub(super) below: Option<LibraryPath>,
}

impl TrashScope {
    /// In a mount, or in the library of the server that is named.
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

/// Everything in the trash, page by page.
pub(super) async fn read(remote: &Remote) -> Result<TrashContents, RemoteError> {
    let mut contents = TrashContents {
        kept_for_s: 0,
        photos: Vec::new(),
    };
    let mut after = 0;
    loop {
        let page = remote.trash(after).await?;
        contents.kept_for_s = page.kept_for_s;
        contents.photos.extend(page.entries);
        // A server that does not get on is not asked for ever.
        if !page.more || page.next <= after {
            return Ok(contents);
        }
        after = page.next;
    }
}

/// Whether a path is `above`, or lies in it.
pub(super) fn is_below(path: &LibraryPath, above: Option<&LibraryPath>) -> bool {
    above.is_none_or(|place| path.is_at_or_below(place))
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
            format::bytes(photo.photo.size),
            format::time(now.saturating_sub(removed)),
            format::time(left),
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
    fn a_folder_is_not_what_only_begins_like_it() {
        let path = |text| LibraryPath::new(text).unwrap();
        assert!(is_below(&path("trip/a.jpg"), Some(&path("trip"))));
        assert!(is_below(&path("trip"), Some(&path("trip"))));
        assert!(is_below(&path("a.jpg"), None));
        assert!(!is_below(&path("trip2/a.jpg"), Some(&path("trip"))));
        assert!(!is_below(&path("trip"), Some(&path("trip/a.jpg"))));
    }
}
