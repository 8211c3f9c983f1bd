//! The session and status routes: the user's permissions, limits and numbers.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use heirloom_protocol::message::{Limits, ServerStatus, Session};
use heirloom_protocol::{ShardSize, batch, route};

use super::ErrorResponse;
use super::caller::CanRead;
use crate::clock::Clock;
use crate::index::Index;
use crate::possession::Possession;
use crate::signer::Signer;

const LIMITS: Limits = Limits {
    check_images_max: route::CHECK_IMAGES_MAX,
    library_changes_max: route::LIBRARY_CHANGES_MAX,
    shard_bytes_min: ShardSize::MIN.bytes(),
    shard_bytes_max: ShardSize::MAX.bytes(),
    image_bytes_max: route::IMAGE_BYTES_MAX,
    batch_bytes_max: batch::BYTES_MAX,
};

/// The id of this installation, 32 hex digits. Not secret.
#[derive(Clone, Debug)]
pub struct InstallationId(pub Arc<str>);

/// `GET /v1/session`
pub(super) async fn session(
    State(possession): State<Possession>,
    State(installation): State<InstallationId>,
    State(clock): State<Clock>,
    State(signer): State<Signer>,
    CanRead(caller): CanRead,
) -> Result<Json<Session>, ErrorResponse> {
    let cross_user = possession.policy_for(&caller).await?;
    let (nonce, nonce_renewal_s) = possession.nonce(&caller);
    Ok(Json(Session {
        user: caller.user,
        name: caller.name,
        scope: caller.scope,
        installation: installation.0.as_ref().to_owned(),
        nonce,
        nonce_renewal_s,
        cross_user,
        receipt_key: Some(signer.key()),
        limits: LIMITS,
        server_time_ms: clock.now_ms(),
    }))
}

/// `GET /v1/status`
pub(super) async fn status(
    State(index): State<Index>,
    CanRead(caller): CanRead,
) -> Result<Json<ServerStatus>, ErrorResponse> {
    Ok(Json(index.status(caller.user).await?))
}
