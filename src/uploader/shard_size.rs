//! AdaptiveShardSize: how many bytes of an image go into one request, following the network (M8).
//!
//! A shard should take about a second. Shorter, and round trips and ledger entries cost more than
//! they need to; longer, and a connection that breaks costs too much. The kind of link says where
//! to start; then each acknowledged shard is measured. A shard's own bytes over its own time is
//! already its part of a link that it shared with all others in flight, so no count of them is
//! needed: when more are in flight each one measures less, and shards shrink until each takes a
//! second again.
//!
//! A failure halves the size, once for all shards that were in flight together: eight shards lost
//! to one broken connection are one event. And what a broken shard had no time for in so many
//! seconds is more than the link carries in them: the next one is no larger than fits into the time
//! that it should take. Above the size that failed last, growth is slow (as TCP's is above its
//! threshold), so that a lossy link is not thrown back and forth.
//!
//! No clock is read here: moments come in as the time since some fixed start.

use std::collections::VecDeque;
use std::time::Duration;

use heirloom_protocol::{LinkKind, ShardSize};

/// What a shard should take.
const TARGET: Duration = Duration::from_secs(1);
/// Weight of the newest measurement: three or four of them make a new average.
const NEWEST_WEIGHT: f64 = 0.4;
/// Above the size that failed last, a success allows this fraction of it more.
const CAREFUL_GROWTH: u64 = 8;
/// A measurement counts if the shard has at least this fraction of the present size: the time of a
/// small rest is mostly a round trip, and says nothing about bytes.
const COUNTED_FRACTION: u64 = 2;

/// The shard size of now, and what moves it.
#[derive(Clone, Debug)]
pub struct AdaptiveShardSize {
    link: LinkKind,
    shard: ShardSize,
    /// Bytes per second of one shard among those in flight.
    goodput: Option<f64>,
    /// Up to here growth is free; a failure puts it below the size that failed.
    threshold: u64,
    last_failure: Option<Duration>,
    meter: Meter,
}

/// A shard in flight.
#[derive(Clone, Copy, Debug)]
pub struct InFlight {
    bytes: u64,
    began: Duration,
}

impl AdaptiveShardSize {
    /// The pace of a link on which nothing was measured yet.
    pub fn starting_on(link: LinkKind) -> Self {
        Self {
            link,
            shard: ShardSize::initial(link),
            goodput: None,
            threshold: ShardSize::MAX.bytes(),
            last_failure: None,
            meter: Meter::default(),
        }
    }

    /// Begins anew if the link is of another kind now; what was measured on the old one says
    /// nothing about it.
    pub fn moved_to(&mut self, link: LinkKind) {
        if link != self.link {
            *self = Self {
                meter: std::mem::take(&mut self.meter),
                ..Self::starting_on(link)
            };
        }
    }

    /// The kind of link this started on.
    pub const fn link(&self) -> LinkKind {
        self.link
    }

    /// How large the next shard should be.
    pub const fn shard(&self) -> ShardSize {
        self.shard
    }

    /// Bytes acknowledged per second, all shards together, over the last few seconds.
    pub fn bytes_per_second(&self, now: Duration) -> u64 {
        self.meter.bytes_per_second(now)
    }

    /// A shard of `bytes` begins its way.
    pub const fn begin(&self, now: Duration, bytes: u64) -> InFlight {
        InFlight { bytes, began: now }
    }

    /// The server has it.
    pub fn acknowledged(&mut self, shard: InFlight, now: Duration) {
        self.meter.add(now, shard.bytes);
        if shard.bytes.saturating_mul(COUNTED_FRACTION) < self.shard.bytes() {
            return;
        }
        let seconds = now.saturating_sub(shard.began).as_secs_f64().max(1e-6);
        self.measured(as_f64(shard.bytes) / seconds);
    }

    /// It did not get there, or not in one piece.
    pub fn failed(&mut self, shard: InFlight, now: Duration) {
        if self.last_failure.is_some_and(|last| shard.began < last) {
            return;
        }
        self.last_failure = Some(now);
        self.shard = self.shard.shrunk();
        self.threshold = self.shard.bytes();
        let seconds = now.saturating_sub(shard.began).as_secs_f64().max(1e-6);
        let carried_at_most = as_bytes(as_f64(shard.bytes) / seconds * TARGET.as_secs_f64());
        while self.shard.bytes() > carried_at_most {
            self.shard = self.shard.toward(carried_at_most);
        }
        // What was believed before would pull the size straight back up.
        self.goodput = self
            .goodput
            .map(|goodput| goodput.min(as_f64(self.shard.bytes())));
    }

    fn measured(&mut self, bytes_per_second: f64) {
        let goodput = match self.goodput {
            Some(before) => before + NEWEST_WEIGHT * (bytes_per_second - before),
            None => bytes_per_second,
        };
        self.goodput = Some(goodput);
        let wanted = as_bytes(goodput * TARGET.as_secs_f64());
        if wanted > self.threshold {
            self.threshold = self
                .threshold
                .saturating_add(self.threshold / CAREFUL_GROWTH)
                .min(ShardSize::MAX.bytes());
        }
        self.shard = self.shard.toward(wanted.min(self.threshold));
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "bytes of a few seconds are far below 2^52"
)]
const fn as_f64(bytes: u64) -> f64 {
    bytes as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to the range of shard sizes"
)]
const fn as_bytes(bytes: f64) -> u64 {
    bytes.clamp(
        as_f64(ShardSize::MIN.bytes()),
        as_f64(ShardSize::MAX.bytes()),
    ) as u64
}

/// Adds up what all shards together brought over, for people to look at.
#[derive(Clone, Debug, Default)]
struct Meter {
    /// Bytes acknowledged in each tick that had any, ascending.
    ticks: VecDeque<(u64, u64)>,
}

impl Meter {
    const TICK_MS: u128 = 250;
    const TICKS_PER_SECOND: u64 = 4;
    /// Five seconds: steady enough to read, soon enough to believe.
    const TICKS_MAX: u64 = 20;

    fn tick(now: Duration) -> u64 {
        u64::try_from(now.as_millis() / Self::TICK_MS).unwrap_or(u64::MAX)
    }

    fn add(&mut self, now: Duration, bytes: u64) {
        let tick = Self::tick(now);
        match self.ticks.back_mut() {
            Some((last, sum)) if *last >= tick => *sum += bytes,
            Some(_) | None => self.ticks.push_back((tick, bytes)),
        }
        while self
            .ticks
            .front()
            .is_some_and(|(first, _)| first + Self::TICKS_MAX < tick)
        {
            self.ticks.pop_front();
        }
    }

    fn bytes_per_second(&self, now: Duration) -> u64 {
        let tick = Self::tick(now);
        let recent = self
            .ticks
            .iter()
            .filter(|(then, _)| then + Self::TICKS_MAX > tick);
        let (first, sum) = recent.fold((tick, 0), |(first, sum), (then, bytes)| {
            (first.min(*then), sum + bytes)
        });
        // At least one second: a single shard of a moment ago is no rate.
        let ticks = (tick - first + 1).max(Self::TICKS_PER_SECOND);
        sum * Self::TICKS_PER_SECOND / ticks
    }
}

#[cfg(test)]
mod tests;
