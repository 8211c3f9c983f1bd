//! The daemon's side: looks at the rooms below and says what it sees.

use std::collections::HashSet;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::future::select_all;
use heirloom_protocol::LibraryPath;
use tokio::net::UnixListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::message::{
    FailingFile, FetchReport, FileReport, MountStatus, SavedBytes, StateTotals, UnmountResponse,
    WaitRequest, WaitResponse,
};
use super::retry::retry;
use super::space::{self, Refused, refused};
use super::verify;
use crate::background::run_blocking;
use crate::config::StateDir;
use crate::fetch::Fetcher;
use crate::intake::{BackupState, Intake};
use crate::journal::{Amount, FileId, FileRecord, FileState, Journal};
use crate::library::Library;
use crate::mount::{Mount, MountError};
use crate::remote::Remote;
use crate::spool::Spool;
use crate::uploader::Uploader;

/// The longest that one `POST /wait` is kept waiting; who wants longer asks again.
const WAIT_MS_MAX: u64 = 60_000;

/// How long answers under way may take after the mount is gone.
const LAST_ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// Files that need a person, of those that one answer lists; their number is in the counts.
const FAILED_MAX: usize = 100;

/// What the answers are made from.
#[derive(Debug)]
pub struct ControlState {
    /// Where it is mounted.
    pub mountpoint: PathBuf,
    /// The state directory.
    pub state: StateDir,
    /// The server, for people.
    pub server: String,
    /// The rooms asked.
    pub spool: Spool,
    /// The rooms asked.
    pub journal: Arc<Journal>,
    /// The rooms asked.
    pub intake: Intake,
    /// The rooms asked.
    pub uploader: Uploader,
    /// The rooms asked.
    pub library: Library,
    /// The rooms asked.
    pub fetcher: Fetcher,
    /// The rooms asked.
    pub remote: Remote,
    /// The rooms asked.
    pub mount: Arc<Mount>,
}

/// The socket, being answered.
#[derive(Debug)]
pub struct ControlServer {
    socket: PathBuf,
    ending: Arc<Notify>,
    task: JoinHandle<()>,
}

impl ControlServer {
    /// Listens on `socket`, taking the place of one that a crashed daemon left. Must be called
    /// inside a tokio runtime, with the state directory's lock held.
    pub fn start(socket: &Path, context: ControlState) -> io::Result<Self> {
        match fs::remove_file(socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = StdUnixListener::bind(socket)?;
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        let routes = Router::new()
            .route("/status", get(status))
            .route("/wait", post(wait))
            .route("/unmount", post(unmount))
            .route("/free", post(space::free))
            .route("/verify", post(verify::verify))
            .route("/pin", post(space::pin))
            .route("/unpin", post(space::unpin))
            .route("/retry", post(retry))
            .with_state(Arc::new(context));
        let ending = Arc::new(Notify::new());
        let ended = Arc::clone(&ending);
        let task = tokio::spawn(async move {
            let serving = axum::serve(listener, routes)
                .with_graceful_shutdown(async move { ended.notified().await });
            if let Err(error) = serving.await {
                tracing::error!(%error, "the control socket is no longer answered");
            }
        });
        Ok(Self {
            socket: socket.to_owned(),
            ending,
            task,
        })
    }

    /// Ends the answers under way, stops, and takes the socket away.
    pub async fn stop(self) {
        self.ending.notify_one();
        // Whoever asked for the unmount is still to hear of it; one that does not listen is not
        // waited for.
        if tokio::time::timeout(LAST_ANSWERS_WITHIN, self.task)
            .await
            .is_err()
        {
            tracing::debug!("somebody does not take the last answer");
        }
        if let Err(error) = fs::remove_file(&self.socket) {
            tracing::debug!(%error, "the control socket was gone already");
        }
    }
}

async fn status(State(context): State<Arc<ControlState>>) -> Json<MountStatus> {
    Json(run_blocking(move || context.status()).await)
}

async fn wait(
    State(context): State<Arc<ControlState>>,
    Json(request): Json<WaitRequest>,
) -> Json<WaitResponse> {
    let until = Instant::now() + Duration::from_millis(request.within_ms.min(WAIT_MS_MAX));
    let mut news = [
        context.intake.subscribe(),
        context.uploader.watch(),
        context.library.watch(),
    ];
    loop {
        // Mark first, look second: a change between the two wakes us again.
        news.iter_mut().for_each(watch::Receiver::mark_unchanged);
        let (looking, paths) = (Arc::clone(&context), request.paths.clone());
        let answer = run_blocking(move || looking.look(paths)).await;
        let any = select_all(news.iter_mut().map(|room| Box::pin(changed(room))));
        if answer.done || timeout_at(until, any).await.is_err() {
            return Json(answer);
        }
    }
}

/// Waits for news; for ever where no more can come.
async fn changed(news: &mut watch::Receiver<u64>) {
    if news.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn unmount(
    State(context): State<Arc<ControlState>>,
) -> Result<Json<UnmountResponse>, Refused> {
    let unmounted = run_blocking(move || {
        let left = context.status().files.not_backed_up();
        context.mount.unmount().map(|()| left)
    });
    match unmounted.await {
        Ok(left) => Ok(Json(UnmountResponse::Unmounted {
            pid: std::process::id(),
            left,
        })),
        Err(MountError::Busy { .. }) => Ok(Json(UnmountResponse::Busy)),
        Err(error) => Err(refused(&error)),
    }
}

impl ControlState {
    fn status(&self) -> MountStatus {
        let (uploader, fetch) = (self.uploader.status(), self.fetcher.status());
        let troubled = fetch
            .errors
            .iter()
            .filter_map(|(id, why)| Some((self.path_of(*id)?, why.clone())));
        let tried_again = uploader.failing.into_iter().chain(troubled).collect();
        MountStatus {
            mountpoint: self.mountpoint.clone(),
            state_dir: self.state.root().to_owned(),
            server: self.server.clone(),
            connection: uploader.connection.clone(),
            files: self.amounts(),
            comparing: !self.intake.is_reconciled(),
            rate_bytes_per_second: uploader.bytes_per_second,
            shard_bytes: uploader.shard_bytes,
            link: uploader.link,
            sent_bytes: uploader.sent_bytes,
            saved: SavedBytes {
                sync_list_bytes: uploader.saved_by_sync_list_bytes,
                check_bytes: uploader.saved_by_check_bytes,
                instant_upload_bytes: uploader.saved_by_instant_upload_bytes,
            },
            library: self.library.feed_status(),
            recall: FetchReport {
                fetching: fetch.fetching as u64,
                fetched_bytes: fetch.fetched_bytes,
                pinned_left: fetch.pinned_missing,
            },
            names_queued: self.journal.names_queued(),
            failing: self.failing(tried_again),
            io_path: self.mount.io_path(),
            pid: std::process::id(),
        }
    }

    /// What needs a person, then what is only being tried again.
    fn failing(&self, tried_again: Vec<(LibraryPath, String)>) -> Vec<FailingFile> {
        let mut failing = self.failed();
        let known: HashSet<_> = failing.iter().map(|file| file.path.clone()).collect();
        let others = tried_again
            .into_iter()
            .filter(|(path, _)| !known.contains(path));
        failing.extend(others.map(|(path, why)| FailingFile { path, why }));
        failing
    }

    fn path_of(&self, id: FileId) -> Option<LibraryPath> {
        let record = self.journal.file(id).unwrap_or_else(|error| {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the name of a file could not be read"
            );
            None
        });
        record.map(|record| record.path)
    }

    fn amounts(&self) -> StateTotals {
        let tally = self.intake.tally();
        let uploading = self.uploader.status().uploading.iter().fold(
            Amount::default(),
            |sum, (_, progress)| Amount {
                files: sum.files + 1,
                bytes: sum.bytes + progress.total_bytes,
            },
        );
        StateTotals {
            backed_up: tally.backed_up,
            // What is on its way is still pending in the journal; here each file has one state.
            pending: Amount {
                files: tally.pending.files.saturating_sub(uploading.files),
                bytes: tally.pending.bytes.saturating_sub(uploading.bytes),
            },
            uploading,
            local: tally.local,
            failed: tally.failed,
            placeholder: tally.placeholder,
        }
    }

    fn look(&self, paths: Vec<LibraryPath>) -> WaitResponse {
        let connection = self.uploader.status().connection;
        if paths.is_empty() {
            // In the order of a photo's way: what passes from one to the next while we look is met
            // further on.
            let taken_in = self.intake.is_reconciled() && !self.intake.is_busy();
            let left = self.amounts().not_backed_up();
            let named = self.journal.names_queued() == 0;
            return WaitResponse {
                done: taken_in && left.files == 0 && named,
                left,
                stuck: self.failed().into_iter().map(FileReport::from).collect(),
                connection,
            };
        }
        let reports: Vec<_> = paths.into_iter().map(|path| self.report(path)).collect();
        let (stuck, open): (Vec<_>, Vec<_>) = reports
            .into_iter()
            .filter(|(report, _)| {
                !matches!(
                    report.state,
                    BackupState::BackedUp | BackupState::Placeholder
                )
            })
            .partition(|(report, _)| {
                matches!(report.state, BackupState::Failed | BackupState::Local)
            });
        let left = Amount {
            files: open.len() as u64,
            bytes: open.iter().map(|(_, bytes)| bytes).sum(),
        };
        let stuck = stuck.into_iter().map(|(report, _)| report).collect();
        WaitResponse {
            done: left.files == 0,
            left,
            stuck,
            connection,
        }
    }

    /// One file's state, and its length in bytes.
    fn report(&self, path: LibraryPath) -> (FileReport, u64) {
        let found = self.spool.open_read(&path).and_then(|file| {
            let place = self.spool.local_path(&path);
            Spool::identify(&file).map_err(|source| crate::spool::SpoolError {
                doing: "look at",
                path: place,
                source,
            })
        });
        match found {
            Ok((id, stamp)) => {
                let status = self.intake.status(id, &path);
                (
                    FileReport {
                        path,
                        state: status.state,
                        fingerprint: status.fingerprint,
                        why: status.why,
                    },
                    stamp.size,
                )
            }
            Err(error) => {
                let why = Some(format!("{error}: {}", error.source));
                (
                    FileReport {
                        path,
                        state: BackupState::Failed,
                        fingerprint: None,
                        why,
                    },
                    0,
                )
            }
        }
    }

    /// The first of the files that need a person.
    fn failed(&self) -> Vec<FailingFile> {
        let records = self.journal.failed(FAILED_MAX).unwrap_or_else(|error| {
            tracing::error!(%error, "cannot list what failed");
            Vec::new()
        });
        let why = |(_, record): (FileId, FileRecord)| match record.state {
            FileState::Failed { why, .. } => Some(FailingFile {
                path: record.path,
                why,
            }),
            FileState::Pending { .. }
            | FileState::BackedUp { .. }
            | FileState::Placeholder { .. }
            | FileState::Local { .. } => None,
        };
        records.into_iter().filter_map(why).collect()
    }
}

impl StateTotals {
    /// What still has to be backed up.
    pub fn not_backed_up(&self) -> Amount {
        Amount {
            files: self.pending.files + self.uploading.files,
            bytes: self.pending.bytes + self.uploading.bytes,
        }
    }
}

impl From<FailingFile> for FileReport {
    fn from(file: FailingFile) -> Self {
        Self {
            path: file.path,
            state: BackupState::Failed,
            fingerprint: None,
            why: Some(file.why),
        }
    }
}
