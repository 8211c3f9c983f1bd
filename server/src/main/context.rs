//! The data directory of a server, opened for one administrator command.
//!
//! Whoever can write to the data directory may run these commands; none of them is available over
//! the network. A running server notices changes to users and devices within seconds, because it
//! caches tokens only for that long.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use heirloom_server::accounts::Accounts;
use heirloom_server::blobs::LocalBlobStore;
use heirloom_server::config::DataDir;
use heirloom_server::index::Index;

/// The argument that names the server: `--data DIR`.
#[derive(Debug, Args)]
pub(crate) struct DataDirArgument {
    /// The server's data directory
    #[arg(long = "data", value_name = "DIR")]
    pub(crate) path: PathBuf,
}

/// The opened data directory of a server. Close it with [`AdminContext::close`].
pub(crate) struct AdminContext {
    pub(crate) index: Index,
    pub(crate) accounts: Accounts,
    data: DataDir,
}

impl AdminContext {
    /// Opens the data directory at `path`, and creates it if it is missing.
    pub(crate) async fn open(path: &Path) -> anyhow::Result<Self> {
        let data = DataDir::open(path)?;
        let index = Index::open(&data.index_url())
            .await
            .context("cannot open the index")?;
        Ok(Self {
            accounts: Accounts::new(index.clone()),
            index,
            data,
        })
    }

    /// Opens the stored images.
    pub(crate) async fn blobs(&self) -> anyhow::Result<Arc<LocalBlobStore>> {
        let blobs = LocalBlobStore::open(&self.data)
            .await
            .context("cannot open the image store")?;
        Ok(Arc::new(blobs))
    }

    /// Closes the index, so that its write-ahead log is merged.
    pub(crate) async fn close(self) {
        self.index.close().await;
    }
}
