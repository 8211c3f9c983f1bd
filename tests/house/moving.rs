//! The way to the server changes, or hardly deserves the name: uploads go on where they were.

use std::thread;
use std::time::Duration;

use heirloom_protocol::Fingerprint;

use crate::device::Device;
use crate::house::{House, Person};
use crate::kills::sent_again;
use crate::link::Link;
use crate::waiting::{BACKED_UP_WITHIN, SOON, eventually};

/// Bytes per second of a link on which the upload takes some seconds.
const SLOW: u64 = 6 << 20;

/// 256 kbit/s in bytes, and how long such a link holds: for `scripts/torture`, which has the
/// patience.
const MODEM: (u64, Duration) = (32_000, Duration::from_secs(10));
/// The same ten times as fast, and breaking ten times as often.
const HASTY_MODEM: (u64, Duration) = (320_000, Duration::from_secs(1));
/// What is to come through: more than passes between two cuts.
const MODEM_PHOTO_BYTES: usize = 500_000;
/// What a cut may cost, in bytes: what the link itself had taken in from each of an image's four
/// shards, and heads.
const CUT_BYTES_MAX: u64 = 80_000;

/// A large photo on its way, of which some has arrived.
struct UnderWay {
    house: House,
    anna: Person,
    link: Link,
    device: Device,
    /// The photo, and its length in bytes.
    images: [(Fingerprint, u64); 1],
}

fn under_way() -> UnderWay {
    let mut house = House::new();
    let anna = house.person("anna");
    let link = house.link();
    link.slow_down_to(SLOW);
    let mut device = house.linked(&anna, "laptop", &link);
    device.mount();
    let (photo, image) = house.photo("large.jpg", 30 << 20);
    let images = [(image, 30 << 20)];
    device.copy_in(&photo);
    eventually(BACKED_UP_WITHIN, "some of it has arrived", || {
        house.ask(&anna).arrived(&images)[&image].byte_count() > 6 << 20
    });
    UnderWay {
        house,
        anna,
        link,
        device,
        images,
    }
}

#[test]
fn an_upload_goes_on_when_the_server_moves_to_another_address_behind_its_name() {
    let UnderWay {
        mut house,
        anna,
        link,
        device,
        images,
    } = under_way();
    link.cut();
    house.server.stop();
    house.server.start_elsewhere();
    link.lead_to(house.server.address());
    let had = house.ask(&anna).arrived(&images);
    link.take_shards();
    link.full_speed();
    link.mend();
    device.wait();
    assert_eq!(
        sent_again(&link, &had),
        0,
        "sent although the server had it"
    );
    house.keeps_all_of(&house.shelf("camera"), &anna, "");
}

#[test]
fn an_upload_goes_on_when_the_client_is_told_another_address() {
    let UnderWay {
        mut house,
        anna,
        link: _link,
        mut device,
        images,
    } = under_way();
    device.unmount();
    house.server.stop();
    house.server.start_elsewhere();
    let had = house.ask(&anna).arrived(&images)[&images[0].0].byte_count();
    assert!(had < 30 << 20, "it was interrupted");
    device.move_to(house.server.address());
    device.mount();
    device.wait();
    assert_eq!(
        device.status().sent(),
        (30 << 20) - had,
        "what was missing, and nothing else"
    );
    house.keeps_all_of(&house.shelf("camera"), &anna, "");
}

#[test]
fn a_photo_comes_through_a_quarter_of_a_megabit_that_breaks_every_few_seconds() {
    let mut house = House::new();
    let anna = house.person("anna");
    let link = house.link();
    let (rounds, (rate, holds)) = match crate::chance::rounds(0) {
        0 => (1, HASTY_MODEM),
        rounds => (rounds, MODEM),
    };
    link.slow_down_to(rate);
    let mut device = house.linked(&anna, "phone", &link);
    device.mount();
    let photos: Vec<_> = (0..rounds)
        .map(|number| house.photo(&format!("{number}.jpg"), MODEM_PHOTO_BYTES))
        .collect();
    for (photo, _) in &photos {
        device.copy_in(photo);
    }
    let mut cuts = 0;
    while device.status().waiting() > 0 {
        thread::sleep(holds);
        link.break_connections();
        cuts += 1;
        assert!(cuts < 60 * rounds, "it does not come through");
    }
    link.full_speed();
    device.wait();
    let (sent, needed) = (link.bytes_to_server(), (rounds * MODEM_PHOTO_BYTES) as u64);
    println!("{rounds} photos, {cuts} cuts, {sent} bytes on the wire for {needed}");
    assert!(cuts > 1, "the link was to break");
    let most = needed + CUT_BYTES_MAX * (cuts as u64 + 1);
    assert!(
        sent <= most,
        "{sent} bytes on the wire, and {cuts} cuts explain {most}"
    );
    eventually(SOON, "its name is known", || {
        device.status().number("/names_queued") == 0
    });
    house.keeps_all_of(&house.shelf("camera"), &anna, "");
}
