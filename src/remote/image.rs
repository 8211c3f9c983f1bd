//! Images back: the bytes of a part, and nothing else in their place.

use bytes::Bytes;
use heirloom_protocol::message::{FreshReceipt, WantedPage};
use heirloom_protocol::{ByteRange, ErrorCode, Fingerprint, route};
use hyper::StatusCode;
use hyper::header::CONTENT_RANGE;

use super::api_client::ApiRequest;
use super::api_response::ApiResponse;
use super::{Remote, RemoteError, is_of, reading_time};

const DOING: &str = "fetch a part of an image";

impl Remote {
    /// The bytes `range` of an image of `size` bytes. `heard` is called whenever some of them have
    /// come, so that a slow link can be told from a dead one. May be dropped at any point.
    ///
    /// Whether they are the image's is for the caller to find out: only SHA-256 of the whole can
    /// tell.
    pub async fn image_range(
        &self,
        fingerprint: Fingerprint,
        size: u64,
        range: ByteRange,
        heard: &(dyn Fn() + Sync),
    ) -> Result<Bytes, RemoteError> {
        let tag = format!("\"{fingerprint}\"");
        let ask = ApiRequest::part(DOING, &route::image(fingerprint), range, &tag);
        part_of(self.client.bytes(ask, heard).await?, size, range)
    }
}

impl Remote {
    /// Asks the server to read an image of `size` bytes again: its receipt if the stored bytes are
    /// right, nothing if it has none, or no right ones.
    pub async fn fresh_receipt(
        &self,
        fingerprint: Fingerprint,
        size: u64,
    ) -> Result<Option<FreshReceipt>, RemoteError> {
        const DOING: &str = "have an image verified";
        let ask = ApiRequest::get(DOING, &route::fresh_receipt(fingerprint))
            .extend_timeout(reading_time(size));
        match self.client.json::<FreshReceipt>(ask).await {
            Ok(fresh) if is_of(&fresh.receipt, fingerprint, Some(size)) => Ok(Some(fresh)),
            Ok(_) => Err(RemoteError::Malformed {
                doing: DOING,
                why: "it speaks of another image".to_owned(),
            }),
            Err(error) if error.code() == Some(ErrorCode::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Images of ours that the server found damaged, by ascending fingerprint behind `after`.
    pub async fn images_to_resend(
        &self,
        after: Option<Fingerprint>,
    ) -> Result<WantedPage, RemoteError> {
        self.client
            .json(ApiRequest::get(
                "ask which images to send again",
                &route::wanted(after),
            ))
            .await
    }
}

/// The part that was asked for. A server or proxy may answer with the whole instead (RFC 9110
/// section 14.2).
fn part_of(answer: ApiResponse, size: u64, range: ByteRange) -> Result<Bytes, RemoteError> {
    let malformed = |why: String| RemoteError::Malformed { doing: DOING, why };
    let length = answer.body.len() as u64;
    match answer.status {
        StatusCode::PARTIAL_CONTENT => {
            let expected = format!("bytes {}-{}/{size}", range.start(), range.end() - 1);
            let said = answer
                .headers
                .get(CONTENT_RANGE)
                .and_then(|said| said.to_str().ok())
                .unwrap_or_default();
            if said != expected || length != range.len() {
                return Err(malformed(format!(
                    "{length} bytes as {said:?} where {expected:?} was asked for"
                )));
            }
            Ok(answer.body)
        }
        StatusCode::OK if length == size => {
            let (start, end) = (range.start(), range.end());
            let place =
                |at: u64| usize::try_from(at).map_err(|_| malformed("it is too long".to_owned()));
            Ok(answer.body.slice(place(start)?..place(end)?))
        }
        StatusCode::OK => Err(malformed(format!("{length} bytes of an image of {size}"))),
        _ => Err(answer.refusal(DOING)),
    }
}
