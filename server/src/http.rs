//! The native dialect: what may be asked over HTTP, and how it is answered (docs/PROTOCOL.md).
//!
//! A request is parsed into types that need no further checking, one call is made to a room below,
//! and its answer is written. No rule about photos lives here. Every answer from 400 up is a
//! problem of the closed list, whoever found the fault: a handler, a router, a body cut short.

mod body;
mod caller;
mod check;
mod error;
mod extract;
mod images;
mod library;
mod login;
mod limits;
mod metrics;
mod news;
mod parcels;
mod range;
mod receipt;
mod restraint;
mod session;
mod trash;
mod uploads;
mod wanted;

use std::sync::Arc;

use axum::Router;
use axum::extract::FromRef;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post, put};
use heirloom_protocol::{ErrorCode, route};
use tokio_util::sync::CancellationToken;

use crate::accounts::Accounts;
use crate::clock::Clock;
use crate::index::Index;
use crate::metrics::SharedCounters;
use crate::possession::Possession;
use crate::scrub::Scrubber;
use crate::signer::Signer;
use crate::uploads::UploadService;

pub use error::Refusal;
pub use news::News;
pub use restraint::{Peer, Restraint};
pub use trash::TrashExpiry;
#[cfg(any(test, fuzzing))]
pub use {extract::trial as bodies_trial, range::trial as conditions_trial};

/// What the routes ask. Each handler takes only the part it needs.
#[derive(Clone, Debug)]
pub struct Door {
    /// Who may ask.
    pub accounts: Accounts,
    /// Shards and images.
    pub assembly: UploadService,
    /// Nonces.
    pub possession: Possession,
    /// Libraries.
    pub index: Index,
    /// Wakes those who wait at the change feed.
    pub news: News,
    /// What has happened.
    pub counters: SharedCounters,
    /// What time it is.
    pub clock: Clock,
    /// Cancelled when the server stops: those who wait are answered at once.
    pub stopping: CancellationToken,
    /// Which installation this is.
    pub installation: Installation,
    /// How long the trash keeps a photo.
    pub trash_expiry: TrashExpiry,
    /// How often each may ask.
    pub restraint: Restraint,
    /// Reads stored images again.
    pub scrub: Scrubber,
    /// Signs receipts.
    pub signer: Signer,
}

/// The installation's name for clients, in 32 hex digits. Not secret.
#[derive(Clone, Debug)]
pub struct Installation(pub Arc<str>);

macro_rules! part_of_the_door {
    ($($field:ident: $part:ty),*) => { $(
        impl FromRef<Door> for $part {
            fn from_ref(door: &Door) -> Self {
                door.$field.clone()
            }
        }
    )* };
}

part_of_the_door! {
    accounts: Accounts,
    assembly: UploadService,
    possession: Possession,
    index: Index,
    news: News,
    counters: SharedCounters,
    clock: Clock,
    stopping: CancellationToken,
    installation: Installation,
    trash_expiry: TrashExpiry,
    restraint: Restraint,
    scrub: Scrubber,
    signer: Signer
}

/// All routes. Those for users ask for a token before anything else, the body included.
pub fn router(door: Door) -> Router {
    let for_users = Router::new()
        .route(route::SESSION, get(session::session).delete(login::log_out))
        .route(route::CHECK, post(check::check))
        .route(route::BATCHES, post(parcels::receive))
        .route(route::SHARD_PATTERN, put(uploads::receive))
        .route(
            route::UPLOAD_PATTERN,
            get(uploads::state).delete(uploads::cancel),
        )
        .route(route::IMAGE_PATTERN, get(images::read))
        .route(
            route::LIBRARY_CHANGES,
            get(library::feed).post(library::change),
        )
        .route(route::FRESH_RECEIPT_PATTERN, get(receipt::fresh))
        .route(route::WANTED, get(wanted::list))
        .route(route::LIBRARY_TRASH, get(trash::list))
        .route(route::STATUS, get(session::status))
        .route(route::METRICS, get(metrics::metrics))
        .route_layer(from_fn_with_state(
            (door.accounts.clone(), door.restraint.clone()),
            caller::let_in,
        ));
    for_users
        .route(route::LOGIN, post(login::log_in))
        .route(route::HEALTH, get(async || "ok"))
        .fallback(async || Refusal::from(ErrorCode::NotFound))
        .method_not_allowed_fallback(async || Refusal::from(ErrorCode::MethodNotAllowed))
        .layer(from_fn(limits::sane))
        .layer(from_fn_with_state(door.counters.clone(), metrics::count))
        .with_state(door)
}
