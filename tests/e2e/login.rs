//! Logging in with a password, from the command line to the first photo.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::command::{CommandOutput, output_of, output_with_input};
use crate::device::Device;
use crate::installation::Installation;

fn login(installation: &Installation, device: &Device, said: &str) -> CommandOutput {
    let mut command = device.heirloom(["login"]);
    command
        .arg(format!("http://{}", installation.server.address()))
        .arg("--state")
        .arg(device.state());
    output_with_input(command, said)
}

#[test]
fn a_saved_login_backs_up_photos_until_logout() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    installation.server.set_password("anna", "correct horse");
    let mut device = installation
        .unmounted_device(&anna, "laptop")
        .with_saved_login();
    login(&installation, &device, "anna\nwrong password\n")
        .fails_with(&["wrong user name or password"]);
    login(&installation, &device, "dora\ncorrect horse\n")
        .fails_with(&["wrong user name or password"]);
    login(&installation, &device, "anna\ncorrect horse\n").succeeds();
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
    let (photo, image) = installation.photo("one.jpg", 100_000);
    fs::copy(photo, device.path("one.jpg")).expect("copied");
    device.wait();
    assert!(installation.server.images().contains_key(&image));
    device.unmount();

    let logout = || {
        let mut command: Command = device.heirloom(["logout"]);
        command.arg("--state").arg(device.state());
        output_of(command)
    };
    let token = serde_json::from_slice::<serde_json::Value>(&fs::read(&saved).expect("saved"))
        .expect("JSON");
    let token = token["token"].as_str().expect("a token").to_owned();
    logout().succeeds();
    assert!(!Path::new(&saved).exists(), "it is forgotten");
    logout().succeeds();
    // A copy of the token is worthless now.
    device.log_in(&token);
    let mut push = device.heirloom(["push"]);
    push.arg(device.state().join("spool")).args([
        "--server",
        &format!("http://{}", installation.server.address()),
    ]);
    push.arg("--token-file").arg(device.token_file());
    output_of(push).fails_with(&["login needed"]);
}

#[test]
fn a_password_is_not_sent_unencrypted_unless_allowed() {
    let installation = Installation::new();
    let anna = installation.user("anna");
    let device = installation.unmounted_device(&anna, "laptop");
    let mut command = device.heirloom(["login", "http://photos.example", "--user", "anna"]);
    command.arg("--state").arg(device.state());
    output_with_input(command, "correct horse\n").fails_with(&["not encrypted", "https"]);
}
