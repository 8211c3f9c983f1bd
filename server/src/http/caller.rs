//! Authentication and authorization: bearer tokens (RFC 6750), and extractors by scope.

use axum::Extension;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use heirloom_protocol::ErrorCode;
use heirloom_protocol::message::Scope;

use super::{AuthLimits, ErrorResponse, PeerAddress};
use crate::accounts::{Accounts, Caller};

/// Middleware before every route for users. A request without a valid token is answered before its
/// body is read.
pub(super) async fn authenticate(
    State((accounts, limits)): State<(Accounts, AuthLimits)>,
    Extension(peer): Extension<PeerAddress>,
    mut request: Request,
    next: Next,
) -> Result<Response, ErrorResponse> {
    // A missing token is looked up like any other, so that the time to the error reveals nothing.
    let token = bearer(request.headers()).unwrap_or_default();
    let Some(caller) = accounts.authenticate(token).await? else {
        limits.anonymous(peer)?;
        return Err(ErrorCode::LoginNeeded.into());
    };
    tracing::Span::current().record("user", caller.user.0);
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

/// The bearer token; `None` unless there is exactly one `Authorization: Bearer ...` header.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (Some(only), None) = (all.next(), all.next()) else {
        return None;
    };
    let (scheme, token) = only.to_str().ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim_start())
}

/// Extractor: the authenticated user. Every valid token may read.
pub(super) struct CanRead(pub(super) Caller);

/// Extractor: the authenticated user, whose token may add photos.
pub(super) struct CanAdd(pub(super) Caller);

/// Extractor: the authenticated user, whose token may do everything the user may.
pub(super) struct IsOwner(pub(super) Caller);

impl<S: Sync> FromRequestParts<S> for CanRead {
    type Rejection = ErrorResponse;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ErrorResponse> {
        // A route for users that is not behind `authenticate` rejects everybody.
        parts
            .extensions
            .get::<Caller>()
            .cloned()
            .map(Self)
            .ok_or_else(|| ErrorCode::LoginNeeded.into())
    }
}

impl<S: Sync> FromRequestParts<S> for CanAdd {
    type Rejection = ErrorResponse;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ErrorResponse> {
        let CanRead(caller) = CanRead::from_request_parts(parts, state).await?;
        match caller.scope {
            Scope::Full | Scope::AppendOnly => Ok(Self(caller)),
            Scope::ReadOnly => Err(ErrorCode::ScopeTooNarrow.into()),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for IsOwner {
    type Rejection = ErrorResponse;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ErrorResponse> {
        let CanRead(caller) = CanRead::from_request_parts(parts, state).await?;
        match caller.scope {
            Scope::Full => Ok(Self(caller)),
            Scope::AppendOnly | Scope::ReadOnly => Err(ErrorCode::ScopeTooNarrow.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::http::StatusCode;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use hyper::service::Service as _;
    use hyper_util::service::TowerToHyperService;

    use super::*;
    use crate::config::{DataDir, RateLimits};
    use crate::index::Index;
    use crate::metrics::SharedCounters;

    #[test]
    fn a_token_is_read_from_exactly_one_bearer_header() {
        let one =
            |value: &'static str| HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]);
        assert_eq!(bearer(&one("Bearer abc")), Some("abc"));
        assert_eq!(bearer(&one("bearer  abc")), Some("abc"));
        assert_eq!(bearer(&one("Basic abc")), None);
        assert_eq!(bearer(&one("Bearer")), None);
        assert_eq!(bearer(&HeaderMap::new()), None);
        let mut two = one("Bearer abc");
        two.append(AUTHORIZATION, "Bearer def".parse().unwrap());
        assert_eq!(bearer(&two), None);
    }

    #[tokio::test]
    async fn an_address_that_guesses_tokens_is_limited_and_a_valid_token_still_works() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(folder.path()).unwrap();
        let accounts = Accounts::new(Index::open(&data.index_url()).await.unwrap());
        let token = accounts.add_user("anna").await.unwrap();
        let limits = RateLimits {
            anonymous_per_second: 5,
            ..RateLimits::default()
        };
        let auth_limits = AuthLimits::new(limits, SharedCounters::default());
        let service = Router::new()
            .route("/", get(|| async { "in" }))
            .layer(from_fn_with_state((accounts, auth_limits), authenticate))
            .layer(Extension(PeerAddress("192.0.2.1".parse().unwrap())));
        let service = TowerToHyperService::new(service);
        let ask = async |token: &str| {
            let request = Request::builder()
                .uri("/")
                .header(AUTHORIZATION, format!("Bearer {token}"));
            service
                .call(request.body(Body::empty()).unwrap())
                .await
                .unwrap()
                .status()
        };

        // The limit is five per second; a thousand requests take less time than that would allow.
        let mut status = StatusCode::UNAUTHORIZED;
        for guess in 0..1000 {
            status = ask(&format!("guess-{guess}")).await;
            if status != StatusCode::UNAUTHORIZED {
                break;
            }
        }

        assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(ask(&token).await, StatusCode::OK);
    }
}
