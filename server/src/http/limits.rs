//! What holds for every request, whatever it asks for.

use axum::extract::Request;
use axum::http::header::HOST;
use axum::http::{HeaderMap, HeaderValue, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use heirloom_protocol::ErrorCode;
use tracing::Instrument as _;
use tracing::field::Empty;

use super::Refusal;
use super::body::TimedBody;

/// Stands before all routes: refuses what RFC 9112 says a server must refuse, and puts the body
/// under its time limits. What is logged below carries the request's span; its path names images,
/// never files.
pub(super) async fn sane(request: Request, next: Next) -> Response {
    let mut response = if let Some(refusal) = unsound(&request) {
        refusal.into_response()
    } else {
        let span = tracing::info_span!("request", method = %request.method(), path = request.uri().path(), user = Empty);
        next.run(TimedBody::around(request)).instrument(span).await
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

/// RFC 9112 section 3.2: exactly one Host. Without it, what stands behind a proxy cannot be told
/// apart.
fn unsound(request: &Request) -> Option<Refusal> {
    let hosts = request.headers().get_all(HOST).iter().count();
    let needed = request.version() == Version::HTTP_11;
    if hosts > 1 || (needed && hosts == 0) {
        return Some(
            Refusal::because(ErrorCode::MalformedRequest, "a request has one Host").and_close(),
        );
    }
    None
}
