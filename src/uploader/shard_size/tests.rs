//! The pace on simulated links: a capacity shared by all in flight, a round trip, and losses.

use proptest::prelude::*;

use super::*;

/// A network that a test makes up.
#[derive(Clone, Copy, Debug)]
struct Link {
    bytes_per_second: u64,
    round_trip: Duration,
    in_flight: u64,
    /// One byte in so many is lost, and its shard with it; 0 for none.
    bytes_per_loss: u64,
}

impl Link {
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

    /// How long a shard takes when all in flight are alike.
    fn time(self, bytes: u64) -> Duration {
        self.round_trip
            + Duration::from_secs_f64(
                as_f64(bytes * self.in_flight) / as_f64(self.bytes_per_second),
            )
    }
}

/// A pace and the moment it has come to.
struct Walk {
    pace: AdaptiveShardSize,
    now: Duration,
    random: fastrand::Rng,
}

impl Walk {
    fn on(link: LinkKind) -> Self {
        Self {
            pace: AdaptiveShardSize::starting_on(link),
            now: Duration::ZERO,
            random: fastrand::Rng::with_seed(7),
        }
    }

    /// Sends shards; how long the last one took, and how many were lost.
    fn send(&mut self, shards: usize, link: Link) -> (Duration, usize) {
        let mut took = Duration::ZERO;
        let mut lost = 0;
        for _ in 0..shards {
            let bytes = self.pace.shard().bytes();
            let shard = self.pace.begin(self.now, bytes);
            took = link.time(bytes);
            self.now += took;
            if link.bytes_per_loss > 0 && self.random.u64(0..link.bytes_per_loss) < bytes {
                self.pace.failed(shard, self.now);
                lost += 1;
            } else {
                self.pace.acknowledged(shard, self.now);
            }
        }
        (took, lost)
    }
}

fn about_a_second(took: Duration) -> bool {
    (Duration::from_millis(500)..Duration::from_secs(2)).contains(&took)
}

#[test]
fn a_slow_link_comes_to_a_shard_a_second() {
    for start in [
        LinkKind::Ethernet,
        LinkKind::Wifi,
        LinkKind::Cellular,
        LinkKind::Unknown,
    ] {
        let (took, _) = Walk::on(start).send(20, Link::SLOW);
        assert!(about_a_second(took), "from {start}: {took:?}");
    }
}

#[test]
fn a_fast_link_comes_to_the_largest_shards() {
    let mut walk = Walk::on(LinkKind::Cellular);
    walk.send(
        12,
        Link {
            in_flight: 1,
            ..Link::FAST
        },
    );
    assert_eq!(walk.pace.shard(), ShardSize::MAX);
}

#[test]
fn a_link_that_changes_is_followed_both_ways() {
    let mut walk = Walk::on(LinkKind::Wifi);
    let (took, _) = walk.send(20, Link::FAST);
    assert!(
        walk.pace.shard() > ShardSize::initial(LinkKind::Wifi),
        "{took:?}"
    );
    let (took, _) = walk.send(20, Link::SLOW);
    assert!(about_a_second(took), "slower: {took:?}");
    let small = walk.pace.shard();
    walk.send(20, Link::FAST);
    assert!(
        walk.pace.shard().bytes() > small.bytes() * 8,
        "faster: {:?}",
        walk.pace.shard()
    );
}

#[test]
fn more_in_flight_make_smaller_shards() {
    let mut alone = Walk::on(LinkKind::Wifi);
    alone.send(
        20,
        Link {
            in_flight: 1,
            ..Link::SLOW
        },
    );
    let mut together = Walk::on(LinkKind::Wifi);
    together.send(
        20,
        Link {
            in_flight: 8,
            ..Link::SLOW
        },
    );
    assert!(together.pace.shard().bytes() * 4 < alone.pace.shard().bytes());
}

#[test]
fn a_lossy_link_gets_shards_that_mostly_arrive() {
    let lossy = Link {
        bytes_per_loss: 4 << 20,
        ..Link::FAST
    };
    let mut walk = Walk::on(LinkKind::Ethernet);
    walk.send(40, lossy);
    let (_, lost) = walk.send(400, lossy);
    assert!(lost < 100, "{lost} of 400 lost");
    assert!(walk.pace.shard().bytes() < 4 << 20);
}

#[test]
fn shards_lost_together_are_one_failure() {
    let mut pace = AdaptiveShardSize::starting_on(LinkKind::Ethernet);
    let together: Vec<InFlight> = (0..8)
        .map(|_| pace.begin(Duration::from_secs(1), 4 << 20))
        .collect();
    for shard in together {
        pace.failed(shard, Duration::from_secs(3));
    }
    assert_eq!(pace.shard().bytes(), 2 << 20);
    let later = pace.begin(Duration::from_secs(4), 2 << 20);
    pace.failed(later, Duration::from_secs(5));
    assert_eq!(pace.shard().bytes(), 1 << 20);
}

#[test]
fn a_shard_that_broke_after_long_says_how_little_the_link_carries() {
    let mut walk = Walk::on(LinkKind::Loopback);
    // All of a photo, and a quarter of a megabit per second that breaks.
    let photo = walk.pace.begin(Duration::ZERO, 500_000);
    walk.now = Duration::from_secs(10);
    walk.pace.failed(photo, walk.now);
    assert!(
        (40_000..=50_000).contains(&walk.pace.shard().bytes()),
        "{:?}",
        walk.pace.shard()
    );
    // It was only a bad moment: the size is back soon.
    walk.send(12, Link::FAST);
    assert!(
        walk.pace.shard().bytes() >= 2 << 20,
        "{:?}",
        walk.pace.shard()
    );
}

#[test]
fn a_small_rest_says_nothing_about_the_link() {
    let mut pace = AdaptiveShardSize::starting_on(LinkKind::Ethernet);
    for second in 0..50 {
        let rest = pace.begin(Duration::from_secs(second), 20_000);
        pace.acknowledged(rest, Duration::from_secs(second + 1));
    }
    assert_eq!(pace.shard(), ShardSize::initial(LinkKind::Ethernet));
}

#[test]
fn another_kind_of_link_starts_anew_and_the_same_one_goes_on() {
    let mut walk = Walk::on(LinkKind::Cellular);
    walk.send(12, Link::FAST);
    let reached = walk.pace.shard();
    walk.pace.moved_to(LinkKind::Cellular);
    assert_eq!(walk.pace.shard(), reached);
    walk.pace.moved_to(LinkKind::Wifi);
    assert_eq!(walk.pace.shard(), ShardSize::initial(LinkKind::Wifi));
}

#[test]
fn the_rate_that_people_see_is_that_of_all_shards_and_fades() {
    let mut pace = AdaptiveShardSize::starting_on(LinkKind::Ethernet);
    for tenth in 0..100_u64 {
        let now = Duration::from_millis(tenth * 100);
        for _ in 0..4 {
            let shard = pace.begin(now, 1000);
            pace.acknowledged(shard, now);
        }
    }
    let rate = pace.bytes_per_second(Duration::from_secs(10));
    assert!((35_000..=45_000).contains(&rate), "{rate}");
    assert_eq!(pace.bytes_per_second(Duration::from_mins(1)), 0);
}

proptest! {
    #[test]
    fn nothing_that_happens_leaves_the_bounds(
        steps in prop::collection::vec((any::<bool>(), 1_u64..100_000_000, 0_u64..100_000), 0..200),
    ) {
        let mut pace = AdaptiveShardSize::starting_on(LinkKind::Wifi);
        let mut now = Duration::ZERO;
        for (arrives, bytes, took_ms) in steps {
            let shard = pace.begin(now, bytes);
            now += Duration::from_millis(took_ms);
            let before = pace.shard();
            if arrives { pace.acknowledged(shard, now) } else { pace.failed(shard, now) }
            prop_assert!((ShardSize::MIN..=ShardSize::MAX).contains(&pace.shard()));
            prop_assert!(pace.shard().bytes() <= before.bytes() * 2);
            prop_assert!(!arrives || pace.shard().bytes() * 2 + 1 >= before.bytes());
        }
    }
}
