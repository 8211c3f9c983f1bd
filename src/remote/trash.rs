//! The trash, as the server lists it.

use heirloom_protocol::message::TrashPage;
use heirloom_protocol::route;

use super::api_client::ApiRequest;
use super::{Remote, RemoteError};

impl Remote {
    /// What was removed from the library, or replaced in it: a page behind the version `after`.
    pub async fn trash(&self, after: u64) -> Result<TrashPage, RemoteError> {
        self.client
            .json(ApiRequest::get(
                "read the trash",
                &route::library_trash(after),
            ))
            .await
    }
}
