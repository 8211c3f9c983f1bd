//! Photos whose bytes are only on the server: they keep their metadata, use no disk space, and are
//! fetched when they are read.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::command::{output_of, run};
use crate::device::Device;
use crate::eventually::{SOON, eventually};
use crate::installation::Installation;
use crate::mapping::Mapping;

/// Bytes of a photo that is fetched in several ranges.
const LARGE: usize = 5_000_000;

impl Device {
    /// `heirloom free` for these paths below the mountpoint, or for all.
    #[track_caller]
    fn free(&self, paths: &[&str]) -> String {
        let mut command = self.heirloom(["free"]);
        if paths.is_empty() {
            command.arg(self.mountpoint());
        }
        command.args(paths.iter().map(|path| self.path(path)));
        output_of(command).succeeds()
    }

    fn fetched(&self) -> u64 {
        self.status().number("/recall/fetched_bytes")
    }
}

/// Backs a new photo up and frees it; returns its bytes.
fn backed_up_and_freed(
    installation: &mut Installation,
    device: &Device,
    name: &str,
    bytes: usize,
) -> Vec<u8> {
    let (file, _) = installation.photo(name, bytes);
    run("cp", [Path::new("-p"), &file, &device.mountpoint()]).succeeds();
    device.wait();
    device.free(&[name]);
    assert_eq!(device.attribute(name, "state"), "placeholder");
    fs::read(file).expect("the original")
}

#[test]
fn a_freed_photo_keeps_its_metadata_uses_no_space_and_returns_when_read() {
    let mut installation = Installation::new();
    let device = installation.device_of_new_user("anna");
    let photo = backed_up_and_freed(&mut installation, &device, "a.jpg", LARGE);
    let original =
        fs::metadata(installation.scratch_folder("camera").join("a.jpg")).expect("the original");
    let shown = fs::metadata(device.path("a.jpg")).expect("it is shown");
    assert_eq!(
        (shown.size(), shown.mtime_nsec()),
        (original.size(), original.mtime_nsec())
    );
    let spooled = device.state().join("spool/a.jpg");
    assert!(
        fs::metadata(&spooled).expect("spooled").blocks() * 512 < 200_000,
        "its room was given back"
    );
    assert_eq!(device.status().files("placeholder"), 1);
    assert_eq!(
        fs::read(device.path("a.jpg")).expect("it comes back"),
        photo
    );
    eventually(SOON, "it is an ordinary file again", || {
        device.attribute("a.jpg", "state") == "backed_up"
    });
    assert_eq!(
        fs::metadata(device.path("a.jpg"))
            .expect("shown")
            .mtime_nsec(),
        original.mtime_nsec()
    );
    assert_eq!(fs::read(spooled).expect("spooled"), photo);
    assert_eq!(device.status().waiting(), 0, "nothing is sent again");
}

#[test]
fn copying_a_freed_photo_copies_its_bytes_not_its_holes() {
    let mut installation = Installation::new();
    let device = installation.device_of_new_user("anna");
    for (number, how) in [
        &["-p"][..],
        &["--sparse=always"],
        &["--sparse=never"],
        &["--reflink=auto"],
    ]
    .iter()
    .enumerate()
    {
        let name = format!("{number}.jpg");
        let photo = backed_up_and_freed(&mut installation, &device, &name, LARGE);
        let copy = installation.scratch_folder("copies").join(&name);
        let mut command = Command::new("cp");
        command.args(*how).arg(device.path(&name)).arg(&copy);
        output_of(command).succeeds();
        assert!(fs::read(copy).expect("a copy") == photo, "cp {how:?}");
        run(
            "cp",
            [device.path(&name), device.path(format!("copy-{name}"))],
        )
        .succeeds();
        assert!(
            fs::read(device.path(format!("copy-{name}"))).expect("a copy") == photo,
            "inside the mount"
        );
    }
}

#[test]
fn stat_rename_and_remove_fetch_nothing() {
    let mut installation = Installation::new();
    let device = installation.device_of_new_user("anna");
    for name in ["a.jpg", "b.jpg", "c.jpg"] {
        backed_up_and_freed(&mut installation, &device, name, LARGE);
    }
    run("find", [device.mountpoint().as_path(), Path::new("-ls")]).succeeds();
    run("ls", [Path::new("-lR"), &device.mountpoint()]).succeeds();
    fs::rename(device.path("a.jpg"), device.path("d.jpg")).expect("a rename");
    fs::remove_file(device.path("b.jpg")).expect("a removal");
    run(
        "touch",
        [
            Path::new("-c"),
            Path::new("-d"),
            Path::new("2001-02-03 04:05:06"),
            &device.path("c.jpg"),
        ],
    )
    .succeeds();
    run("chmod", [Path::new("600"), &device.path("c.jpg")]).succeeds();
    assert_eq!(device.fetched(), 0);
    assert_eq!(device.attribute("d.jpg", "state"), "placeholder");
    let shown = fs::metadata(device.path("c.jpg")).expect("shown");
    fs::read(device.path("c.jpg")).expect("it comes back");
    eventually(SOON, "it is whole", || {
        device.attribute("c.jpg", "state") != "placeholder"
    });
    assert_eq!(
        fs::metadata(device.path("c.jpg")).expect("shown").mtime(),
        shown.mtime(),
        "the time that was set"
    );
}

#[test]
fn browsing_a_thousand_placeholders_fetches_none() {
    let mut installation = Installation::new();
    let device = installation.device_of_new_user("anna");
    for number in 0..1_000 {
        installation.photo(&format!("{number}.jpg"), 70_000 + number);
    }
    run(
        "cp",
        [
            Path::new("-r"),
            &installation.scratch_folder("camera"),
            &device.path("album"),
        ],
    )
    .succeeds();
    device.wait();
    device.free(&[]);
    assert_eq!(device.status().files("placeholder"), 1_000);
    for number in 0..1_000 {
        let head = run(
            "head",
            [
                Path::new("-c"),
                Path::new("4096"),
                &device.path(format!("album/{number}.jpg")),
            ],
        );
        assert_eq!(head.code, 0);
    }
    let info = run("gio", [Path::new("info"), &device.path("album/7.jpg")]).succeeds();
    assert!(info.contains("image/"), "it was looked at: {info}");
    for number in 0..1_000 {
        let file = device.path(format!("album/{number}.jpg"));
        let kind = run(
            "gio",
            [
                Path::new("info"),
                Path::new("-a"),
                Path::new("standard::content-type"),
                &file,
            ],
        );
        assert!(kind.succeeds().contains("image/"), "{number}");
    }
    assert_eq!(device.fetched(), 0, "what sniffing reads was kept");
    assert_eq!(device.status().files("placeholder"), 1_000);
}

#[test]
fn writing_into_a_freed_photo_keeps_the_other_bytes() {
    let mut installation = Installation::new();
    let device = installation.device_of_new_user("anna");
    let mut photo = backed_up_and_freed(&mut installation, &device, "a.jpg", LARGE);
    let mut file = File::options()
        .write(true)
        .open(device.path("a.jpg"))
        .expect("it opens");
    file.seek(SeekFrom::Start(3_000_000)).expect("a place");
    file.write_all(b"edited").expect("a write");
    drop(file);
    photo[3_000_000..3_000_006].copy_from_slice(b"edited");
    assert!(fs::read(device.path("a.jpg")).expect("readable") == photo);
    device.wait();
    assert_eq!(
        device.attribute("a.jpg", "fingerprint"),
        heirloom_protocol::Fingerprint::of(&photo).to_string()
    );
}

#[test]
fn truncating_a_freed_photo_keeps_the_bytes_before_the_cut() {
    let mut installation = Installation::new();
    let device = installation.device_of_new_user("anna");
    let photo = backed_up_and_freed(&mut installation, &device, "a.jpg", LARGE);
    run(
        "truncate",
        [Path::new("-s"), Path::new("2000000"), &device.path("a.jpg")],
    )
    .succeeds();
    assert!(fs::read(device.path("a.jpg")).expect("readable") == photo[..2_000_000]);
    device.wait();
}

#[test]
fn overwriting_a_freed_photo_fetches_nothing() {
    let mut installation = Installation::new();
    let device = installation.device_of_new_user("anna");
    backed_up_and_freed(&mut installation, &device, "a.jpg", LARGE);
    let (other, fingerprint) = installation.photo("other.jpg", 300_000);
    fs::write(device.path("a.jpg"), fs::read(other).expect("a photo")).expect("it is written anew");
    device.wait();
    assert_eq!(
        device.attribute("a.jpg", "fingerprint"),
        fingerprint.to_string()
    );
    assert_eq!(device.fetched(), 0);
    backed_up_and_freed(&mut installation, &device, "b.jpg", LARGE);
    fs::remove_file(device.path("a.jpg")).expect("a removal");
    // truncate(1) would open it for writing first.
    run(
        "perl",
        [
            Path::new("-e"),
            Path::new("truncate $ARGV[0], 0 or die $!"),
            &device.path("b.jpg"),
        ],
    )
    .succeeds();
    assert_eq!(fs::metadata(device.path("b.jpg")).expect("shown").len(), 0);
    assert_eq!(device.fetched(), 0);
}

#[test]
fn reading_a_placeholder_offline_fails_in_time_and_status_says_why() {
    let mut installation = Installation::new();
    let person = installation.user("anna");
    let mut device = installation
        .unmounted_device(&person, "anna")
        .with_options(&["--read-timeout", "2"]);
    device.mount();
    let photo = backed_up_and_freed(&mut installation, &device, "a.jpg", LARGE);
    installation.server.stop();
    let begun = Instant::now();
    let error = fs::read(device.path("a.jpg")).expect_err("no server can send it");
    assert_eq!(
        error.raw_os_error(),
        Some(rustix::io::Errno::IO.raw_os_error()),
        "{error}"
    );
    // The head is local; the rest has to be waited for, perhaps by several requests in turn.
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert!(
        device.status().word("/failing/0/why").contains("server"),
        "{:?}",
        device.status()
    );
    assert!(
        device.attribute("a.jpg", "error").contains("server"),
        "{:?}",
        device.attribute("a.jpg", "error")
    );
    let mut head = [0; 4096];
    File::open(device.path("a.jpg"))
        .and_then(|mut file| file.read_exact(&mut head))
        .expect("its head is here");
    assert_eq!(head, photo[..4096]);
    installation.server.start_again();
    assert!(fs::read(device.path("a.jpg")).expect("the server is back") == photo);
}

#[test]
fn a_reader_waiting_for_the_server_can_be_killed_and_others_go_on() {
    let mut installation = Installation::new();
    let device = installation.device_of_new_user("anna");
    backed_up_and_freed(&mut installation, &device, "a.jpg", LARGE);
    installation.server.stop();
    let photo = device.path("a.jpg");
    let photo = photo.to_str().expect("a plain path");
    let writing = format!("of={photo}");
    for arguments in [
        ["tail", "-c", "1000", photo, photo],
        ["dd", "if=/dev/zero", &writing, "conv=notrunc", "count=1"],
    ] {
        let mut waiting = Command::new(arguments[0]);
        waiting
            .args(&arguments[1..])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut waiting = waiting.spawn().expect("it runs");
        std::thread::sleep(Duration::from_millis(500));
        assert!(waiting.try_wait().expect("our child").is_none(), "it waits");
        assert!(
            fs::read_dir(device.mountpoint())
                .expect("others go on")
                .count()
                > 0
        );
        let begun = Instant::now();
        waiting.kill().expect("our child");
        waiting.wait().expect("it ends");
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{arguments:?} took {:?}",
            begun.elapsed()
        );
    }
}

#[test]
fn fetched_bytes_survive_a_kill() {
    let mut installation = Installation::new();
    let person = installation.user("anna");
    let mut device = installation.device(&person, "anna");
    let photo = backed_up_and_freed(&mut installation, &device, "a.jpg", 80_000_000);
    let spooled = device.state().join("spool/a.jpg");
    let here = || fs::metadata(&spooled).expect("spooled").blocks() * 512;
    let mut file = File::open(device.path("a.jpg")).expect("it opens");
    file.seek(SeekFrom::Start(10_000_000)).expect("a place");
    file.read_exact(&mut [0; 1000]).expect("bytes");
    eventually(SOON, "much of it came", || here() > 12_000_000);
    device.kill();
    drop(file);
    let before = here();
    device.mount();
    // Its mtime says that it was written to, so it is pending until it is scanned.
    eventually(SOON, "it is known again", || {
        device.attribute("a.jpg", "state") == "placeholder"
    });
    assert!(fs::read(device.path("a.jpg")).expect("it comes back") == photo);
    // What was being written at the kill, at most four ranges of one MiB, was not recorded yet.
    let room = 80_000_000 - before + (5 << 20);
    assert!(
        device.fetched() <= room,
        "{} of {room}: what was here is not fetched again",
        device.fetched()
    );
}

#[test]
fn photos_that_are_pinned_open_or_not_backed_up_are_never_freed() {
    let mut installation = Installation::new();
    let device = installation.device_of_new_user("anna");
    let (pinned, _) = installation.photo("pinned.jpg", LARGE);
    fs::create_dir(device.path("keep")).expect("a folder");
    fs::copy(&pinned, device.path("keep/pinned.jpg")).expect("a copy");
    let (open, _) = installation.photo("open.jpg", LARGE);
    device.copy_in(&open);
    device.wait();
    output_of(device.heirloom([Path::new("pin"), &device.path("keep")])).succeeds();
    let reader = File::open(device.path("open.jpg")).expect("it opens");
    device.free(&[]);
    for (name, why) in [("keep/pinned.jpg", "pinned"), ("open.jpg", "in use")] {
        assert_eq!(device.attribute(name, "state"), "backed_up");
        output_of(device.heirloom([Path::new("free"), &device.path(name)])).fails_with(&[why]);
    }
    drop(reader);
    output_of(device.heirloom([Path::new("unpin"), &device.path("keep")])).succeeds();
    installation.server.stop();
    output_of(device.heirloom([Path::new("free"), &device.path("open.jpg")]))
        .fails_with(&["server"]);
    let (late, _) = installation.photo("late.jpg", LARGE);
    device.copy_in(&late);
    installation.server.start_again();
    device.free(&["keep", "open.jpg"]);
    assert_eq!(device.attribute("keep/pinned.jpg", "state"), "placeholder");
}

#[test]
fn a_size_limited_cache_stays_within_its_limit_and_loses_nothing() {
    let mut installation = Installation::new();
    let person = installation.user("anna");
    let mut device = installation
        .unmounted_device(&person, "anna")
        .with_options(&["--cache-size", "12MiB"]);
    device.mount();
    for number in 0..5 {
        let (file, _) = installation.photo(&format!("{number}.jpg"), LARGE);
        device.copy_in(&file);
    }
    device.wait();
    eventually(SOON, "the cache is within its size", || {
        device.status().files("placeholder") >= 3
    });
    assert_eq!(device.status().files("backed_up"), 2, "no more than had to");
    for number in 0..5 {
        let name = format!("{number}.jpg");
        let original =
            fs::read(installation.scratch_folder("camera").join(&name)).expect("the original");
        assert!(
            fs::read(device.path(&name)).expect("it comes back") == original,
            "{name}"
        );
    }
}

#[test]
fn a_mapped_photo_is_not_freed() {
    let mut installation = Installation::new();
    let device = installation.device_of_new_user("anna");
    let (photo, _) = installation.photo("a.jpg", LARGE);
    device.copy_in(&photo);
    device.wait();
    // Like image viewers do: the descriptor is closed, the mapping stays.
    let file = File::open(device.path("a.jpg")).expect("it is there");
    let mapping = Mapping::to_read(&file, LARGE).expect("it can be mapped");
    drop(file);
    // Repeated until the mount has received the close.
    for _ in 0..20 {
        output_of(device.heirloom([Path::new("free"), &device.path("a.jpg")]))
            .fails_with(&["in use"]);
    }
    assert_eq!(
        mapping.read(0, LARGE),
        fs::read(&photo).expect("the original"),
        "not a byte is missing"
    );
    drop(mapping);
    device.free(&["a.jpg"]);
    assert_eq!(device.attribute("a.jpg", "state"), "placeholder");
}
