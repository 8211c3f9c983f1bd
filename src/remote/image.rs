//! Requests about stored images: download a byte range, verify an image, list the damaged ones.

use bytes::Bytes;
use heirloom_protocol::message::{FreshReceipt, WantedPage};
use heirloom_protocol::{ByteRange, ErrorCode, Fingerprint, route};
use hyper::StatusCode;
use hyper::header::CONTENT_RANGE;

use super::api_request::ApiRequest;
use super::api_response::{ApiResponse, is_receipt_for};
use super::{Remote, RemoteError, server_read_time};

const DOWNLOADING: &str = "download a part of an image";

impl Remote {
    /// Downloads the bytes `range` of an image of `size` bytes. `on_data` is called whenever some
    /// of them arrived, so that a slow link can be told from a dead one. May be dropped at any
    /// point.
    ///
    /// The caller has to verify the bytes: only SHA-256 of the whole image can.
    pub async fn image_range(
        &self,
        fingerprint: Fingerprint,
        size: u64,
        range: ByteRange,
        on_data: &(dyn Fn() + Sync),
    ) -> Result<Bytes, RemoteError> {
        let tag = format!("\"{fingerprint}\"");
        let request = ApiRequest::range(DOWNLOADING, &route::image(fingerprint), range, &tag);
        range_of(self.client.bytes(request, on_data).await?, size, range)
    }

    /// Asks the server to read an image of `size` bytes again. Returns its receipt if the stored
    /// bytes are right, nothing if there are none or wrong ones.
    pub async fn fresh_receipt(
        &self,
        fingerprint: Fingerprint,
        size: u64,
    ) -> Result<Option<FreshReceipt>, RemoteError> {
        const DOING: &str = "verify an image";
        let request = ApiRequest::get(DOING, &route::fresh_receipt(fingerprint))
            .extend_timeout(server_read_time(size));
        match self.client.json::<FreshReceipt>(request).await {
            Ok(fresh) if is_receipt_for(&fresh.receipt, fingerprint, Some(size)) => Ok(Some(fresh)),
            Ok(_) => Err(RemoteError::Malformed {
                doing: DOING,
                why: "it is about another image".to_owned(),
            }),
            Err(error) if error.code() == Some(ErrorCode::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Images of this user that the server found damaged, so that they have to be sent again: one
    /// page, by ascending fingerprint, after `after`.
    pub async fn images_to_resend(
        &self,
        after: Option<Fingerprint>,
    ) -> Result<WantedPage, RemoteError> {
        self.client
            .json(ApiRequest::get(
                "list the images to send again",
                &route::wanted(after),
            ))
            .await
    }
}

/// The requested range. A server or proxy may respond with the whole image instead (RFC 9110
/// section 14.2).
fn range_of(response: ApiResponse, size: u64, range: ByteRange) -> Result<Bytes, RemoteError> {
    let malformed = |why: String| RemoteError::Malformed {
        doing: DOWNLOADING,
        why,
    };
    let length = response.body.len() as u64;
    match response.status {
        StatusCode::PARTIAL_CONTENT => {
            let expected = format!("bytes {}-{}/{size}", range.start(), range.end() - 1);
            let returned = response
                .headers
                .get(CONTENT_RANGE)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default();
            if returned != expected || length != range.len() {
                return Err(malformed(format!(
                    "{length} bytes as {returned:?} instead of {expected:?}"
                )));
            }
            Ok(response.body)
        }
        StatusCode::OK if length == size => {
            let (start, end) = (range.start(), range.end());
            let index = |offset: u64| {
                usize::try_from(offset)
                    .map_err(|_| malformed("the response is too long".to_owned()))
            };
            Ok(response.body.slice(index(start)?..index(end)?))
        }
        StatusCode::OK => Err(malformed(format!("{length} bytes of an image of {size}"))),
        _ => Err(response.refusal(DOWNLOADING)),
    }
}
