//! Who is asking: the bearer token (RFC 6750), before anything else of the request is looked at.

use axum::Extension;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use heirloom_protocol::ErrorCode;
use heirloom_protocol::message::Scope;

use super::{Peer, Refusal, Restraint};
use crate::accounts::{Accounts, Caller};

/// Stands before every route for users. A refusal leaves before the body was read.
pub(super) async fn let_in(
    State((accounts, restraint)): State<(Accounts, Restraint)>,
    Extension(peer): Extension<Peer>,
    mut request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    // A missing token is looked up like any other: how long a refusal takes tells nothing.
    let token = bearer(request.headers()).unwrap_or_default();
    let Some(caller) = accounts.authenticate(token).await? else {
        restraint.stranger(peer)?;
        return Err(ErrorCode::LoginNeeded.into());
    };
    tracing::Span::current().record("user", caller.user.0);
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

/// The token; none if there is not exactly one `Authorization: Bearer ...`.
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

/// The user whom [`let_in`] let in, by whatever token: may read.
pub(super) struct Asking(pub(super) Caller);

/// The same by a token that may add.
pub(super) struct Adding(pub(super) Caller);

/// The same by a token that may do all that its user may.
pub(super) struct Owning(pub(super) Caller);

impl<S: Sync> FromRequestParts<S> for Asking {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        // A route for users that was not put behind `let_in` lets nobody in.
        parts
            .extensions
            .get::<Caller>()
            .cloned()
            .map(Self)
            .ok_or_else(|| ErrorCode::LoginNeeded.into())
    }
}

impl<S: Sync> FromRequestParts<S> for Adding {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let Asking(caller) = Asking::from_request_parts(parts, state).await?;
        match caller.scope {
            Scope::Full | Scope::AppendOnly => Ok(Self(caller)),
            Scope::ReadOnly => Err(ErrorCode::ScopeTooNarrow.into()),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Owning {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let Asking(caller) = Asking::from_request_parts(parts, state).await?;
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
    async fn an_address_that_guesses_tokens_is_asked_to_wait_and_a_right_one_is_let_in_all_the_same()
     {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(folder.path()).unwrap();
        let accounts = Accounts::new(Index::open(&data.index_url()).await.unwrap());
        let token = accounts.add_user("anna").await.unwrap();
        let limits = RateLimits {
            strangers_per_second: 5,
            ..RateLimits::default()
        };
        let restraint = Restraint::new(limits, SharedCounters::default());
        let door = Router::new()
            .route("/", get(|| async { "in" }))
            .layer(from_fn_with_state((accounts, restraint), let_in))
            .layer(Extension(Peer("192.0.2.1".parse().unwrap())));
        let door = TowerToHyperService::new(door);
        let ask = async |token: &str| {
            let request = Request::builder()
                .uri("/")
                .header(AUTHORIZATION, format!("Bearer {token}"));
            door.call(request.body(Body::empty()).unwrap())
                .await
                .unwrap()
                .status()
        };

        // Five in a second are let pass: a thousand take less time than that would.
        let mut refused = StatusCode::UNAUTHORIZED;
        for guess in 0..1000 {
            refused = ask(&format!("guess-{guess}")).await;
            if refused != StatusCode::UNAUTHORIZED {
                break;
            }
        }

        assert_eq!(refused, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(ask(&token).await, StatusCode::OK);
    }
}
