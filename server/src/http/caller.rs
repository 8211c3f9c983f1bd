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
    let Some(caller) = accounts.caller(token).await? else {
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
    let (Some(only), None) = (all.next(), all.next()) else { return None };
    let (scheme, token) = only.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start())
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
        parts.extensions.get::<Caller>().cloned().map(Self).ok_or_else(|| ErrorCode::LoginNeeded.into())
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
    use super::*;

    #[test]
    fn a_token_is_read_from_exactly_one_bearer_header() {
        let one = |value: &'static str| HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]);
        assert_eq!(bearer(&one("Bearer abc")), Some("abc"));
        assert_eq!(bearer(&one("bearer  abc")), Some("abc"));
        assert_eq!(bearer(&one("Basic abc")), None);
        assert_eq!(bearer(&one("Bearer")), None);
        assert_eq!(bearer(&HeaderMap::new()), None);
        let mut two = one("Bearer abc");
        two.append(AUTHORIZATION, "Bearer def".parse().unwrap());
        assert_eq!(bearer(&two), None);
    }
}
