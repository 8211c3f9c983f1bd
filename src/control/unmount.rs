//! `POST /unmount`: removes the mount; the daemon then stops.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::context::ControlState;
use super::error::RequestError;
use super::message::UnmountResponse;
use super::status::state_totals;
use crate::background::run_blocking;
use crate::mount::MountError;

pub(super) async fn unmount(
    State(context): State<Arc<ControlState>>,
) -> Result<Json<UnmountResponse>, RequestError> {
    let unmounted = run_blocking(move || {
        let left = state_totals(&context).not_backed_up();
        context.mount.unmount().map(|()| left)
    });
    match unmounted.await {
        Ok(left) => Ok(Json(UnmountResponse::Unmounted {
            pid: std::process::id(),
            left,
        })),
        Err(MountError::Busy { .. }) => Ok(Json(UnmountResponse::Busy)),
        Err(error) => Err(error.into()),
    }
}
