//! `heirloom retry`: a failed file is tried again, because its owner asks for it.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use heirloom_protocol::Fingerprint;

use crate::command::output_of;
use crate::eventually::{BACKED_UP_WITHIN, eventually};
use crate::installation::Installation;

#[test]
fn a_torn_photo_is_kept_and_backed_up_as_it_is_by_retry() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let mut device = installation
        .unmounted_device(&anna, "laptop")
        .with_options(&["--io", "direct"]);
    device.mount();
    let photo = installation.generator.generate(900_000);
    let begun = ["torn.jpg", "other.jpg"].map(|name| {
        let mut file = File::create(device.path(name)).expect("writable");
        file.write_all(&photo[..500_000]).expect("writable");
        file
    });
    device.kill();
    drop(begun);
    device.mount();
    eventually(BACKED_UP_WITHIN, "they are known as torn", || {
        device.status().files("failed") == 2
    });
    assert!(
        device
            .attribute("torn.jpg", "error")
            .starts_with("incomplete"),
        "it says why"
    );
    assert!(
        installation.server.images().is_empty(),
        "half a photo was sent"
    );

    let said =
        output_of(device.heirloom([Path::new("retry"), &device.path("torn.jpg")])).succeeds();
    assert!(said.contains("1 file"), "{said}");
    device.wait_for(&["torn.jpg"]);
    let image = Fingerprint::of(&photo[..500_000]);
    assert_eq!(
        installation.server.images().into_keys().collect::<Vec<_>>(),
        [image]
    );
    assert_eq!(
        device.attribute("other.jpg", "state"),
        "failed",
        "that one was not retried"
    );

    // It is an ordinary photo now, also after a restart; and a whole mount may be named.
    device.terminate();
    device.mount();
    eventually(BACKED_UP_WITHIN, "the tree is compared", || {
        !device.status().flag("/comparing")
    });
    assert_eq!(device.attribute("torn.jpg", "state"), "backed_up");
    output_of(device.heirloom([Path::new("retry"), &device.mountpoint()])).succeeds();
    device.wait();
    assert_eq!(device.status().files("failed"), 0);
}

#[test]
fn retry_does_not_accept_a_photo_that_is_being_written() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let mut device = installation
        .unmounted_device(&anna, "laptop")
        .with_options(&["--io", "direct"]);
    device.mount();
    let photo = installation.generator.generate(300_000);
    let mut file = File::create(device.path("a.jpg")).expect("writable");
    file.write_all(&photo[..100_000]).expect("writable");
    device.kill();
    drop(file);
    device.mount();
    eventually(BACKED_UP_WITHIN, "it is known as torn", || {
        device.status().files("failed") == 1
    });
    let mut again = File::options()
        .write(true)
        .open(device.path("a.jpg"))
        .expect("writable");
    again.write_all(&photo[..200_000]).expect("writable");
    let said = output_of(device.heirloom([Path::new("retry"), &device.path("a.jpg")]));
    assert!(!said.stdout.contains("1 file"), "{said}");
    again.write_all(&photo[200_000..]).expect("writable");
    drop(again);
    device.wait();
    assert_eq!(
        installation.server.images().into_keys().collect::<Vec<_>>(),
        [Fingerprint::of(&photo)]
    );
    assert!(fs::read(device.path("a.jpg")).expect("readable") == photo);
}
