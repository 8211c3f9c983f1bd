use super::*;

/// A little less than what is thick.
const THICK_ENOUGH: Duration = Duration::from_millis(9);

/// Somebody whose requests come as thick as that, and who is where `at` says at the look of this
/// number.
fn looked_for(
    following: &mut Following,
    now: &mut Instant,
    requests: usize,
    at: impl Fn(usize) -> usize,
) -> Vec<Found> {
    let mut found = Vec::new();
    for _ in 0..requests {
        *now += THICK_ENOUGH;
        match following.asked(*now) {
            Step::Look => found.push(following.found(at(found.len()), *now)),
            Step::Stay => {}
            Step::Part => panic!("requests come thick"),
        }
    }
    found
}

#[test]
fn who_asks_thickly_is_looked_for_once_in_a_few_requests_and_followed() {
    let (mut following, mut now) = (Following::default(), Instant::now());
    assert_eq!(
        following.asked(now),
        Step::Stay,
        "the first request says nothing"
    );
    let moved_once = |look| if look < 3 { 5 } else { 7 };

    let found = looked_for(
        &mut following,
        &mut now,
        5 * LOOK_EVERY as usize,
        moved_once,
    );

    assert_eq!(
        found,
        [
            Found::Away,
            Found::Beside,
            Found::Beside,
            Found::Away,
            Found::Beside
        ]
    );
    assert_eq!(following.place, Some(7));
}

#[test]
fn when_requests_come_thinly_again_we_part_and_begin_anew() {
    let (mut following, mut now) = (Following::default(), Instant::now());
    following.asked(now);
    looked_for(&mut following, &mut now, LOOK_EVERY as usize, |_| 3);

    now += THICK;
    assert_eq!(following.asked(now), Step::Part);
    now += THICK;
    assert_eq!(following.asked(now), Step::Stay, "parted is parted");
    assert_eq!(
        looked_for(&mut following, &mut now, LOOK_EVERY as usize, |_| 3),
        [Found::Away]
    );
}

#[test]
fn who_is_away_at_each_look_is_left_alone_for_a_while_and_then_tried_again() {
    let (mut following, mut now) = (Following::default(), Instant::now());
    following.asked(now);
    let tries = MOVES_MAX as usize + 1;

    let found = looked_for(
        &mut following,
        &mut now,
        tries * LOOK_EVERY as usize,
        |look| look % 2,
    );

    assert_eq!(
        found.iter().filter(|found| **found == Found::Away).count(),
        MOVES_MAX as usize
    );
    assert_eq!(
        (found.last(), following.place),
        (Some(&Found::Restless), None)
    );
    let resting = (REST.as_millis() / THICK_ENOUGH.as_millis()) as usize;
    assert_eq!(
        looked_for(&mut following, &mut now, resting, |_| 0),
        [],
        "at rest"
    );
    assert_eq!(
        looked_for(&mut following, &mut now, LOOK_EVERY as usize, |_| 0),
        [Found::Away]
    );
}

#[test]
fn who_is_moved_now_and_then_is_followed_for_good() {
    let (mut following, mut now) = (Following::default(), Instant::now());
    following.asked(now);
    // Three of four: fewer than what cannot be followed, for ever.
    let often = |look: usize| if look % 4 == 3 { look - 1 } else { look };

    let found = looked_for(&mut following, &mut now, 10_000, often);

    assert!(!found.contains(&Found::Restless));
}

#[test]
fn the_processor_is_read_whatever_a_program_is_called() {
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
