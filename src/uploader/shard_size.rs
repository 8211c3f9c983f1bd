//! The adaptive shard size: how many bytes of an image go into one request on the present network.
//!
//! A shard should take about a second. With shorter ones, round trips and ledger entries cost more
//! than they need to; with longer ones, a connection that breaks costs too much. The kind of link
//! sets the first size; then each acknowledged shard is measured. The measured rate of one shard is
//! already its share of a link that carries all shards in flight, so their number is not needed:
//! with more in flight each one measures less, and shards shrink until each takes a second again.
//!
//! A failure halves the size, once for all shards that were in flight together: eight shards lost
//! with one broken connection are one event. The time that a broken shard was in flight is also a
//! measurement: the link carries less than its bytes in that time, so the next shard is no larger
//! than fits into the target time at that rate. Above the size that failed last, growth is slow (as
//! TCP's is above its threshold), so that the size does not oscillate on a lossy link.
//!
//! No clock is read here: times are passed in, as the time since some fixed start.

use std::collections::VecDeque;
use std::time::Duration;

use heirloom_protocol::{LinkKind, ShardSize};

/// How long a shard should be in flight.
const TARGET: Duration = Duration::from_secs(1);
/// Weight of the newest measurement in the average: three or four of them replace it.
const NEWEST_WEIGHT: f64 = 0.4;
/// Above the size that failed last, a success adds one part in this many.
const SLOW_GROWTH: u64 = 8;
/// A shard is measured if it has at least one part in this many of the present size: the time of a
/// small remainder is mostly a round trip, and says nothing about bytes.
const MEASURED_FRACTION: u64 = 2;

/// The present shard size, and the measurements that it follows.
#[derive(Clone, Debug)]
pub struct AdaptiveShardSize {
    link: LinkKind,
    current: ShardSize,
    /// Bytes per second of one shard among those in flight.
    goodput: Option<f64>,
    /// Growth is free up to here; a failure sets it to the size after the failure.
    threshold: u64,
    last_failure: Option<Duration>,
    throughput: ThroughputMeter,
}

/// A shard in flight: its size, and when it was sent.
#[derive(Clone, Copy, Debug)]
pub struct InFlightShard {
    bytes: u64,
    sent_at: Duration,
}

impl AdaptiveShardSize {
    /// The size for a link on which nothing was measured yet.
    pub fn starting_on(link: LinkKind) -> Self {
        Self {
            link,
            current: ShardSize::initial(link),
            goodput: None,
            threshold: ShardSize::MAX.bytes(),
            last_failure: None,
            throughput: ThroughputMeter::default(),
        }
    }

    /// Starts over if the link is of another kind now: measurements of the old one do not apply.
    pub fn on_link_change(&mut self, link: LinkKind) {
        if link != self.link {
            *self = Self {
                throughput: std::mem::take(&mut self.throughput),
                ..Self::starting_on(link)
            };
        }
    }

    /// The kind of link that set the first size.
    pub const fn link(&self) -> LinkKind {
        self.link
    }

    /// The size that the next shard should have.
    pub const fn current(&self) -> ShardSize {
        self.current
    }

    /// Bytes acknowledged per second, over all shards and the last few seconds.
    pub fn bytes_per_second(&self, now: Duration) -> u64 {
        self.throughput.bytes_per_second(now)
    }

    /// Starts to measure a shard of `bytes` that is sent now.
    pub const fn start(&self, now: Duration, bytes: u64) -> InFlightShard {
        InFlightShard {
            bytes,
            sent_at: now,
        }
    }

    /// The server acknowledged the shard.
    pub fn on_success(&mut self, shard: InFlightShard, now: Duration) {
        self.throughput.add(now, shard.bytes);
        if shard.bytes.saturating_mul(MEASURED_FRACTION) < self.current.bytes() {
            return;
        }
        let seconds = now.saturating_sub(shard.sent_at).as_secs_f64().max(1e-6);
        self.add_measurement(as_f64(shard.bytes) / seconds);
    }

    /// The network lost or damaged the shard.
    pub fn on_failure(&mut self, shard: InFlightShard, now: Duration) {
        if self.last_failure.is_some_and(|last| shard.sent_at < last) {
            return;
        }
        self.last_failure = Some(now);
        self.current = self.current.shrunk();
        self.threshold = self.current.bytes();
        let seconds = now.saturating_sub(shard.sent_at).as_secs_f64().max(1e-6);
        let carried_at_most = as_bytes(as_f64(shard.bytes) / seconds * TARGET.as_secs_f64());
        while self.current.bytes() > carried_at_most {
            self.current = self.current.toward(carried_at_most);
        }
        // The old average would pull the size straight back up.
        self.goodput = self
            .goodput
            .map(|goodput| goodput.min(as_f64(self.current.bytes())));
    }

    fn add_measurement(&mut self, bytes_per_second: f64) {
        let goodput = match self.goodput {
            Some(before) => before + NEWEST_WEIGHT * (bytes_per_second - before),
            None => bytes_per_second,
        };
        self.goodput = Some(goodput);
        let wanted = as_bytes(goodput * TARGET.as_secs_f64());
        if wanted > self.threshold {
            self.threshold = self
                .threshold
                .saturating_add(self.threshold / SLOW_GROWTH)
                .min(ShardSize::MAX.bytes());
        }
        self.current = self.current.toward(wanted.min(self.threshold));
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

/// The throughput of all shards together, for `status`.
#[derive(Clone, Debug, Default)]
struct ThroughputMeter {
    /// The ticks in which bytes were acknowledged, ascending, with those bytes.
    ticks: VecDeque<(u64, u64)>,
}

impl ThroughputMeter {
    const TICK_MS: u128 = 250;
    const TICKS_PER_SECOND: u64 = 4;
    /// Five seconds: long enough for a steady number, short enough to follow the network.
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
        // At least one second: a single shard just now is no rate.
        let ticks = (tick - first + 1).max(Self::TICKS_PER_SECOND);
        sum * Self::TICKS_PER_SECOND / ticks
    }
}

#[cfg(test)]
mod tests;
