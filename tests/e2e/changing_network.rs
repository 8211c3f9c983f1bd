//! The network path to the server changes or hardly works: uploads resume where they were.

use std::thread;
use std::time::Duration;

use heirloom_protocol::Fingerprint;

use crate::device::Device;
use crate::eventually::{BACKED_UP_WITHIN, SOON, eventually};
use crate::installation::{Installation, User};
use crate::kills::sent_again;
use crate::link::Link;

/// Bytes per second of a link on which the upload takes some seconds.
const SLOW: u64 = 6 << 20;

/// 256 kbit/s in bytes per second, and the time between two breaks: for `scripts/torture`, which
/// has the time.
const MODEM: (u64, Duration) = (32_000, Duration::from_secs(10));
/// Ten times as fast, and breaking ten times as often.
const HASTY_MODEM: (u64, Duration) = (320_000, Duration::from_secs(1));
/// Bytes to upload: more than passes between two breaks.
const MODEM_PHOTO_BYTES: usize = 500_000;
/// Bytes that one break may cost: what the link itself had accepted of each of the image's four
/// shards, and request heads.
const CUT_BYTES_MAX: u64 = 80_000;

/// A large photo whose upload has begun.
struct PartialUpload {
    installation: Installation,
    anna: User,
    link: Link,
    device: Device,
    /// The photo and its length in bytes.
    images: [(Fingerprint, u64); 1],
}

fn under_way() -> PartialUpload {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let link = installation.link();
    link.limit_rate_to(SLOW);
    let mut device = installation.device_over_link(&anna, "laptop", &link);
    device.mount();
    let (photo, image) = installation.photo("large.jpg", 30 << 20);
    let images = [(image, 30 << 20)];
    device.copy_in(&photo);
    eventually(BACKED_UP_WITHIN, "some of it has arrived", || {
        installation.client(&anna).received_ranges(&images)[&image].byte_count() > 6 << 20
    });
    PartialUpload {
        installation,
        anna,
        link,
        device,
        images,
    }
}

#[test]
fn an_upload_resumes_when_the_servers_name_gets_another_address() {
    let PartialUpload {
        mut installation,
        anna,
        link,
        device,
        images,
    } = under_way();
    link.disconnect();
    installation.server.stop();
    installation.server.start_on_another_port();
    link.redirect_to(installation.server.address());
    let had = installation.client(&anna).received_ranges(&images);
    link.take_sent_shards();
    link.full_speed();
    link.reconnect();
    device.wait();
    assert_eq!(
        sent_again(&link, &had),
        0,
        "sent although the server had it"
    );
    installation.assert_backed_up(&installation.scratch_folder("camera"), &anna, "");
}

#[test]
fn an_upload_resumes_when_the_client_gets_another_server_address() {
    let PartialUpload {
        mut installation,
        anna,
        link: _link,
        mut device,
        images,
    } = under_way();
    device.unmount();
    installation.server.stop();
    installation.server.start_on_another_port();
    let had = installation.client(&anna).received_ranges(&images)[&images[0].0].byte_count();
    assert!(had < 30 << 20, "it was interrupted");
    device.move_to(installation.server.address());
    device.mount();
    device.wait();
    assert_eq!(
        device.status().sent(),
        (30 << 20) - had,
        "what was missing, and nothing else"
    );
    installation.assert_backed_up(&installation.scratch_folder("camera"), &anna, "");
}

#[test]
fn a_photo_arrives_over_a_slow_link_that_breaks_every_few_seconds() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let link = installation.link();
    let (rounds, (rate, holds)) = match crate::seed::rounds(0) {
        0 => (1, HASTY_MODEM),
        rounds => (rounds, MODEM),
    };
    link.limit_rate_to(rate);
    let mut device = installation.device_over_link(&anna, "phone", &link);
    device.mount();
    let photos: Vec<_> = (0..rounds)
        .map(|number| installation.photo(&format!("{number}.jpg"), MODEM_PHOTO_BYTES))
        .collect();
    for (photo, _) in &photos {
        device.copy_in(photo);
    }
    let mut cuts = 0;
    while device.status().waiting() > 0 {
        thread::sleep(holds);
        link.reset_connections();
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
    installation.assert_backed_up(&installation.scratch_folder("camera"), &anna, "");
}
