//! Middleware for every request: exactly one Host, time limits on the body, a span for the log, and
//! the response headers that all responses share.

use axum::extract::Request;
use axum::http::header::HOST;
use axum::http::{HeaderMap, HeaderValue, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use heirloom_protocol::ErrorCode;
use tracing::Instrument as _;
use tracing::field::Empty;

use super::ErrorResponse;
use super::body::TimedBody;

/// Wraps all routes: rejects what RFC 9112 requires a server to reject, and puts the body under its
/// time limits. Log lines further down carry the request's span; its path names images by
/// fingerprint and never files.
pub(super) async fn guard(request: Request, next: Next) -> Response {
    let mut response = if let Some(error) = host_error(&request) {
        error.into_response()
    } else {
        let span = tracing::info_span!(
            "request",
            method = %request.method(),
            path = request.uri().path(),
            user = Empty
        );
        next.run(TimedBody::wrap(request)).instrument(span).await
    };
    let headers: &mut HeaderMap = response.headers_mut();
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// RFC 9112 section 3.2: exactly one Host. Without it, the servers behind one proxy cannot be told
/// apart.
fn host_error(request: &Request) -> Option<ErrorResponse> {
    let hosts = request.headers().get_all(HOST).iter().count();
    let required = request.version() == Version::HTTP_11;
    if hosts > 1 || (required && hosts == 0) {
        let detail = "a request must have exactly one Host header";
        return Some(ErrorResponse::new(ErrorCode::MalformedRequest, detail).closing_connection());
    }
    None
}
