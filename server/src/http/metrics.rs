//! Numbers for those who run the server.

use std::fmt::Write as _;

use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Refusal;
use crate::index::Index;
use crate::metrics::SharedCounters;

/// Prometheus' text format, version 0.0.4.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What somebody should look at.
const DAMAGED: &str = "heirloom_images_damaged";

/// `GET /metrics`
pub(super) async fn metrics(
    State(counters): State<SharedCounters>,
    State(index): State<Index>,
) -> Result<impl IntoResponse, Refusal> {
    let damaged = index.corrupt_count().await?;
    let mut text = format!(
        "# HELP {DAMAGED} Images found damaged and not yet sent again\n# TYPE {DAMAGED} gauge\n{DAMAGED} {damaged}\n"
    );
    for (name, caption, total) in counters.all() {
        writeln!(
            text,
            "# HELP {name} {caption}\n# TYPE {name} counter\n{name} {total}"
        )
        .expect("a string takes everything");
    }
    Ok(([(CONTENT_TYPE, TEXT_FORMAT)], text))
}

/// Stands before all routes and counts their answers.
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
