//! What an administrator says about the trash. Nothing of it goes over the network: whoever takes a device, or all of them,
//! can fill the trash and not empty it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use clap::Subcommand;

use super::admin::{Book, Where};
use super::words;

/// Photos purged in one transaction: small enough not to hold up those who write.
const BATCH: u32 = 100;

#[derive(Debug, Subcommand)]
pub(crate) enum TrashCommand {
    /// Forgets what is in the trash, before its time; it cannot be restored afterwards
    Purge {
        /// Only this user's; without it, everybody's
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// Only what was removed at least so long ago: 12h, 7d
        #[arg(long, value_name = "AGE", value_parser = words::duration)]
        older: Option<Duration>,
        #[command(flatten)]
        at: Where,
    },
}

impl TrashCommand {
    /// Answers what to print.
    pub(crate) async fn carry_out(self) -> anyhow::Result<String> {
        let Self::Purge { user, older, at } = self;
        let book = Book::open(&at.data).await?;
        let purged = purge(&book, user.as_deref(), older.unwrap_or_default()).await;
        book.close().await;
        Ok(format!("purged {} photos", purged?))
    }
}

async fn purge(book: &Book, user: Option<&str>, older: Duration) -> anyhow::Result<u64> {
    let whose = match user {
        None => None,
        Some(name) => {
            let found = book.index.user_named(name).await.context("look for the user")?;
            Some(found.with_context(|| format!("there is no user named {name}"))?)
        }
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the machine's clock is wrong")?;
    let before_ms = i64::try_from(now.saturating_sub(older).as_millis()).context("the machine's clock is wrong")?;
    let mut purged = 0;
    loop {
        // What is removed from now on stays, however long this takes.
        let some =
            book.index.purge_trash(whose, before_ms.saturating_add(1), BATCH).await.context("purge the trash")?;
        if some == 0 {
            return Ok(purged);
        }
        purged += some;
    }
}
