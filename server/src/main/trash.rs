//! `heirloom-server trash`: removes photos from the trash for good.
//!
//! This is not available over the network: somebody who takes over a device, or all of them, can
//! fill the trash but not empty it.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use clap::Subcommand;
use heirloom_server::accounts::AccountError;
use heirloom_server::blobs::RemovedStats;
use heirloom_server::clock::Clock;
use heirloom_server::config::GracePeriods;
use heirloom_server::gc::GarbageCollector;
use heirloom_server::index::UnreferencedStats;
use heirloom_support::units::parse_duration;

use super::context::{AdminContext, DataDirArgument};

/// Photos purged per transaction: few enough not to block writers.
const BATCH: u32 = 100;

/// Manages the trash.
#[derive(Debug, Subcommand)]
pub(crate) enum TrashCommand {
    /// Delete photos in the trash permanently, and free the disk space of images nobody uses
    Purge {
        /// Only photos of this user; by default, of all users
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// Only photos that have been in the trash for at least this long, such as 12h or 7d
        #[arg(long, value_name = "TIME", value_parser = parse_duration)]
        older: Option<Duration>,
        /// Only free images that have been unused for at least this long (0s: all, immediately)
        ///
        /// By default, images unused for a day are freed, and images unknown to the index after 30
        /// days.
        #[arg(long, value_name = "TIME", value_parser = parse_duration)]
        grace: Option<Duration>,
        #[command(flatten)]
        data: DataDirArgument,
    },
}

impl TrashCommand {
    /// Runs the command and returns the text to print.
    pub(crate) async fn run(self) -> anyhow::Result<String> {
        let Self::Purge {
            user,
            older,
            grace,
            data,
        } = self;
        let grace_periods = grace.map_or_else(GracePeriods::default, |grace| GracePeriods {
            unreferenced: grace,
            orphaned: grace,
        });
        let context = AdminContext::open(&data.path).await?;
        let older = older.unwrap_or_default();
        let output = purge(&context, user.as_deref(), older, grace_periods).await;
        context.close().await;
        output
    }
}

/// Purges the trash, then collects the images that nothing refers to any more.
async fn purge(
    context: &AdminContext,
    user: Option<&str>,
    older: Duration,
    grace_periods: GracePeriods,
) -> anyhow::Result<String> {
    let gc = GarbageCollector::new(
        context.index.clone(),
        context.blobs().await?,
        Clock::default(),
        Arc::default(),
    );
    let purged = purge_photos(context, user, older).await?;
    let unreferenced = gc.collect_unreferenced(grace_periods.unreferenced).await?;
    let orphaned = gc.collect_orphans(grace_periods.orphaned).await?;
    let waiting = context
        .index
        .unreferenced_stats()
        .await
        .context("cannot count the unused images")?;
    Ok(describe(purged, unreferenced, orphaned, waiting))
}

fn describe(
    purged: u64,
    unreferenced: RemovedStats,
    orphaned: RemovedStats,
    waiting: UnreferencedStats,
) -> String {
    let mut lines = vec![
        format!("purged {purged} photos"),
        format!(
            "freed {} images, {} bytes",
            unreferenced.images + orphaned.images,
            unreferenced.bytes + orphaned.bytes
        ),
    ];
    if waiting.images > 0 {
        let UnreferencedStats { images, bytes } = waiting;
        lines.push(format!(
            "{images} more, {bytes} bytes, are freed a day after their last use (now: --grace 0s)"
        ));
    }
    lines.join("\n")
}

/// Purges the photos of a user, or of all users, that were removed at least `older` ago. Returns
/// how many.
async fn purge_photos(
    context: &AdminContext,
    user: Option<&str>,
    older: Duration,
) -> anyhow::Result<u64> {
    let index = &context.index;
    let user = match user {
        None => None,
        Some(name) => {
            let found = index
                .user_named(name)
                .await
                .context("cannot look up the user")?;
            Some(found.ok_or_else(|| AccountError::NoSuchUser(name.to_owned()))?)
        }
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock of this machine is wrong")?;
    let before_ms = i64::try_from(now.saturating_sub(older).as_millis())
        .context("the clock of this machine is wrong")?;
    let mut purged = 0;
    loop {
        // Photos removed after `now` stay, however long this takes.
        let batch = index
            .purge_trash(user, before_ms.saturating_add(1), BATCH)
            .await
            .context("cannot purge the trash")?;
        if batch == 0 {
            return Ok(purged);
        }
        purged += batch;
    }
}
