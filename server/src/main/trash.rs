//! What an administrator says about the trash. Nothing of it goes over the network: whoever takes a
//! device, or all of them, can fill the trash and not empty it.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use clap::Subcommand;
use heirloom_server::blobs::{LocalBlobs, RemovedStats};
use heirloom_server::clock::Clock;
use heirloom_server::config::{DataDir, Graces};
use heirloom_server::gc::GarbageCollector;
use heirloom_server::index::UnreferencedStats;

use super::admin::{Book, Where};
use super::words;

/// Photos purged in one transaction: small enough not to hold up those who write.
const BATCH: u32 = 100;

#[derive(Debug, Subcommand)]
pub(crate) enum TrashCommand {
    /// Forgets what is in the trash, before its time; it cannot be restored afterwards. Frees the
    /// room of what nobody has any more
    Purge {
        /// Only this user's; without it, everybody's
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// Only what was removed at least so long ago: 12h, 7d
        #[arg(long, value_name = "AGE", value_parser = words::duration)]
        older: Option<Duration>,
        /// Free only what nobody has had for so long, and what the index has not known for so long;
        /// 0s for all of it, now
        #[arg(long, value_name = "TIME", value_parser = words::duration)]
        grace: Option<Duration>,
        #[command(flatten)]
        at: Where,
    },
}

impl TrashCommand {
    /// Answers what to print.
    pub(crate) async fn carry_out(self) -> anyhow::Result<String> {
        let Self::Purge {
            user,
            older,
            grace,
            at,
        } = self;
        let graces = grace.map_or_else(Graces::default, |grace| Graces {
            released: grace,
            stray: grace,
        });
        let book = Book::open(&at.data).await?;
        let report = clear(
            &book,
            &at,
            user.as_deref(),
            older.unwrap_or_default(),
            graces,
        )
        .await;
        book.close().await;
        report
    }
}

async fn clear(
    book: &Book,
    at: &Where,
    user: Option<&str>,
    older: Duration,
    graces: Graces,
) -> anyhow::Result<String> {
    let blobs = LocalBlobs::open(&DataDir::open(&at.data)?)
        .await
        .context("open the stored images")?;
    let clearing = GarbageCollector::new(
        book.index.clone(),
        Arc::new(blobs),
        Clock::default(),
        Arc::default(),
    );
    let purged = purge(book, user, older).await?;
    let freed = clearing.collect_unreferenced(graces.released).await?;
    let strays = clearing.collect_orphans(graces.stray).await?;
    let waiting = book
        .index
        .unreferenced_stats()
        .await
        .context("count what waits")?;
    Ok(report(purged, freed, strays, waiting))
}

fn report(
    purged: u64,
    freed: RemovedStats,
    strays: RemovedStats,
    waiting: UnreferencedStats,
) -> String {
    let mut lines = vec![
        format!("purged {purged} photos"),
        format!(
            "freed {} images, {} bytes",
            freed.images + strays.images,
            freed.bytes + strays.bytes
        ),
    ];
    if waiting.images > 0 {
        let UnreferencedStats { images, bytes } = waiting;
        lines.push(format!(
            "{images} more, {bytes} bytes, are freed a day after somebody last had them (now: --grace 0s)"
        ));
    }
    lines.join("\n")
}

async fn purge(book: &Book, user: Option<&str>, older: Duration) -> anyhow::Result<u64> {
    let whose = match user {
        None => None,
        Some(name) => {
            let found = book
                .index
                .user_named(name)
                .await
                .context("look for the user")?;
            Some(found.with_context(|| format!("there is no user named {name}"))?)
        }
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the machine's clock is wrong")?;
    let before_ms = i64::try_from(now.saturating_sub(older).as_millis())
        .context("the machine's clock is wrong")?;
    let mut purged = 0;
    loop {
        // What is removed from now on stays, however long this takes.
        let some = book
            .index
            .purge_trash(whose, before_ms.saturating_add(1), BATCH)
            .await
            .context("purge the trash")?;
        if some == 0 {
            return Ok(purged);
        }
        purged += some;
    }
}
