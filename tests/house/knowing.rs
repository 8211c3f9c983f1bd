//! Two people with the same photo: the second one's costs nothing, after proof that they have it.

use std::path::Path;

use crate::command::run;
use crate::house::House;

#[test]
fn the_second_persons_copy_of_a_photo_is_linked_at_once() {
    let mut house = House::new();
    let (anna, bert) = (house.person("anna"), house.person("bert"));
    let link = house.link();
    let annas = house.device(&anna, "anna");
    let mut berts = house.linked(&bert, "bert", &link);
    berts.mount();
    let shelf = house.shelf("camera");
    for number in 0..10 {
        house.photo(&format!("{number}.jpg"), 300_000 + number);
    }
    run("cp", [Path::new("-rT"), &shelf, &annas.mountpoint()]).succeeds();
    annas.wait();
    assert!(
        house.ask(&bert).library().is_empty(),
        "nothing of it is Bert's"
    );

    run("cp", [Path::new("-rT"), &shelf, &berts.mountpoint()]).succeeds();
    berts.wait();
    let status = berts.status();
    assert_eq!((status.files("backed_up"), status.sent()), (10, 0));
    assert_eq!(
        status.number("/saved/instant_upload_bytes"),
        (0..10).map(|number| 300_000 + number).sum::<u64>()
    );
    assert!(
        link.bytes_to_server() < 16 << 10,
        "{} bytes on the wire",
        link.bytes_to_server()
    );
    house.keeps_all_of(&shelf, &bert, "");
    assert_eq!(house.server.images().len(), 10, "each is kept once");
}

#[test]
fn a_small_photo_of_somebody_else_is_simply_sent() {
    let mut house = House::new();
    let (anna, bert) = (house.person("anna"), house.person("bert"));
    let (annas, berts) = (house.device(&anna, "anna"), house.device(&bert, "bert"));
    let (photo, image) = house.photo("small.jpg", 20_000);
    annas.copy_in(&photo);
    annas.wait();
    berts.copy_in(&photo);
    berts.wait();
    assert_eq!(
        berts.status().sent(),
        20_000,
        "below 64 KiB a photo could be guessed"
    );
    assert_eq!(house.ask(&bert).library().get("small.jpg"), Some(&image));
}

#[test]
fn two_devices_of_one_person_share_what_is_backed_up() {
    let mut house = House::new();
    let anna = house.person("anna");
    let (laptop, desktop) = (
        house.device(&anna, "laptop"),
        house.device(&anna, "desktop"),
    );
    let (photo, image) = house.photo("photo.jpg", 400_000);
    laptop.copy_in(&photo);
    laptop.wait();
    std::fs::copy(&photo, desktop.path("again.jpg")).expect("writable");
    desktop.wait();
    let status = desktop.status();
    assert_eq!(
        (status.sent(), status.number("/saved/check_bytes")),
        (0, 400_000),
        "already backed up"
    );
    let names: Vec<_> = house.ask(&anna).library().into_iter().collect();
    assert_eq!(
        names,
        [
            ("again.jpg".to_owned(), image),
            ("photo.jpg".to_owned(), image)
        ]
    );
}
