//! *CachePolicy room*: how much of the disk photos may take that the server has anyway.
//!
//! Looked at when something has come: a photo was backed up, or fetched. Nothing is looked at on a
//! clock.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::evictor::FREED_AT_A_TIME;
use super::{Fetcher, Inside};
use crate::background::run_blocking;

/// A burst of photos is let come together before anything is looked at.
const GATHERING: Duration = Duration::from_millis(500);
/// After a look that could free too little, so long nothing is looked at: what was in the way is
/// still there.
const VAIN_LOOK_GAP: Duration = Duration::from_secs(30);

/// A part of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeOrPercent {
    /// So many bytes.
    Bytes(u64),
    /// So many hundredths of the disk.
    Percent(u8),
}

/// A share that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither a size, such as 500M, 20G or 1T, nor a share of the disk, such as 50%")]
pub struct ParseSizeOrPercentError(String);

/// What is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CachePolicy {
    /// The most that files with their bytes here may take together; without limit if there is none.
    pub cache: Option<SizeOrPercent>,
    /// The least that is to stay free on the disk.
    pub floor: Option<SizeOrPercent>,
}

impl SizeOrPercent {
    fn of(self, disk_bytes: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Percent(percent) => disk_bytes / 100 * u64::from(percent),
        }
    }
}

impl FromStr for SizeOrPercent {
    type Err = ParseSizeOrPercentError;

    fn from_str(text: &str) -> Result<Self, ParseSizeOrPercentError> {
        let error = || ParseSizeOrPercentError(text.to_owned());
        if let Some(percent) = text.strip_suffix('%') {
            let percent = percent.parse().ok().filter(|percent| *percent <= 100);
            return percent.map(Self::Percent).ok_or_else(error);
        }
        let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
        let shift = match text[digits.len()..]
            .to_ascii_uppercase()
            .trim_end_matches("IB")
            .trim_end_matches('B')
        {
            "" => 0,
            "K" => 10,
            "M" => 20,
            "G" => 30,
            "T" => 40,
            _ => return Err(error()),
        };
        let number: u64 = digits.parse().map_err(|_| error())?;
        number
            .checked_mul(1 << shift)
            .map(Self::Bytes)
            .ok_or_else(error)
    }
}

impl std::fmt::Display for SizeOrPercent {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(formatter, "{bytes}"),
            Self::Percent(percent) => write!(formatter, "{percent}%"),
        }
    }
}

impl Fetcher {
    /// Keeps room from now on; `news` change when photos were backed up.
    pub fn enforce_cache_policy(&self, keeping: CachePolicy, news: watch::Receiver<u64>) {
        if keeping == CachePolicy::default() {
            return;
        }
        let (inside, stop) = (Arc::clone(&self.inside), self.inside.stop.clone());
        self.inside.runtime.spawn(async move {
            stop.run_until_cancelled_owned(inside.keep(keeping, news))
                .await;
        });
    }
}

impl Inside {
    async fn keep(self: Arc<Self>, keeping: CachePolicy, mut news: watch::Receiver<u64>) {
        let mut fetched = self.fetched.subscribe();
        loop {
            let looked = Instant::now();
            let inside = Arc::clone(&self);
            let excess = run_blocking(move || inside.excess(keeping)).await;
            let gap = if excess > 0 && !self.lower(keeping).await {
                VAIN_LOOK_GAP
            } else {
                GATHERING
            };
            tokio::select! {
                Ok(()) = news.changed() => {}
                Ok(()) = fetched.changed() => {}
                else => return,
            }
            sleep_until(looked + gap).await;
        }
    }

    /// Frees until it is enough; whether it is. Looked at anew after each photo: what a photo gives
    /// back is less than its size.
    async fn lower(self: &Arc<Self>, keeping: CachePolicy) -> bool {
        self.gather_receipts().await;
        let inside = Arc::clone(self);
        let (freed, left) = run_blocking(move || {
            let freed = inside.free_oldest(|_| inside.excess(keeping) > 0);
            (freed, inside.excess(keeping))
        })
        .await;
        tracing::info!(freed, left, "made room");
        left == 0
    }

    /// What another device sent has no receipt here. If the server is away, those keep their room
    /// until it is back.
    async fn gather_receipts(self: &Arc<Self>) {
        let inside = Arc::clone(self);
        let confirmed = match run_blocking(move || inside.without_receipt(FREED_AT_A_TIME)).await {
            Ok(found) => self.confirm(&found).await.map(drop),
            Err(error) => Err(error.into()),
        };
        if let Err(error) = confirmed {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "receipts that are missing cannot be had now"
            );
        }
    }

    /// By how much too much of the disk is taken, in bytes.
    fn excess(&self, keeping: CachePolicy) -> u64 {
        let disk = match self.spool.disk() {
            Ok(disk) => disk,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "how full the disk is cannot be told"
                );
                return 0;
            }
        };
        let (whole, free) = (disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize);
        let tally = self.journal.tally();
        let here = tally
            .backed_up
            .bytes
            .saturating_add(tally.pending.bytes)
            .saturating_add(tally.local.bytes);
        let over = keeping
            .cache
            .map_or(0, |share| here.saturating_sub(share.of(whole)));
        let short = keeping
            .floor
            .map_or(0, |share| share.of(whole).saturating_sub(free));
        over.max(short)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_shares_are_read_as_people_write_them() {
        for (text, share) in [
            ("0", SizeOrPercent::Bytes(0)),
            ("123", SizeOrPercent::Bytes(123)),
            ("64k", SizeOrPercent::Bytes(64 << 10)),
            ("500M", SizeOrPercent::Bytes(500 << 20)),
            ("20GB", SizeOrPercent::Bytes(20 << 30)),
            ("1TiB", SizeOrPercent::Bytes(1 << 40)),
            ("50%", SizeOrPercent::Percent(50)),
        ] {
            assert_eq!(text.parse(), Ok(share), "{text}");
            assert_eq!(
                share.to_string().parse(),
                Ok(share),
                "and it is read again as it is written"
            );
        }
        for text in ["", "G", "-1", "101%", "1.5G", "10X", "99999999999T", "%"] {
            assert_eq!(
                text.parse::<SizeOrPercent>(),
                Err(ParseSizeOrPercentError(text.to_owned()))
            );
        }
    }
}
