//! Numbers for those who run the server.

use std::fmt::Write as _;

use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::counters::SharedCounters;

/// Prometheus' text format, version 0.0.4.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `GET /metrics`
pub(super) async fn metrics(State(counters): State<SharedCounters>) -> impl IntoResponse {
    let mut text = String::new();
    for (name, caption, total) in counters.all() {
        writeln!(text, "# HELP {name} {caption}\n# TYPE {name} counter\n{name} {total}")
            .expect("a string takes everything");
    }
    ([(CONTENT_TYPE, TEXT_FORMAT)], text)
}

/// Stands before all routes and counts their answers.
pub(super) async fn count(State(counters): State<SharedCounters>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    match response.status().as_u16() {
        ..400 => counters.requests_served.add_one(),
        400..500 => counters.requests_refused.add_one(),
        500.. => counters.requests_failed.add_one(),
    }
    response
}
