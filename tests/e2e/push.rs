//! `heirloom push`: photos sent by hand, without a mount.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use crate::command::output_of;
use crate::device::Device;
use crate::eventually::{SOON, eventually};
use crate::installation::Installation;
use crate::server::files_below;

fn push(device: &Device, server: &str, paths: &[&Path]) -> crate::command::CommandOutput {
    let mut command = device.heirloom([Path::new("push")]);
    command
        .args(paths)
        .args(["--server", server])
        .arg("--token-file")
        .arg(device.token_file());
    output_of(command)
}

#[test]
fn push_sends_only_what_the_server_does_not_have() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let device = installation.unmounted_device(&anna, "laptop");
    let server = format!("http://{}", installation.server.address());
    let album = installation.scratch_folder("album");
    installation
        .generator
        .generate_album(&album, 20)
        .expect("an album");
    let (single, image) = installation.photo("single.jpg", 9 << 20);
    push(&device, &server, &[&album, &single]).succeeds();

    let images = installation.server.images();
    assert_eq!(images.len(), 21);
    assert!(images.contains_key(&image));
    let listed: Vec<_> = installation.client(&anna).library().into_values().collect();
    assert!(
        images.keys().all(|image| listed.contains(image)),
        "the library lists them all"
    );

    let link = installation.link();
    push(
        &device,
        &format!("http://{}", link.address()),
        &[&album, &single],
    )
    .succeeds();
    assert!(
        link.bytes_to_server() < 32 << 10,
        "the second time it asks and sends no photo"
    );
    assert_eq!(
        installation.client(&anna).library().len(),
        21,
        "and no name twice"
    );
}

#[test]
fn push_reports_files_it_cannot_send() {
    let installation = Installation::new();
    let anna = installation.user("anna");
    let device = installation.unmounted_device(&anna, "laptop");
    let server = format!("http://{}", installation.server.address());
    push(&device, &server, &[Path::new("/nowhere/photo.jpg")]).fails_with(&["/nowhere/photo.jpg"]);

    device.log_in("not-a-token-of-anybody");
    let mut installation = installation;
    let (photo, _) = installation.photo("photo.jpg", 30_000);
    push(&device, &server, &[&photo]).fails_with(&["login needed"]);
    assert!(installation.server.images().is_empty());
}

#[test]
fn push_needs_neither_a_mount_nor_a_server() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let device = installation.unmounted_device(&anna, "laptop");
    let data = installation.scratch_folder("data");
    let (photo, image) = installation.photo("photo.jpg", 40_000);
    let run = |words: &[&str], paths: &[&Path]| {
        let mut command = device.heirloom(words);
        command.args(paths).env("XDG_DATA_HOME", &data);
        output_of(command)
    };
    let sent = run(&["push"], &[&photo]).succeeds();
    assert!(sent.contains("1 uploaded"), "{sent}");
    assert!(
        files_below(&data)
            .iter()
            .any(|file| file.ends_with(image.to_string())),
        "this computer's own server has it"
    );

    let mountpoint = device.mountpoint();
    run(&["mount"], &[&mountpoint]).succeeds();
    eventually(SOON, "what was pushed is shown", || {
        mountpoint.join("photo.jpg").exists()
    });
    let again = run(&["push"], &[&photo]).succeeds();
    assert!(again.contains("1 already backed up"), "{again}");
    run(&["unmount"], &[&mountpoint]).succeeds();

    // Another process has taken over the port of the mount's server.
    let saved = files_below(&data)
        .into_iter()
        .find(|file| file.ends_with("client/login.json"))
        .expect("a login");
    let saved: serde_json::Value =
        serde_json::from_slice(&fs::read(saved).expect("saved")).expect("JSON");
    let address = saved["server"]
        .as_str()
        .and_then(|url| url.strip_prefix("http://"))
        .expect("an address");
    let impostor = TcpListener::bind(address).expect("the port is free");
    impostor.set_nonblocking(true).expect("a socket");
    let third = run(&["push"], &[&photo]).succeeds();
    assert!(
        third.contains("1 already backed up"),
        "the mount is known and not up: {third}"
    );
    assert!(
        impostor.accept().is_err(),
        "another program is shown no token"
    );
    run(&["trash", "list"], &[]).succeeds();
}
