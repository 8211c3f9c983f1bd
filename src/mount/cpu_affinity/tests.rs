//! When the threads follow a caller to its processor, and when they stop.

use super::*;

/// A little less than the longest time between frequent requests.
const FREQUENT_ENOUGH: Duration = Duration::from_millis(9);

/// The results of the checks during frequent requests of a caller that runs on the processor `at(n)`
/// at the check number n.
fn checks_of(
    policy: &mut FollowPolicy,
    now: &mut Instant,
    requests: usize,
    at: impl Fn(usize) -> usize,
) -> Vec<Check> {
    let mut checks = Vec::new();
    for _ in 0..requests {
        *now += FREQUENT_ENOUGH;
        match policy.on_request(*now) {
            Step::Check => checks.push(policy.on_check(at(checks.len()), *now)),
            Step::Keep => {}
            Step::Unpin => panic!("requests are frequent"),
        }
    }
    checks
}

#[test]
fn a_caller_with_frequent_requests_is_checked_every_few_requests_and_followed() {
    let (mut policy, mut now) = (FollowPolicy::default(), Instant::now());
    assert_eq!(
        policy.on_request(now),
        Step::Keep,
        "the first request says nothing"
    );
    let moved_once = |check| if check < 3 { 5 } else { 7 };

    let found = checks_of(&mut policy, &mut now, 5 * CHECK_EVERY as usize, moved_once);

    assert_eq!(
        found,
        [
            Check::Moved,
            Check::SameProcessor,
            Check::SameProcessor,
            Check::Moved,
            Check::SameProcessor
        ]
    );
    assert_eq!(policy.pinned_to, Some(7));
}

#[test]
fn rare_requests_unpin_the_threads_and_reset_the_count() {
    let (mut policy, mut now) = (FollowPolicy::default(), Instant::now());
    policy.on_request(now);
    checks_of(&mut policy, &mut now, CHECK_EVERY as usize, |_| 3);

    now += FREQUENT;
    assert_eq!(policy.on_request(now), Step::Unpin);
    now += FREQUENT;
    assert_eq!(policy.on_request(now), Step::Keep, "unpinned once");
    assert_eq!(
        checks_of(&mut policy, &mut now, CHECK_EVERY as usize, |_| 3),
        [Check::Moved]
    );
}

#[test]
fn a_caller_that_moves_at_each_check_is_followed_again_after_a_pause() {
    let (mut policy, mut now) = (FollowPolicy::default(), Instant::now());
    policy.on_request(now);
    let tries = MOVES_MAX as usize + 1;

    let found = checks_of(
        &mut policy,
        &mut now,
        tries * CHECK_EVERY as usize,
        |check| check % 2,
    );

    assert_eq!(
        found.iter().filter(|found| **found == Check::Moved).count(),
        MOVES_MAX as usize
    );
    assert_eq!(
        (found.last(), policy.pinned_to),
        (Some(&Check::TooManyMoves), None)
    );
    let paused = (PAUSE.as_millis() / FREQUENT_ENOUGH.as_millis()) as usize;
    assert_eq!(
        checks_of(&mut policy, &mut now, paused, |_| 0),
        [],
        "paused"
    );
    assert_eq!(
        checks_of(&mut policy, &mut now, CHECK_EVERY as usize, |_| 0),
        [Check::Moved]
    );
}

#[test]
fn a_caller_that_moves_now_and_then_is_followed_for_good() {
    let (mut policy, mut now) = (FollowPolicy::default(), Instant::now());
    policy.on_request(now);
    // Three of four: fewer moves than those of a caller that cannot be followed.
    let often = |check: usize| if check % 4 == 3 { check - 1 } else { check };

    let found = checks_of(&mut policy, &mut now, 10_000, often);

    assert!(!found.contains(&Check::TooManyMoves));
}

#[test]
fn the_processor_is_read_whatever_the_name_of_the_program() {
    let numbers = "S 1771 1767 9801 0 -1 4194304 118 0 0 0 1 2 0 0 20 0 1 0 1267 5 1 2 3 4 5 6 7 8 9 10 11 0 0 0 17 63 0 0 0 0 0";
    for name in ["cp", "", "a b", ") R 1 (", ")))", "\u{e4}\u{301}"] {
        assert_eq!(
            processor(format!("1819 ({name}) {numbers}\n").as_bytes()),
            Some(63),
            "{name}"
        );
    }
    for text in [
        "",
        "1819",
        "1819 (cp)",
        "1819 (cp) S 1 2",
        &format!("1819 (cp) {numbers}").replace("63", "1024"),
    ] {
        assert_eq!(processor(text.as_bytes()), None, "{text}");
    }
    let own = std::fs::read("/proc/thread-self/stat").unwrap();
    assert!(
        processor(&own).is_some_and(|processor| sched_getaffinity(None).unwrap().is_set(processor))
    );
}
