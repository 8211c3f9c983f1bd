//! Photos sent by hand, without a mount.

use std::path::Path;

use crate::command::finish;
use crate::device::Device;
use crate::house::House;

fn push(device: &Device, server: &str, paths: &[&Path]) -> crate::command::Ended {
    let mut command = device.heirloom([Path::new("push")]);
    command.args(paths).args(["--server", server]).arg("--token-file").arg(device.token_file());
    finish(command)
}

#[test]
fn push_by_hand_sends_what_the_server_does_not_have() {
    let mut house = House::new();
    let anna = house.person("anna");
    let device = house.unmounted(&anna, "laptop");
    let server = format!("http://{}", house.server.address());
    let album = house.shelf("album");
    house.camera.take_album(&album, 20).expect("an album");
    let (single, image) = house.photo("single.jpg", 9 << 20);
    push(&device, &server, &[&album, &single]).succeeds();

    let images = house.server.images();
    assert_eq!(images.len(), 21);
    assert!(images.contains_key(&image));
    let listed: Vec<_> = house.ask(&anna).library().into_values().collect();
    assert!(images.keys().all(|image| listed.contains(image)), "the library lists them all");

    let link = house.link();
    push(&device, &format!("http://{}", link.address()), &[&album, &single]).succeeds();
    assert!(link.bytes_to_server() < 32 << 10, "the second time it asks and sends no photo");
    assert_eq!(house.ask(&anna).library().len(), 21, "and no name twice");
}

#[test]
fn push_says_what_it_cannot_do() {
    let house = House::new();
    let anna = house.person("anna");
    let device = house.unmounted(&anna, "laptop");
    let server = format!("http://{}", house.server.address());
    push(&device, &server, &[Path::new("/nowhere/photo.jpg")]).refuses(&["/nowhere/photo.jpg"]);

    device.log_in("not-a-token-of-anybody");
    let mut house = house;
    let (photo, _) = house.photo("photo.jpg", 30_000);
    push(&device, &server, &[&photo]).refuses(&["login needed"]);
    assert!(house.server.images().is_empty());
}
