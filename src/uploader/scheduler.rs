//! The line: one task that decides what happens next, and many that do it. The next round is asked
//! while images of the last one are being sent; whatever ends comes back here and is judged in one
//! place.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use heirloom_protocol::message::{CheckedImage, Limits, Session};
use heirloom_protocol::{ErrorCode, Fingerprint};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::Connection;
use super::batch::{Delivered, Packing, carry_parcel, pack};
use super::check::{CheckBatch, CheckError, ROUND_FILES_FIRST, ROUND_FILES_MAX, ask};
use super::chunked_upload::DeliveryError;
use super::context::UploadContext;
use super::job::{JobOutcome, carry, carry_film};
use super::job_table::{Candidate, Reason};
use super::offline::Offline;
use crate::journal::UploadOutcome;
use crate::remote::{Backoff, RemoteError};

/// Images in hand below which the next round is asked: enough to keep every lane busy meanwhile.
const IN_HAND_LOW: usize = 48;
/// And bytes: of small photos many are in hand before a round's proofs are made.
const IN_HAND_BYTES_LOW: u64 = 24 << 20;
/// After the journal failed, before it is read again.
const JOURNAL_GAP: Duration = Duration::from_secs(5);
/// Nothing was under way for so long: memory for shards is not kept for the next.
const REST: Duration = Duration::from_secs(5);
/// A timer for nothing: far enough away.
const IDLE: Duration = Duration::from_hours(1);

/// What came back.
#[derive(Debug)]
enum Event {
    Asked(Result<CheckBatch, CheckError>),
    JobOutcome(Fingerprint, JobOutcome),
    Delivered(Delivered, Limits),
    Probed(Result<Session, RemoteError>),
}

/// The state of the line.
pub(super) struct Scheduler {
    desk: Arc<UploadContext>,
    wake: Arc<Notify>,
    tasks: JoinSet<Event>,
    /// Whether a round is being asked.
    asking: bool,
    /// Whether the queue may have something for us.
    hungry: bool,
    /// How many files the next round may have.
    files: usize,
    /// The journal failed; not before this.
    journal_rests: Option<Instant>,
    outage: Option<Offline>,
    probing: bool,
    backoff: Backoff,
}

impl Scheduler {
    pub(super) fn new(desk: Arc<UploadContext>, wake: Arc<Notify>) -> Self {
        Self {
            desk,
            wake,
            tasks: JoinSet::new(),
            asking: false,
            hungry: true,
            files: ROUND_FILES_FIRST,
            journal_rests: None,
            outage: None,
            probing: false,
            backoff: Backoff::default(),
        }
    }

    /// Works until dropped; what is under way is dropped with it.
    pub(super) async fn run(mut self) {
        let wake = Arc::clone(&self.wake);
        let mut requeued = self.desk.library.requeued();
        loop {
            self.start_what_can_start();
            let moment = self.next_moment();
            let trays = self.desk.transport.trays().clone();
            let resting = self.tasks.is_empty() && !trays.is_empty();
            tokio::select! {
                Some(news) = self.tasks.join_next(), if !self.tasks.is_empty() => match news {
                    Ok(news) => self.hear(news).await,
                    Err(error) => self.mourn(&error),
                },
                () = wake.notified() => {
                    self.hungry = true;
                    if let Some(outage) = &mut self.outage {
                        outage.look_sooner();
                    }
                }
                Ok(()) = requeued.changed() => self.hungry = true,
                () = sleep_until(moment) => self.hungry = true,
                () = sleep(REST), if resting => trays.give_back(),
            }
        }
    }

    fn start_what_can_start(&mut self) {
        let now = Instant::now();
        if let Some(outage) = &self.outage {
            if outage.probe_at <= now && !self.probing {
                self.probing = true;
                let desk = Arc::clone(&self.desk);
                self.tasks.spawn(async move {
                    Event::Probed(desk.transport.remote().renewed_session().await)
                });
            }
            return;
        }
        let rested = self.journal_rests.is_none_or(|until| until <= now);
        if self.hungry && !self.asking && rested && self.has_room() {
            self.asking = true;
            self.hungry = false;
            let (desk, files) = (Arc::clone(&self.desk), self.files);
            self.tasks
                .spawn(async move { Event::Asked(ask(desk, files).await) });
        }
    }

    fn has_room(&self) -> bool {
        let roster = &self.desk.board.lock().roster;
        roster.jobs() < IN_HAND_LOW || roster.job_bytes() < IN_HAND_BYTES_LOW
    }

    /// When something is due without anybody calling.
    fn next_moment(&self) -> Instant {
        let now = Instant::now();
        let probe = self
            .outage
            .as_ref()
            .filter(|_| !self.probing)
            .map(|outage| outage.probe_at);
        let retry = self
            .desk
            .board
            .lock()
            .roster
            .next_due(now)
            .filter(|_| self.outage.is_none());
        let journal = self.journal_rests.filter(|until| *until > now);
        [probe, retry, journal]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(now + IDLE)
    }

    async fn hear(&mut self, news: Event) {
        match news {
            Event::Asked(asked) => {
                self.asking = false;
                match asked {
                    Ok(round) => self.hand_out(round).await,
                    Err(CheckError::Remote(error)) => self.lose(&error),
                    Err(CheckError::Journal(error)) => {
                        tracing::error!(
                            error = &error as &dyn std::error::Error,
                            "the queue cannot be read"
                        );
                        self.journal_rests = Some(Instant::now() + JOURNAL_GAP);
                    }
                }
            }
            Event::JobOutcome(image, carried) => {
                self.hungry = true;
                self.conclude(image, carried).await;
            }
            Event::Delivered(delivered, limits) => {
                self.hungry = true;
                self.unpack(delivered, limits).await;
            }
            Event::Probed(answer) => self.resume(answer).await,
        }
    }

    /// Sends what the server does not have, settles what it has.
    async fn hand_out(&mut self, round: CheckBatch) {
        self.hungry |= round.useful;
        self.files = if round.full {
            (self.files * 2).min(ROUND_FILES_MAX)
        } else {
            ROUND_FILES_FIRST
        };
        self.desk.board.connect(&Connection::Online);
        for film in round.films {
            let (desk, session, image) = (
                Arc::clone(&self.desk),
                round.session.clone(),
                film.fingerprint,
            );
            self.tasks.spawn(async move {
                Event::JobOutcome(image, carry_film(desk, film, session).await)
            });
        }
        let limits = round.session.limits;
        let (absent, others): (Vec<_>, Vec<_>) = round
            .checked
            .into_iter()
            .partition(|(_, checked)| matches!(checked, CheckedImage::Absent { .. }));
        let absent = absent.into_iter().map(|(photo, _)| photo);
        // If one photo is what spoils a parcel, the others shall not be spoiled twice.
        let (spoiled, fresh) = {
            let roster = &self.desk.board.lock().roster;
            absent.partition::<Vec<_>, _>(|photo| roster.was_put_off(photo.id))
        };
        let Packing { parcels, mut alone } = pack(fresh, self.desk.transport.shard_bytes(), limits);
        alone.extend(spoiled);
        for photos in parcels {
            let desk = Arc::clone(&self.desk);
            self.tasks
                .spawn(async move { Event::Delivered(carry_parcel(desk, photos).await, limits) });
        }
        for photo in alone {
            self.send_alone(photo, limits);
        }
        for (photo, checked) in others {
            self.hand_out_one(photo, checked, limits).await;
        }
    }

    fn send_alone(&mut self, photo: Candidate, limits: Limits) {
        let (desk, image) = (Arc::clone(&self.desk), photo.fingerprint);
        let checked = CheckedImage::Absent { fingerprint: image };
        self.tasks.spawn(async move {
            Event::JobOutcome(image, carry(desk, photo, checked, limits).await)
        });
    }

    /// A parcel came to its end. What did not come through in it goes by itself, unless the way or
    /// the server is at fault.
    async fn unpack(&mut self, delivered: Delivered, limits: Limits) {
        let photos = delivered.photos.into_iter();
        match delivered.receipts {
            Ok(receipts) => {
                let receipts: HashMap<_, _> = receipts
                    .into_iter()
                    .map(|receipt| (receipt.fingerprint, receipt))
                    .collect();
                for photo in photos {
                    match receipts.get(&photo.fingerprint) {
                        Some(receipt) => {
                            self.conclude(photo.fingerprint, JobOutcome::Stored(*receipt))
                                .await;
                        }
                        None => self.send_alone(photo, limits),
                    }
                }
            }
            // Not all of them fit into what is left to this user; some may.
            Err(error) if error.code() == Some(ErrorCode::QuotaExceeded) => {
                photos.for_each(|photo| self.send_alone(photo, limits));
            }
            Err(error) if error.is_transient() => {
                photos.for_each(|photo| self.retry_later(photo.fingerprint, &error));
            }
            Err(error) => {
                tracing::warn!(
                    why = error.chain(),
                    "a parcel was refused; its photos go by themselves"
                );
                photos.for_each(|photo| self.send_alone(photo, limits));
            }
        }
    }

    async fn hand_out_one(&mut self, candidate: Candidate, checked: CheckedImage, limits: Limits) {
        let image = candidate.fingerprint;
        match checked {
            CheckedImage::Owned { receipt } => {
                self.conclude(image, JobOutcome::Owned(receipt)).await
            }
            CheckedImage::Linked { receipt } => {
                self.conclude(image, JobOutcome::Linked(receipt)).await;
            }
            CheckedImage::Interrupted { .. } | CheckedImage::Absent { .. } => {
                let desk = Arc::clone(&self.desk);
                self.tasks.spawn(async move {
                    Event::JobOutcome(image, carry(desk, candidate, checked, limits).await)
                });
            }
        }
    }

    /// What the end of a delivery means for its files, and for everybody.
    async fn conclude(&mut self, image: Fingerprint, carried: JobOutcome) {
        match carried {
            JobOutcome::Stored(receipt) => {
                self.backoff.succeeded();
                self.desk
                    .settle_sent(image, &UploadOutcome::BackedUp { receipt })
                    .await;
            }
            JobOutcome::Owned(receipt) => {
                self.desk
                    .settle_all(image, &UploadOutcome::BackedUp { receipt }, |saved| {
                        &mut saved.check
                    })
                    .await;
            }
            JobOutcome::Linked(receipt) => {
                let outcome = UploadOutcome::BackedUp { receipt };
                self.desk
                    .settle_all(image, &outcome, |saved| &mut saved.instant_upload)
                    .await;
            }
            JobOutcome::NoSource => self.desk.give_back_all(image),
            JobOutcome::Stuck(DeliveryError::Remote(error))
                if error.is_transient() || error.arrived_damaged() =>
            {
                self.retry_later(image, &error);
            }
            JobOutcome::Stuck(error) => {
                let why = match &error {
                    DeliveryError::Remote(error) => error.chain(),
                    other => other.to_string(),
                };
                self.desk.fail_all(image, why).await;
            }
        }
    }

    fn retry_later(&mut self, image: Fingerprint, error: &RemoteError) {
        let why = error.chain();
        if error.is_server_wide() || matches!(error, RemoteError::LoginNeeded) {
            self.desk.give_back_all(image);
            self.lose(error);
        } else if error.is_offline() {
            self.desk.put_off_all(image, &why, Reason::Network);
            self.lose(error);
        } else {
            tracing::warn!(%image, why, "an image could not be sent; trying again later");
            self.desk.put_off_all(image, &why, Reason::Own);
        }
    }

    /// The server cannot be worked with for now.
    fn lose(&mut self, error: &RemoteError) {
        self.hungry = true;
        if self.outage.is_some() {
            return;
        }
        let outage = Offline::begin(error, &mut self.backoff);
        tracing::warn!(
            why = error.chain(),
            "the server cannot be used now; everything stays queued"
        );
        self.desk.board.connect(&outage.connection);
        self.outage = Some(outage);
    }

    /// A probe came back.
    async fn resume(&mut self, answer: Result<Session, RemoteError>) {
        self.probing = false;
        let Some(outage) = &mut self.outage else {
            return;
        };
        if let Err(error) = answer {
            outage.go_on(&error, &mut self.backoff);
            self.desk.board.connect(&outage.connection);
            return;
        }
        if outage.confirmed {
            self.desk.board.lock().roster.pardon();
            self.backoff.succeeded();
        }
        self.outage = None;
        self.hungry = true;
        self.desk.transport.look_at_link().await;
        self.desk.board.connect(&Connection::Online);
        tracing::info!("the server can be used again");
        self.desk.library.wake();
    }

    /// A task panicked: a fault of ours. Its image stays in hand, and is tried again after a
    /// restart.
    fn mourn(&mut self, error: &tokio::task::JoinError) {
        tracing::error!(error = error as &dyn std::error::Error, "a delivery broke");
        self.asking = false;
        self.probing = false;
    }
}
