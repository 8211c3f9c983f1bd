//! The metrics route, and the middleware that counts responses.

use std::fmt::Write as _;

use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::ErrorResponse;
use crate::index::Index;
use crate::metrics::SharedCounters;

/// Prometheus' text format, version 0.0.4.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The name of the gauge of damaged images.
const DAMAGED: &str = "heirloom_images_damaged";

/// `GET /metrics`
pub(super) async fn metrics(
    State(counters): State<SharedCounters>,
    State(index): State<Index>,
) -> Result<impl IntoResponse, ErrorResponse> {
    let damaged = index.corrupt_count().await?;
    let mut text = format!(
        "# HELP {DAMAGED} Stored images that are damaged and must be uploaded again\n\
         # TYPE {DAMAGED} gauge\n\
         {DAMAGED} {damaged}\n"
    );
    for (name, caption, total) in counters.all() {
        writeln!(
            text,
            "# HELP {name} {caption}\n# TYPE {name} counter\n{name} {total}"
        )
        .expect("writing to a string cannot fail");
    }
    Ok(([(CONTENT_TYPE, TEXT_FORMAT)], text))
}

/// Middleware before all routes that counts responses by status.
pub(super) async fn count(
    State(counters): State<SharedCounters>,
    request: Request,
    next: Next,
) -> Response {
    let response = next.run(request).await;
    match response.status().as_u16() {
        ..400 => counters.requests_served.add_one(),
        400..500 => counters.requests_refused.add_one(),
        500.. => counters.requests_failed.add_one(),
    }
    response
}
