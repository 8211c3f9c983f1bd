//! Asking: what of the queue's next files has to be sent at all. The sync list first (M3), then the
//! server, for many images in one request and with proofs for instant upload (M4, M9). A film is
//! asked about by itself: making its proof takes as long as reading it, and new photos do not wait
//! for that.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use heirloom_protocol::message::{CheckImage, CheckedImage, CrossUser, Receipt, Session};
use heirloom_protocol::possession::{self, Proof};

use super::context::UploadContext;
use super::image::{ImageError, ImageFile};
use super::job_table::Candidate;
use crate::background::run_blocking;
use crate::journal::{FileRecord, FileState, JournalError, UploadOutcome};
use crate::library::LibraryError;
use crate::remote::RemoteError;
use crate::spool::{Spool, SpoolError};

/// Files in the first round after a rest: their upload begins before the other proofs are made.
/// Each round may have twice as many.
pub(super) const ROUND_FILES_FIRST: usize = 32;
/// Files in one round, at most.
pub(super) const ROUND_FILES_MAX: usize = 500;
/// Bytes of photos in one round, at most: so much is read for proofs before the first answer.
pub(super) const ROUND_BYTES_MAX: u64 = 64 << 20;
/// Of four files, one is from the queue's oldest end: new photos come first, and nothing starves.
const OLDEST_SHARE: usize = 4;
/// Files read for proofs at a time: they come from the page cache, so this is a matter of cores.
const PROOFS_AT_A_TIME: usize = 2;
/// Files read for proofs by one trip to the threads that may block: waking one costs as much as
/// proving a small photo.
const PROOFS_TOGETHER: usize = 16;

/// What a round brought.
#[derive(Debug)]
pub(super) struct CheckBatch {
    /// What the server says of each image that our own list does not have.
    pub(super) checked: Vec<(Candidate, CheckedImage)>,
    /// Films that our own list does not have; nobody was asked about them yet.
    pub(super) films: Vec<Candidate>,
    /// Whether the queue gave as many files as were asked for.
    pub(super) full: bool,
    /// Whether it gave any that we could use now.
    pub(super) useful: bool,
    /// In which the server was asked: what it allows, and the nonce for proofs.
    pub(super) session: Session,
}

/// Why a round came to nothing. Its files are back in the queue.
#[derive(Debug, thiserror::Error)]
pub(super) enum CheckError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl From<LibraryError> for CheckError {
    fn from(error: LibraryError) -> Self {
        match error {
            LibraryError::Journal(error) => Self::Journal(error),
            LibraryError::Remote(error) => Self::Remote(error),
        }
    }
}

/// Why an image could not be opened for sending.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error(transparent)]
    Image(#[from] ImageError),
}

impl OpenError {
    /// Whether a file that is there could not be read.
    pub(super) fn is_of_the_disk(&self) -> bool {
        match self {
            Self::Spool(error) => !error.is_missing(),
            Self::Image(ImageError::Read(_)) => true,
            Self::Image(ImageError::Changed) => false,
        }
    }
}

/// Takes up to `most` files from the queue and finds out what has to be sent.
pub(super) async fn ask(desk: Arc<UploadContext>, most: usize) -> Result<CheckBatch, CheckError> {
    // Before anything that was said by a server is used, it must be the same server.
    let session = desk.library.session().await?;
    let offered = pick(&desk, most).await?;
    let full = offered.len() >= most;
    let (taken, useful) = take(&desk, within_bytes(offered));
    match ask_for(&desk, taken.clone(), &session).await {
        Ok((checked, films)) => Ok(CheckBatch {
            checked,
            films,
            full,
            useful,
            session,
        }),
        Err(error) => {
            for candidate in taken {
                desk.give_back_all(candidate.fingerprint);
            }
            Err(error)
        }
    }
}

/// What the server says of one film; nothing if the file is not there any more as it was.
pub(super) async fn ask_about_film(
    desk: &UploadContext,
    film: &Candidate,
    session: &Session,
) -> Result<Option<CheckedImage>, RemoteError> {
    let turn = desk.film_proofs.acquire().await.expect("never closed");
    let Some((_, image)) = with_proofs(desk, vec![film.clone()], session).await.pop() else {
        return Ok(None);
    };
    drop(turn);
    Ok(desk
        .transport
        .remote()
        .check(&[image])
        .await?
        .into_iter()
        .next())
}

/// Takes files in hand; also tells whether that changed anything.
fn take(desk: &UploadContext, picked: Vec<Candidate>) -> (Vec<Candidate>, bool) {
    let roster = &mut desk.board.lock().roster;
    let before = roster.reserved();
    let taken = roster.take(picked);
    (taken, roster.reserved() > before)
}

/// The next files of the queue: new and old ones mixed, so that a cut further on takes from both.
async fn pick(desk: &UploadContext, files: usize) -> Result<Vec<Candidate>, JournalError> {
    let except = desk
        .board
        .lock()
        .roster
        .unavailable(tokio::time::Instant::now());
    let (oldest, journal) = (files / OLDEST_SHARE, Arc::clone(&desk.journal));
    let newest = files - oldest;
    let records = run_blocking(move || journal.pending(newest, oldest, &except)).await?;
    let mut new: Vec<Candidate> = records.into_iter().filter_map(candidate).collect();
    let old = new.split_off(newest.min(new.len()));
    let mut old = old.into_iter();
    let mut mixed = Vec::with_capacity(files);
    for group in new.chunks(OLDEST_SHARE - 1) {
        mixed.extend(group.iter().cloned());
        mixed.extend(old.next());
    }
    mixed.extend(old);
    Ok(mixed)
}

fn candidate((id, record): (crate::journal::FileId, FileRecord)) -> Option<Candidate> {
    let FileRecord { path, stamp, state } = record;
    match state {
        FileState::Pending { fingerprint } => Some(Candidate {
            id,
            path,
            stamp,
            fingerprint,
        }),
        // Not ours; the queue has only pending ones.
        FileState::BackedUp { .. }
        | FileState::Placeholder { .. }
        | FileState::Local { .. }
        | FileState::Failed { .. } => None,
    }
}

/// The first of them, as far as their proofs are made soon.
fn within_bytes(mut picked: Vec<Candidate>) -> Vec<Candidate> {
    let mut sum = 0_u64;
    let too_much = picked.iter().position(|candidate| {
        sum += if candidate.is_film() {
            0
        } else {
            candidate.size()
        };
        sum > ROUND_BYTES_MAX
    });
    picked.truncate(too_much.unwrap_or(picked.len()));
    picked
}

async fn ask_for(
    desk: &UploadContext,
    taken: Vec<Candidate>,
    session: &Session,
) -> Result<(Vec<(Candidate, CheckedImage)>, Vec<Candidate>), CheckError> {
    let unknown = settle_known(desk, taken).await?;
    let possible = refuse_impossible(desk, unknown, session).await;
    let (films, photos): (Vec<_>, Vec<_>) = possible.into_iter().partition(Candidate::is_film);
    let asked: Vec<(Candidate, CheckImage)> =
        stream::iter(photos.chunks(PROOFS_TOGETHER).map(<[_]>::to_vec))
            .map(|photos| with_proofs(desk, photos, session))
            .buffered(PROOFS_AT_A_TIME)
            .flat_map(stream::iter)
            .collect()
            .await;
    let mut checked = Vec::with_capacity(asked.len());
    for group in asked.chunks(session.limits.check_images_max.clamp(1, ROUND_FILES_MAX)) {
        let images: Vec<CheckImage> = group.iter().map(|(_, image)| image.clone()).collect();
        let answers = desk.transport.remote().check(&images).await?;
        checked.extend(
            group
                .iter()
                .map(|(candidate, _)| candidate.clone())
                .zip(answers),
        );
    }
    Ok((checked, films))
}

/// Settles what the sync list has (M3); answers the others.
async fn settle_known(
    desk: &UploadContext,
    taken: Vec<Candidate>,
) -> Result<Vec<Candidate>, JournalError> {
    let journal = Arc::clone(&desk.journal);
    let looked_up: Vec<(Candidate, Option<Receipt>)> = run_blocking(move || {
        taken
            .into_iter()
            .map(|file| {
                journal
                    .receipt(file.fingerprint)
                    .map(|receipt| (file, receipt))
            })
            .collect::<Result<_, _>>()
    })
    .await?;
    let mut unknown = Vec::new();
    for (file, receipt) in looked_up {
        match receipt {
            Some(receipt) => {
                let outcome = UploadOutcome::BackedUp { receipt };
                desk.settle_all(file.fingerprint, &outcome, |saved| &mut saved.sync_list)
                    .await;
            }
            None => unknown.push(file),
        }
    }
    Ok(unknown)
}

/// Settles as failed what this server can never take; answers the others.
async fn refuse_impossible(
    desk: &UploadContext,
    files: Vec<Candidate>,
    session: &Session,
) -> Vec<Candidate> {
    let most = session.limits.image_bytes_max;
    let mut possible = Vec::new();
    for file in files {
        let why = match file.size() {
            0 => "an empty file is no image".to_owned(),
            size if size > most => {
                format!("the server takes images of up to {most} bytes; this one has {size}")
            }
            _ => {
                possible.push(file);
                continue;
            }
        };
        desk.fail_all(file.fingerprint, why).await;
    }
    possible
}

/// Files, and what the server is asked about each. One that is not there as it was is put off, and
/// its job goes back to the queue: another file of the same content may stand in, in a later round.
async fn with_proofs(
    desk: &UploadContext,
    files: Vec<Candidate>,
    session: &Session,
) -> Vec<(Candidate, CheckImage)> {
    let (spool, proving) = (desk.spool.clone(), session.clone());
    let proven = run_blocking(move || {
        let prove = |file: Candidate| (prove(&spool, &file, &proving), file);
        files.into_iter().map(prove).collect::<Vec<_>>()
    });
    let mut asked = Vec::new();
    for (proof, file) in proven.await {
        match proof {
            Ok(proof) => {
                asked.push((
                    file.clone(),
                    CheckImage {
                        fingerprint: file.fingerprint,
                        size: file.size(),
                        proof,
                    },
                ));
            }
            Err(error) => {
                desk.put_off_source(&file, &error);
                desk.give_back_all(file.fingerprint);
            }
        }
    }
    asked
}

/// The proof for a file, if the server wants one for it. Blocks on the disk.
fn prove(spool: &Spool, file: &Candidate, session: &Session) -> Result<Option<Proof>, OpenError> {
    if session.cross_user != CrossUser::Proof || file.size() < possession::SIZE_MIN {
        return Ok(None);
    }
    Ok(Some(open(spool, file)?.prove(session)?))
}

/// Opens a file, if it is still the one that was queued. Blocks on the disk.
pub(super) fn open(spool: &Spool, file: &Candidate) -> Result<ImageFile, OpenError> {
    let opened = spool.open_read(&file.path)?;
    let (id, stamp) = Spool::identify(&opened).map_err(ImageError::Read)?;
    if (id, stamp) != (file.id, file.stamp) {
        return Err(ImageError::Changed.into());
    }
    Ok(ImageFile::new(opened, stamp, file.fingerprint))
}
