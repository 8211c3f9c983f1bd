//! The HTTP API: routes, extractors, limits and error responses (docs/PROTOCOL.md).
//!
//! A handler parses the request into validated types, makes one call to a lower layer, and writes
//! the response. No rule about photos lives here. Every response from 400 up is a problem detail
//! from the closed list, whether a handler, the router or the body found the error.

mod auth_limits;
mod batches;
mod body;
mod caller;
mod change_notifier;
mod check;
mod error;
mod extract;
mod images;
mod library;
mod login;
mod metrics;
mod range;
mod receipt;
mod request_guard;
mod session;
mod trash;
mod uploads;
mod wanted;

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

pub use auth_limits::{AuthLimits, PeerAddress};
pub use change_notifier::ChangeNotifier;
pub use error::ErrorResponse;
pub use session::InstallationId;
pub use trash::TrashRetention;
#[cfg(any(test, fuzzing))]
pub use {extract::fuzz as fuzz_json_bodies, range::fuzz as fuzz_conditions};

/// The state that the routes share. Each handler extracts only the part it needs.
#[derive(Clone, Debug)]
pub struct AppState {
    /// Users and their tokens.
    pub accounts: Accounts,
    /// Uploads and images.
    pub uploads: UploadService,
    /// Nonces and proofs of possession.
    pub possession: Possession,
    /// The database of users, images and libraries.
    pub index: Index,
    /// Wakes long polls at the change feed.
    pub notifier: ChangeNotifier,
    /// The metrics.
    pub counters: SharedCounters,
    /// The clock.
    pub clock: Clock,
    /// Cancelled when the server stops; long polls are then answered at once.
    pub stopping: CancellationToken,
    /// The id of this installation.
    pub installation: InstallationId,
    /// How long the trash keeps a photo.
    pub trash_retention: TrashRetention,
    /// The rate limits on authentication.
    pub auth_limits: AuthLimits,
    /// Verifies stored images.
    pub scrubber: Scrubber,
    /// Signs receipts.
    pub signer: Signer,
}

/// Lets handlers extract single parts of [`AppState`].
macro_rules! extractable_parts {
    ($($field:ident: $part:ty),*) => { $(
        impl FromRef<AppState> for $part {
            fn from_ref(state: &AppState) -> Self {
                state.$field.clone()
            }
        }
    )* };
}

extractable_parts! {
    accounts: Accounts,
    uploads: UploadService,
    possession: Possession,
    index: Index,
    notifier: ChangeNotifier,
    counters: SharedCounters,
    clock: Clock,
    stopping: CancellationToken,
    installation: InstallationId,
    trash_retention: TrashRetention,
    auth_limits: AuthLimits,
    scrubber: Scrubber,
    signer: Signer
}

/// All routes. Those for users check the token before anything else, and before the body is read.
pub fn router(state: AppState) -> Router {
    let for_users = Router::new()
        .route(route::SESSION, get(session::session).delete(login::log_out))
        .route(route::CHECK, post(check::check))
        .route(route::BATCHES, post(batches::receive))
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
            (state.accounts.clone(), state.auth_limits.clone()),
            caller::authenticate,
        ));
    for_users
        .route(route::LOGIN, post(login::log_in))
        .route(route::HEALTH, get(async || "ok"))
        .fallback(async || ErrorResponse::from(ErrorCode::NotFound))
        .method_not_allowed_fallback(async || ErrorResponse::from(ErrorCode::MethodNotAllowed))
        .layer(from_fn(request_guard::guard))
        .layer(from_fn_with_state(state.counters.clone(), metrics::count))
        .with_state(state)
}
