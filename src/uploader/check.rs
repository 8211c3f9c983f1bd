//! The batched check: which of the queue's next files have to be sent at all. The sync list is
//! asked first, then the server, for many images in one request and with proofs for instant upload.
//! A large file is checked by itself: its proof takes as long as reading it, and new photos do not
//! wait for that.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use heirloom_protocol::message::{CheckImage, CheckedImage, Receipt, Session};
use heirloom_protocol::possession::Proof;

use super::context::UploadContext;
use super::image_file::{ImageFile, wants_proof};
use super::limits::{
    CHECK_BYTES_MAX, CHECK_FILES_MAX, FILES_PER_PROOF_TASK, OLDEST_SHARE, PROOF_TASKS_MAX,
};
use super::types::{Candidate, CheckError, OpenError};
use crate::background::run_blocking;
use crate::journal::{FileId, FileRecord, FileState, JournalError, UploadOutcome};
use crate::remote::RemoteError;
use crate::spool::Spool;

/// The result of one batched check.
#[derive(Debug)]
pub(super) struct CheckBatch {
    /// What the server says of each image that the sync list does not have.
    pub(super) checked: Vec<(Candidate, CheckedImage)>,
    /// Large files that the sync list does not have; the server was not asked about them yet.
    pub(super) large_files: Vec<Candidate>,
    /// Whether the queue gave as many files as were asked for.
    pub(super) queue_has_more: bool,
    /// Whether it gave any that could be claimed now.
    pub(super) made_progress: bool,
    /// The session of the check: the server's limits, and the nonce for proofs.
    pub(super) session: Session,
}

impl CheckBatch {
    /// Claims up to `files_max` files from the queue and finds out which have to be sent. After an
    /// error, all of them are back in the queue.
    pub(super) async fn run(
        context: Arc<UploadContext>,
        files_max: usize,
    ) -> Result<Self, CheckError> {
        // Nothing that a server said before may be used until this is known to be the same server.
        let session = context.library.session().await?;
        let offered = next_files(&context, files_max).await?;
        let queue_has_more = offered.len() >= files_max;
        let (claimed, made_progress) = claim(&context, within_check_bytes(offered));
        match check(&context, claimed.clone(), &session).await {
            Ok((checked, large_files)) => Ok(Self {
                checked,
                large_files,
                queue_has_more,
                made_progress,
                session,
            }),
            Err(error) => {
                for candidate in claimed {
                    context.requeue(candidate.fingerprint);
                }
                Err(error)
            }
        }
    }
}

/// Checks one large file. Returns nothing if the file is no longer what was queued.
pub(super) async fn check_large_file(
    context: &UploadContext,
    file: &Candidate,
    session: &Session,
) -> Result<Option<CheckedImage>, RemoteError> {
    let permit = context
        .large_file_proofs
        .acquire()
        .await
        .expect("this semaphore is never closed");
    let Some((_, image)) = with_proofs(context, vec![file.clone()], session)
        .await
        .pop()
    else {
        return Ok(None);
    };
    drop(permit);
    let checked = context.transport.server().check(&[image]).await?;
    Ok(checked.into_iter().next())
}

/// Claims files; also returns whether that changed anything.
fn claim(context: &UploadContext, files: Vec<Candidate>) -> (Vec<Candidate>, bool) {
    let jobs = &mut context.state.lock().jobs;
    let before = jobs.reserved();
    let claimed = jobs.claim(files);
    (claimed, jobs.reserved() > before)
}

/// The queue's next files: new and old ones interleaved, so that a cut takes from both.
async fn next_files(context: &UploadContext, files: usize) -> Result<Vec<Candidate>, JournalError> {
    let except = context
        .state
        .lock()
        .jobs
        .unavailable(tokio::time::Instant::now());
    let (oldest, journal) = (files / OLDEST_SHARE, Arc::clone(&context.journal));
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

fn candidate((id, record): (FileId, FileRecord)) -> Option<Candidate> {
    let FileRecord { path, stamp, state } = record;
    match state {
        FileState::Pending { fingerprint } => Some(Candidate {
            id,
            path,
            stamp,
            fingerprint,
        }),
        // The queue has only pending files.
        FileState::BackedUp { .. }
        | FileState::Placeholder { .. }
        | FileState::Local { .. }
        | FileState::Failed { .. } => None,
    }
}

/// The first files, up to the bytes that one check may read for proofs.
fn within_check_bytes(mut files: Vec<Candidate>) -> Vec<Candidate> {
    let mut sum = 0_u64;
    let cut = files.iter().position(|candidate| {
        sum += if candidate.is_large() {
            0
        } else {
            candidate.size()
        };
        sum > CHECK_BYTES_MAX
    });
    files.truncate(cut.unwrap_or(files.len()));
    files
}

async fn check(
    context: &UploadContext,
    claimed: Vec<Candidate>,
    session: &Session,
) -> Result<(Vec<(Candidate, CheckedImage)>, Vec<Candidate>), CheckError> {
    let unknown = complete_known(context, claimed).await?;
    let possible = fail_impossible(context, unknown, session).await;
    let (large_files, photos): (Vec<_>, Vec<_>) =
        possible.into_iter().partition(Candidate::is_large);
    let images: Vec<(Candidate, CheckImage)> =
        stream::iter(photos.chunks(FILES_PER_PROOF_TASK).map(<[_]>::to_vec))
            .map(|photos| with_proofs(context, photos, session))
            .buffered(PROOF_TASKS_MAX)
            .flat_map(stream::iter)
            .collect()
            .await;
    let mut checked = Vec::with_capacity(images.len());
    for group in images.chunks(session.limits.check_images_max.clamp(1, CHECK_FILES_MAX)) {
        let request: Vec<CheckImage> = group.iter().map(|(_, image)| image.clone()).collect();
        let answers = context.transport.server().check(&request).await?;
        checked.extend(
            group
                .iter()
                .map(|(candidate, _)| candidate.clone())
                .zip(answers),
        );
    }
    Ok((checked, large_files))
}

/// Completes the files whose image the sync list has; returns the others.
async fn complete_known(
    context: &UploadContext,
    claimed: Vec<Candidate>,
) -> Result<Vec<Candidate>, JournalError> {
    let journal = Arc::clone(&context.journal);
    let looked_up: Vec<(Candidate, Option<Receipt>)> = run_blocking(move || {
        claimed
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
                context
                    .complete_unsent(file.fingerprint, &outcome, |saved| &mut saved.sync_list)
                    .await;
            }
            None => unknown.push(file),
        }
    }
    Ok(unknown)
}

/// Fails the files that this server can never accept; returns the others.
async fn fail_impossible(
    context: &UploadContext,
    files: Vec<Candidate>,
    session: &Session,
) -> Vec<Candidate> {
    let limit = session.limits.image_bytes_max;
    let mut possible = Vec::new();
    for file in files {
        let why = match file.size() {
            0 => "the file is empty, so it is not an image".to_owned(),
            size if size > limit => {
                format!("too large for the server: {size} bytes; its limit is {limit}")
            }
            _ => {
                possible.push(file);
                continue;
            }
        };
        context.fail(file.fingerprint, why).await;
    }
    possible
}

/// The check's entry for each file. A file that is no longer what was queued is deferred, and its
/// job returns to the queue: another file with the same content may replace it in a later check.
async fn with_proofs(
    context: &UploadContext,
    files: Vec<Candidate>,
    session: &Session,
) -> Vec<(Candidate, CheckImage)> {
    let (spool, of_session) = (context.spool.clone(), session.clone());
    let proven = run_blocking(move || {
        let prove = |file: Candidate| (proof_of(&spool, &file, &of_session), file);
        files.into_iter().map(prove).collect::<Vec<_>>()
    });
    let mut images = Vec::new();
    for (proof, file) in proven.await {
        match proof {
            Ok(proof) => {
                let image = CheckImage {
                    fingerprint: file.fingerprint,
                    size: file.size(),
                    proof,
                };
                images.push((file, image));
            }
            Err(error) => {
                context.defer_source(&file, &error);
                context.requeue(file.fingerprint);
            }
        }
    }
    images
}

/// The proof for a file, if the check should carry one. Blocks on the disk.
fn proof_of(
    spool: &Spool,
    file: &Candidate,
    session: &Session,
) -> Result<Option<Proof>, OpenError> {
    if !wants_proof(session, file.size()) {
        return Ok(None);
    }
    Ok(Some(ImageFile::open(spool, file)?.prove(session)?))
}
