//! The adaptive shard size on simulated links, which have a capacity shared by all shards in
//! flight, a round-trip time, and losses.

use proptest::prelude::*;

use super::*;

/// A simulated network link.
#[derive(Clone, Copy, Debug)]
struct SimulatedLink {
    bytes_per_second: u64,
    round_trip: Duration,
    in_flight: u64,
    /// One byte in this many is lost, and its shard with it; 0 for none.
    bytes_per_loss: u64,
}

impl SimulatedLink {
    const FAST: Self = Self {
        bytes_per_second: 100 << 20,
        round_trip: Duration::from_millis(2),
        in_flight: 4,
        bytes_per_loss: 0,
    };
    const SLOW: Self = Self {
        bytes_per_second: 256 << 10,
        round_trip: Duration::from_millis(300),
        in_flight: 4,
        bytes_per_loss: 0,
    };

    /// How long a shard takes when all in flight have its size.
    fn time(self, bytes: u64) -> Duration {
        self.round_trip
            + Duration::from_secs_f64(
                as_f64(bytes * self.in_flight) / as_f64(self.bytes_per_second),
            )
    }
}

/// A shard size with simulated time.
struct Simulation {
    size: AdaptiveShardSize,
    now: Duration,
    random: fastrand::Rng,
}

impl Simulation {
    fn on(link: LinkKind) -> Self {
        Self {
            size: AdaptiveShardSize::starting_on(link),
            now: Duration::ZERO,
            random: fastrand::Rng::with_seed(7),
        }
    }

    /// Sends shards; returns how long the last one took, and how many were lost.
    fn send(&mut self, shards: usize, link: SimulatedLink) -> (Duration, usize) {
        let mut took = Duration::ZERO;
        let mut lost = 0;
        for _ in 0..shards {
            let bytes = self.size.current().bytes();
            let shard = self.size.start(self.now, bytes);
            took = link.time(bytes);
            self.now += took;
            if link.bytes_per_loss > 0 && self.random.u64(0..link.bytes_per_loss) < bytes {
                self.size.on_failure(shard, self.now);
                lost += 1;
            } else {
                self.size.on_success(shard, self.now);
            }
        }
        (took, lost)
    }
}

fn about_a_second(took: Duration) -> bool {
    (Duration::from_millis(500)..Duration::from_secs(2)).contains(&took)
}

#[test]
fn a_slow_link_settles_at_one_shard_a_second() {
    for start in [
        LinkKind::Ethernet,
        LinkKind::Wifi,
        LinkKind::Cellular,
        LinkKind::Unknown,
    ] {
        let (took, _) = Simulation::on(start).send(20, SimulatedLink::SLOW);
        assert!(about_a_second(took), "from {start}: {took:?}");
    }
}

#[test]
fn a_fast_link_gets_the_largest_shards() {
    let mut simulation = Simulation::on(LinkKind::Cellular);
    simulation.send(
        12,
        SimulatedLink {
            in_flight: 1,
            ..SimulatedLink::FAST
        },
    );
    assert_eq!(simulation.size.current(), ShardSize::MAX);
}

#[test]
fn the_size_follows_a_link_that_changes_both_ways() {
    let mut simulation = Simulation::on(LinkKind::Wifi);
    let (took, _) = simulation.send(20, SimulatedLink::FAST);
    assert!(
        simulation.size.current() > ShardSize::initial(LinkKind::Wifi),
        "{took:?}"
    );
    let (took, _) = simulation.send(20, SimulatedLink::SLOW);
    assert!(about_a_second(took), "slower: {took:?}");
    let small = simulation.size.current();
    simulation.send(20, SimulatedLink::FAST);
    assert!(
        simulation.size.current().bytes() > small.bytes() * 8,
        "faster: {:?}",
        simulation.size.current()
    );
}

#[test]
fn more_in_flight_make_smaller_shards() {
    let mut alone = Simulation::on(LinkKind::Wifi);
    alone.send(
        20,
        SimulatedLink {
            in_flight: 1,
            ..SimulatedLink::SLOW
        },
    );
    let mut together = Simulation::on(LinkKind::Wifi);
    together.send(
        20,
        SimulatedLink {
            in_flight: 8,
            ..SimulatedLink::SLOW
        },
    );
    assert!(together.size.current().bytes() * 4 < alone.size.current().bytes());
}

#[test]
fn a_lossy_link_gets_shards_that_mostly_arrive() {
    let lossy = SimulatedLink {
        bytes_per_loss: 4 << 20,
        ..SimulatedLink::FAST
    };
    let mut simulation = Simulation::on(LinkKind::Ethernet);
    simulation.send(40, lossy);
    let (_, lost) = simulation.send(400, lossy);
    assert!(lost < 100, "{lost} of 400 lost");
    assert!(simulation.size.current().bytes() < 4 << 20);
}

#[test]
fn shards_lost_together_are_one_failure() {
    let mut size = AdaptiveShardSize::starting_on(LinkKind::Ethernet);
    let together: Vec<InFlightShard> = (0..8)
        .map(|_| size.start(Duration::from_secs(1), 4 << 20))
        .collect();
    for shard in together {
        size.on_failure(shard, Duration::from_secs(3));
    }
    assert_eq!(size.current().bytes(), 2 << 20);
    let later = size.start(Duration::from_secs(4), 2 << 20);
    size.on_failure(later, Duration::from_secs(5));
    assert_eq!(size.current().bytes(), 1 << 20);
}

#[test]
fn a_shard_that_fails_late_bounds_what_the_link_carries() {
    let mut simulation = Simulation::on(LinkKind::Loopback);
    // A whole photo in one shard, on a quarter of a megabit per second, that breaks.
    let photo = simulation.size.start(Duration::ZERO, 500_000);
    simulation.now = Duration::from_secs(10);
    simulation.size.on_failure(photo, simulation.now);
    assert!(
        (40_000..=50_000).contains(&simulation.size.current().bytes()),
        "{:?}",
        simulation.size.current()
    );
    // The failure was an exception: the size recovers soon.
    simulation.send(12, SimulatedLink::FAST);
    assert!(
        simulation.size.current().bytes() >= 2 << 20,
        "{:?}",
        simulation.size.current()
    );
}

#[test]
fn a_small_remainder_is_no_measurement() {
    let mut size = AdaptiveShardSize::starting_on(LinkKind::Ethernet);
    for second in 0..50 {
        let rest = size.start(Duration::from_secs(second), 20_000);
        size.on_success(rest, Duration::from_secs(second + 1));
    }
    assert_eq!(size.current(), ShardSize::initial(LinkKind::Ethernet));
}

#[test]
fn another_kind_of_link_starts_over_and_the_same_one_continues() {
    let mut simulation = Simulation::on(LinkKind::Cellular);
    simulation.send(12, SimulatedLink::FAST);
    let reached = simulation.size.current();
    simulation.size.on_link_change(LinkKind::Cellular);
    assert_eq!(simulation.size.current(), reached);
    simulation.size.on_link_change(LinkKind::Wifi);
    assert_eq!(
        simulation.size.current(),
        ShardSize::initial(LinkKind::Wifi)
    );
}

#[test]
fn the_reported_rate_counts_all_shards_and_fades() {
    let mut size = AdaptiveShardSize::starting_on(LinkKind::Ethernet);
    for tenth in 0..100_u64 {
        let now = Duration::from_millis(tenth * 100);
        for _ in 0..4 {
            let shard = size.start(now, 1000);
            size.on_success(shard, now);
        }
    }
    let rate = size.bytes_per_second(Duration::from_secs(10));
    assert!((35_000..=45_000).contains(&rate), "{rate}");
    assert_eq!(size.bytes_per_second(Duration::from_mins(1)), 0);
}

proptest! {
    #[test]
    fn no_sequence_of_results_leaves_the_bounds(
        steps in prop::collection::vec((any::<bool>(), 1_u64..100_000_000, 0_u64..100_000), 0..200),
    ) {
        let mut size = AdaptiveShardSize::starting_on(LinkKind::Wifi);
        let mut now = Duration::ZERO;
        for (arrives, bytes, took_ms) in steps {
            let shard = size.start(now, bytes);
            now += Duration::from_millis(took_ms);
            let before = size.current();
            if arrives { size.on_success(shard, now) } else { size.on_failure(shard, now) }
            prop_assert!((ShardSize::MIN..=ShardSize::MAX).contains(&size.current()));
            prop_assert!(size.current().bytes() <= before.bytes() * 2);
            prop_assert!(!arrives || size.current().bytes() * 2 + 1 >= before.bytes());
        }
    }
}
