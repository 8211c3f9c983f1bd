//! *Pinned*: what its owner wants to have on this disk is fetched without anybody reading it.
//!
//! Looked for at the start and when something is pinned; what comes from other devices into a
//! pinned folder is told by the mount. Where nothing was ever pinned no file is looked at. While
//! the server is away it is tried again, ever less often.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream::{StreamExt as _, iter};
use heirloom_protocol::LibraryPath;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::error::FetchError;
use super::fetch_wait::Wanted;
use super::{Fetcher, Inside, InterruptProbe, locked};
use crate::background::run_blocking;
use crate::journal::{Amount, FileId, FileState, JournalError};
use crate::remote::Backoff;
use crate::spool::SpoolError;

/// Photos fetched at a time: readers, who share the lanes with them, come in between.
const AT_A_TIME: usize = 2;
/// Records read at a time.
const PAGE: usize = 512;
/// What another device sends comes in bursts; and the journal is to know of it first.
const GATHERING: Duration = Duration::from_secs(1);
/// Photos from other devices that are remembered one by one; of more, all are looked through.
const NEWS_MAX: usize = 4096;

/// A photo to fetch.
type Pin = (FileId, LibraryPath);

/// What is to be fetched for its pin.
#[derive(Debug, Default)]
pub(super) struct Pinned {
    news: Mutex<News>,
    bell: Notify,
    left: Mutex<Amount>,
}

/// Where pinned photos may be that nobody looked for yet.
#[derive(Debug, Default)]
struct News {
    these: Vec<Pin>,
    others: Others,
}

/// Whether there may be more than those that are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Others {
    #[default]
    None,
    Anywhere,
}

/// How an attempt to fetch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    Done,
    /// It may go better later.
    Later,
}

impl Fetcher {
    /// Fetches what is pinned and not here, from now on.
    pub fn start_fetching_pinned(&self) {
        self.inside.pinned.look_anywhere();
        let (inside, stop) = (Arc::clone(&self.inside), self.inside.stop.clone());
        self.inside.runtime.spawn(async move {
            // Dropped half-way, what has come of a photo stays.
            stop.run_until_cancelled_owned(inside.fetch_pinned()).await;
        });
    }

    /// Pins a photo, or all that is and will be in a folder; what of it is not here is fetched.
    /// Blocks.
    pub fn pin(&self, path: &LibraryPath) -> Result<(), SpoolError> {
        self.inside.spool.set_pin(path)?;
        self.inside.pinned.look_anywhere();
        Ok(())
    }

    /// A placeholder came from another device. Blocks.
    pub fn placeholder_added(&self, id: FileId, path: &LibraryPath) {
        match self
            .inside
            .spool
            .has_pins()
            .and_then(|any| Ok(any && self.inside.spool.is_pinned(path)?))
        {
            Ok(true) => self.inside.pinned.look_at(id, path),
            Ok(false) => {}
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "whether it is pinned is unknown"
            ),
        }
    }
}

impl Pinned {
    /// What is still to be fetched, as far as it was looked for.
    pub(super) fn left(&self) -> Amount {
        *locked(&self.left)
    }

    fn look_anywhere(&self) {
        locked(&self.news).others = Others::Anywhere;
        self.bell.notify_one();
    }

    fn look_at(&self, id: FileId, path: &LibraryPath) {
        let mut news = locked(&self.news);
        if news.these.len() < NEWS_MAX {
            news.these.push((id, path.clone()));
        } else {
            news.others = Others::Anywhere;
        }
        drop(news);
        self.bell.notify_one();
    }

    fn take(&self) -> News {
        std::mem::take(&mut locked(&self.news))
    }

    fn fetched(&self, bytes: u64) {
        let mut left = locked(&self.left);
        left.files = left.files.saturating_sub(1);
        left.bytes = left.bytes.saturating_sub(bytes);
    }
}

impl Attempt {
    fn and(self, other: Self) -> Self {
        if self == Self::Later { self } else { other }
    }
}

impl Inside {
    async fn fetch_pinned(self: Arc<Self>) {
        let mut backoff = Backoff::default();
        loop {
            self.pinned.bell.notified().await;
            sleep(GATHERING).await;
            let News { these, others } = self.pinned.take();
            let told = self.fetch_all(these).await;
            let attempt = match others {
                Others::Anywhere => self.fetch_anywhere().await.map(|found| found.and(told)),
                Others::None => Ok(told),
            };
            match attempt {
                Ok(Attempt::Done) => backoff.succeeded(),
                other => {
                    if let Err(error) = other {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "what is pinned cannot be looked for"
                        );
                    }
                    sleep(backoff.failed(None)).await;
                    self.pinned.look_anywhere();
                }
            }
        }
    }

    /// Counts first, so that `status` can say how much is left.
    async fn fetch_anywhere(self: &Arc<Self>) -> Result<Attempt, JournalError> {
        let (mut left, mut after) = (Amount::default(), None);
        while let Some((last, pins)) = self.pinned_page(after).await? {
            after = Some(last);
            left.files += pins.len() as u64;
            left.bytes += pins.iter().map(|(_, size)| size).sum::<u64>();
            *locked(&self.pinned.left) = left;
        }
        *locked(&self.pinned.left) = left;
        let (mut attempt, mut after) = (Attempt::Done, None);
        while left.files > 0
            && let Some((last, pins)) = self.pinned_page(after).await?
        {
            after = Some(last);
            attempt = self
                .fetch_all(pins.into_iter().map(|(pin, _)| pin).collect())
                .await
                .and(attempt);
        }
        Ok(attempt)
    }

    /// The pinned placeholders of one page of the journal with their sizes, and where the next page
    /// begins; nothing at the end.
    async fn pinned_page(
        self: &Arc<Self>,
        after: Option<FileId>,
    ) -> Result<Option<(FileId, Vec<(Pin, u64)>)>, JournalError> {
        let inside = Arc::clone(self);
        run_blocking(move || {
            if !inside.spool.has_pins().unwrap_or(true) {
                return Ok(None);
            }
            let page = inside.journal.files_after(after, PAGE)?;
            let Some((last, _)) = page.last() else {
                return Ok(None);
            };
            let last = *last;
            let absent = page
                .into_iter()
                .filter(|(_, record)| matches!(record.state, FileState::Placeholder { .. }));
            // What cannot be looked at, reading will tell.
            let pinned =
                absent.filter(|(_, record)| inside.spool.is_pinned(&record.path).unwrap_or(false));
            Ok(Some((
                last,
                pinned
                    .map(|(id, record)| ((id, record.path), record.stamp.size))
                    .collect(),
            )))
        })
        .await
    }

    async fn fetch_all(self: &Arc<Self>, pins: Vec<Pin>) -> Attempt {
        let mut attempts = iter(pins)
            .map(|pin| self.fetch_pin(pin))
            .buffer_unordered(AT_A_TIME);
        let mut outcome = Attempt::Done;
        while let Some(attempt) = attempts.next().await {
            outcome = attempt.and(outcome);
        }
        outcome
    }

    /// Whoever waited says in the log, and to `status`, what was in the way.
    async fn fetch_pin(self: &Arc<Self>, (id, path): Pin) -> Attempt {
        let fetcher = Fetcher {
            inside: Arc::clone(self),
        };
        let opened = run_blocking(move || {
            // Fetched before the journal knows of it, it would be called a placeholder there
            // afterwards.
            if !fetcher
                .inside
                .journal
                .file(id)
                .is_ok_and(|known| known.is_some())
            {
                return Ok(None);
            }
            let file = fetcher.inside.spool.open_read(&path)?;
            fetcher
                .register_open(id, &file)
                .map(Some)
                .map_err(|source| SpoolError::of("look at", &path, source))
        });
        let opened = match opened.await {
            Ok(Some(opened)) => opened,
            Ok(None) => return Attempt::Later,
            // Renamed or removed meanwhile. Under another name it is found by the next look.
            Err(error) if error.is_missing() => return Attempt::Done,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a pinned photo cannot be fetched"
                );
                return Attempt::Later;
            }
        };
        let Some(absent) = opened.placeholder() else {
            return Attempt::Done;
        };
        let size = absent.fetch.stamp().size;
        match self
            .hold(&absent.fetch, Wanted::Whole, InterruptProbe::NONE)
            .await
        {
            Ok(()) => {
                self.pinned.fetched(size);
                Attempt::Done
            }
            Err(error) => after_failure(&error),
        }
    }
}

fn after_failure(error: &FetchError) -> Attempt {
    if error.is_transient() {
        Attempt::Later
    } else {
        Attempt::Done
    }
}
