//! A password for a token, from the command line to the first photo.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::command::{Ended, finish, finish_with};
use crate::device::Device;
use crate::house::House;

fn login(house: &House, device: &Device, said: &str) -> Ended {
    let mut command = device.heirloom(["login"]);
    command
        .arg(format!("http://{}", house.server.address()))
        .arg("--state")
        .arg(device.state());
    finish_with(command, said)
}

#[test]
fn a_photo_is_backed_up_with_nothing_but_a_password_and_not_after_logging_out() {
    let mut house = House::new();
    let anna = house.person("anna");
    house.server.set_password("anna", "correct horse");
    let mut device = house.unmounted(&anna, "laptop").with_saved_login();
    login(&house, &device, "anna\nwrong password\n").refuses(&["wrong user name or password"]);
    login(&house, &device, "dora\ncorrect horse\n").refuses(&["wrong user name or password"]);
    login(&house, &device, "anna\ncorrect horse\n").succeeds();
    let saved = device.state().join("login.json");
    assert_eq!(
        fs::metadata(&saved).expect("saved").permissions().mode() & 0o777,
        0o600
    );
    assert!(
        !fs::read_to_string(&saved).expect("text").contains("horse"),
        "the password is not kept"
    );

    device.mount();
    let (photo, image) = house.photo("one.jpg", 100_000);
    fs::copy(photo, device.path("one.jpg")).expect("copied");
    device.wait();
    assert!(house.server.images().contains_key(&image));
    device.unmount();

    let logout = || {
        let mut command: Command = device.heirloom(["logout"]);
        command.arg("--state").arg(device.state());
        finish(command)
    };
    let token = serde_json::from_slice::<serde_json::Value>(&fs::read(&saved).expect("saved"))
        .expect("JSON");
    let token = token["token"].as_str().expect("a token").to_owned();
    logout().succeeds();
    assert!(!Path::new(&saved).exists(), "it is forgotten");
    logout().succeeds();
    // Whoever kept a copy of it has nothing.
    device.log_in(&token);
    let mut push = device.heirloom(["push"]);
    push.arg(device.state().join("spool"))
        .args(["--server", &format!("http://{}", house.server.address())]);
    push.arg("--token-file").arg(device.token_file());
    finish(push).refuses(&["login needed"]);
}

#[test]
fn a_password_is_not_sent_in_the_clear_unasked() {
    let house = House::new();
    let anna = house.person("anna");
    let device = house.unmounted(&anna, "laptop");
    let mut command = device.heirloom(["login", "http://photos.example", "--user", "anna"]);
    command.arg("--state").arg(device.state());
    finish_with(command, "correct horse\n").refuses(&["not encrypted", "https"]);
}
