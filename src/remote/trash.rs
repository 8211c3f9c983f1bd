//! The trash of the library on the server.

use heirloom_protocol::message::TrashPage;
use heirloom_protocol::route;

use super::api_request::ApiRequest;
use super::{Remote, RemoteError};

impl Remote {
    /// Photos that were removed from the library, or replaced in it: one page, of versions after
    /// `after`.
    pub async fn trash(&self, after: u64) -> Result<TrashPage, RemoteError> {
        self.client
            .json(ApiRequest::get(
                "read the trash",
                &route::library_trash(after),
            ))
            .await
    }
}
