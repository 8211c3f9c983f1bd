//! The promises of the design, one test for each, kept by the whole installation.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::SystemTime;

use heirloom_protocol::message::{CheckImage, CheckedImage, Session};
use heirloom_protocol::possession::{Proof, Prover};
use heirloom_protocol::{ContentDigest, Fingerprint, route};
use rustix::fs::XattrFlags;

use crate::eventually::{BACKED_UP_WITHIN, SOON, eventually};
use crate::http_client::{HttpClient, HttpResponse};
use crate::installation::Installation;

#[test]
fn no_photo_is_ever_lost_or_torn() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let mut device = installation.device(&anna, "laptop");
    let (photo, image) = installation.photo("photo.jpg", 700_000);
    installation.server.kill();
    device.copy_in(&photo);
    device.kill();
    // After close it is an ordinary file that needs no program of ours.
    assert_eq!(
        fs::read(device.state().join("spool/photo.jpg")).expect("a file"),
        fs::read(&photo).expect("a file")
    );
    installation.server.start_again();
    device.mount();
    device.wait();
    assert_eq!(
        installation.server.images().into_keys().collect::<Vec<_>>(),
        [image]
    );
}

#[test]
fn a_photo_that_a_power_cut_tore_is_flagged_and_not_sent() {
    let installation = Installation::new();
    let anna = installation.user("anna");
    let mut device = installation.unmounted_device(&anna, "laptop");
    // What is left of a photo that was closed but not synced when the machine lost power.
    let torn = device.state().join("spool/torn.jpg");
    fs::create_dir_all(device.state().join("spool")).expect("a folder");
    fs::write(&torn, [0; 4096]).expect("writable");
    rustix::fs::setxattr(
        &torn,
        "user.heirloom.mark",
        b"1 closed an-earlier-boot",
        XattrFlags::empty(),
    )
    .expect("marked");
    device.mount();
    eventually(SOON, "it is looked at", || {
        device.attribute("torn.jpg", "state") != "pending"
    });
    assert_eq!(device.attribute("torn.jpg", "state"), "failed");
    assert!(
        device
            .attribute("torn.jpg", "error")
            .contains("copy it again")
    );
    assert!(installation.server.images().is_empty());
}

#[test]
fn the_mount_needs_no_network() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let link = installation.link();
    let mut device = installation.device_over_link(&anna, "laptop", &link);
    device.mount();
    let (before, _) = installation.photo("before.jpg", 200_000);
    device.copy_in(&before);
    device.wait();
    link.disconnect();
    let (after, image) = installation.photo("after.jpg", 200_000);
    device.copy_in(&after);
    for photo in [&before, &after] {
        let name = photo.file_name().expect("a name");
        assert_eq!(
            fs::read(device.path(name)).expect("read"),
            fs::read(photo).expect("a photo")
        );
    }
    assert_eq!(fs::read_dir(device.mountpoint()).expect("list").count(), 2);
    link.reconnect();
    device.wait();
    assert!(installation.server.images().contains_key(&image));
}

#[test]
fn local_bytes_are_given_up_only_after_a_receipt() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let mut device = installation.device(&anna, "laptop");
    let (photo, _) = installation.photo("photo.jpg", 300_000);
    device.copy_in(&photo);
    device.wait();
    device.unmount();
    // Without a space limit nothing is freed.
    assert_eq!(
        fs::read(device.state().join("spool/photo.jpg")).expect("a file"),
        fs::read(&photo).expect("a photo")
    );
}

#[test]
fn state_is_honest() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let link = installation.link();
    link.disconnect();
    let mut device = installation.device_over_link(&anna, "laptop", &link);
    device.mount();
    let (photo, image) = installation.photo("photo.jpg", 6 << 20);
    device.copy_in(&photo);
    fs::write(device.path("notes.txt"), "no photo").expect("writable");
    assert_eq!(
        device.attribute("photo.jpg", "state"),
        "pending",
        "from the first moment"
    );
    eventually(SOON, "each file has its state", || {
        let status = device.status();
        (
            status.waiting(),
            status.files("local"),
            status.files("backed_up"),
        ) == (1, 1, 0)
    });
    link.limit_rate_to(2 << 20);
    link.reconnect();
    eventually(
        BACKED_UP_WITHIN,
        "it is being uploaded, and says how far",
        || {
            device.attribute("photo.jpg", "state") == "uploading"
                && !device.attribute("photo.jpg", "progress").is_empty()
        },
    );
    assert!(
        !installation.server.images().contains_key(&image),
        "not before the server has it all"
    );
    link.full_speed();
    // Once it says "backed up", the server has all of it.
    eventually(BACKED_UP_WITHIN, "it is backed up", || {
        device.attribute("photo.jpg", "state") == "backed_up"
    });
    assert!(installation.server.images().contains_key(&image));
    assert_eq!(device.attribute("notes.txt", "state"), "local");
}

#[test]
fn the_senders_word_is_not_enough() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let client = installation.client(&anna);
    let (claimed, other) = (
        installation.generator.generate(100_000),
        installation.generator.generate(100_000),
    );
    let image = Fingerprint::of(&claimed);
    let answer = put(&client, image, 0, &other, other.len());
    assert_eq!(answer.status, 422, "{answer:?}");
    let halves = other.split_at(50_000);
    put(&client, image, 50_000, halves.1, other.len());
    let answer = put(&client, image, 0, halves.0, other.len());
    assert_eq!(answer.status, 422, "nor in two shards: {answer:?}");
    assert!(installation.server.images().is_empty(), "nothing is stored");
    assert_eq!(client.image(image), None);
    assert_eq!(
        put(&client, image, 0, &claimed, claimed.len()).status,
        200,
        "the true bytes are taken still"
    );
}

#[test]
fn a_fingerprint_alone_gives_no_access() {
    let mut installation = Installation::new();
    let (anna, bert) = (installation.user("anna"), installation.user("bert"));
    let photo = installation.generator.generate(200_000);
    let image = Fingerprint::of(&photo);
    assert_eq!(
        put(&installation.client(&anna), image, 0, &photo, photo.len()).status,
        200
    );

    let berts = installation.client(&bert);
    let session: Session = berts.message(route::SESSION);
    let annas: Session = installation.client(&anna).message(route::SESSION);
    let unknown = Fingerprint::of(b"an image that no user has");
    let prove = |session: &Session, user: &Session, bytes: &[u8]| {
        let mut prover = Prover::new(&session.nonce, user.user, bytes.len() as u64);
        prover.update(bytes);
        prover.finish()
    };
    let mut damaged = photo.clone();
    damaged[100_000] ^= 1;
    let useless = [
        None,
        Some(prove(&session, &session, &damaged)),
        Some(prove(&annas, &annas, &photo)),
    ];
    for (attempt, proof) in useless.into_iter().enumerate() {
        let said = check(&berts, image, photo.len(), proof);
        let of_unknown = check(&berts, unknown, photo.len(), proof);
        let said = String::from_utf8(said.body)
            .expect("JSON")
            .replace(&image.to_string(), &unknown.to_string());
        assert_eq!(
            said.into_bytes(),
            of_unknown.body,
            "attempt {attempt} reveals nothing"
        );
    }
    assert_eq!(berts.image(image), None, "no bytes");
    assert_eq!(berts.get(&route::upload(image)).status, 404, "no upload");
    let put_name = format!(
        r#"{{"changes":[{{"change":"put","path":"stolen.jpg","fingerprint":"{image}","mtime_ns":0,"base":0}}]}}"#
    );
    assert!(
        String::from_utf8_lossy(&berts.post(route::LIBRARY_CHANGES, put_name.as_bytes()).body)
            .contains("refused")
    );
    assert!(berts.library().is_empty(), "no listing");

    let honest = check(
        &berts,
        image,
        photo.len(),
        Some(prove(&session, &session, &photo)),
    );
    let linked: Vec<CheckedImage> = serde_json::from_slice(&honest.body).expect("an answer");
    assert!(
        matches!(linked.as_slice(), [CheckedImage::Linked { .. }]),
        "a user who has the bytes gets the photo"
    );
    assert_eq!(berts.image(image), Some(photo));
}

#[test]
fn every_request_may_be_sent_twice() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let client = installation.client(&anna);
    let photo = installation.generator.generate(90_000);
    let image = Fingerprint::of(&photo);
    let halves = photo.split_at(40_000);
    let twice = |ask: &dyn Fn() -> HttpResponse| {
        let (first, second) = (ask(), ask());
        assert_eq!((first.status, &first.body), (second.status, &second.body));
        assert_eq!(
            first.status,
            200,
            "{}",
            String::from_utf8_lossy(&first.body)
        );
    };
    twice(&|| put(&client, image, 0, halves.0, photo.len()));
    twice(&|| put(&client, image, 40_000, halves.1, photo.len()));
    twice(&|| put(&client, image, 0, &photo, photo.len()));
    twice(&|| check(&client, image, photo.len(), None));
    let changes = [
        format!(
            r#"{{"change":"put","path":"a.jpg","fingerprint":"{image}","mtime_ns":5,"base":0}}"#
        ),
        r#"{"change":"move","from":"a.jpg","to":"b.jpg","base":1}"#.to_owned(),
    ];
    for change in changes {
        twice(&|| {
            client.post(
                route::LIBRARY_CHANGES,
                format!(r#"{{"changes":[{change}]}}"#).as_bytes(),
            )
        });
    }
    assert_eq!(
        client.library().into_iter().collect::<Vec<_>>(),
        [("b.jpg".to_owned(), image)]
    );
    assert_eq!(installation.server.images().len(), 1);
}

#[test]
fn derived_data_may_be_deleted() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let mut device = installation.device(&anna, "laptop");
    let (first, _) = installation.photo("first.jpg", 100_000);
    device.copy_in(&first);
    device.wait();
    installation.server.kill();
    let (second, image) = installation.photo("second.jpg", 200_000);
    device.copy_in(&second);
    device.kill();
    // Everything except the photos themselves and the login.
    for entry in fs::read_dir(device.state())
        .expect("the state directory")
        .map(|entry| entry.expect("an entry"))
    {
        if entry.file_name() != "spool" && entry.file_type().expect("a type").is_file() {
            fs::remove_file(entry.path()).expect("ours");
        }
    }
    installation.server.start_again();
    device.mount();
    device.wait();
    assert_eq!(
        device.status().sent(),
        200_000,
        "only what had not been sent"
    );
    assert_eq!(
        installation.client(&anna).library().get("second.jpg"),
        Some(&image)
    );
    installation.assert_backed_up(&installation.scratch_folder("camera"), &anna, "");
}

#[test]
fn kernel_requests_never_wait_for_the_network() {
    let mut installation = Installation::new();
    let anna = installation.user("anna");
    let link = installation.link();
    // So slow that a request that waited for the network would not end within the test.
    link.limit_rate_to(1_000);
    let mut device = installation.device_over_link(&anna, "laptop", &link);
    device.mount();
    let (photo, _) = installation.photo("photo.jpg", 5 << 20);
    device.copy_in(&photo);
    let mountpoint = device.mountpoint();
    let requests = std::thread::spawn(move || use_every_request(&mountpoint));
    eventually(SOON, "the kernel's requests are answered", || {
        requests.is_finished()
    });
    requests.join().expect("they succeeded");
    assert!(
        device.status().waiting() > 0,
        "the network had not carried it by then"
    );
}

/// Works on `photo.jpg` in the mount with every kernel request for files and folders.
fn use_every_request(mountpoint: &Path) {
    fs::create_dir(mountpoint.join("folder")).expect("mkdir");
    fs::rename(
        mountpoint.join("photo.jpg"),
        mountpoint.join("folder/renamed.jpg"),
    )
    .expect("rename");
    let mut file = fs::File::options()
        .read(true)
        .write(true)
        .open(mountpoint.join("folder/renamed.jpg"))
        .expect("open");
    file.read_to_end(&mut Vec::new()).expect("read");
    file.write_all(b"a trailer").expect("write");
    file.sync_all().expect("fsync");
    file.set_len(5 << 20).expect("truncate");
    file.set_modified(SystemTime::UNIX_EPOCH).expect("utimens");
    drop(file);
    fs::copy(
        mountpoint.join("folder/renamed.jpg"),
        mountpoint.join("copy.jpg"),
    )
    .expect("create");
    assert_eq!(fs::read_dir(mountpoint).expect("list").count(), 2);
    rustix::fs::statvfs(mountpoint).expect("statfs");
    let mut state = [0_u8; 64];
    rustix::fs::getxattr(
        mountpoint.join("copy.jpg"),
        "user.heirloom.state",
        &mut state,
    )
    .expect("getxattr");
    fs::remove_file(mountpoint.join("folder/renamed.jpg")).expect("unlink");
    fs::remove_dir(mountpoint.join("folder")).expect("rmdir");
}

/// Sends one shard.
fn put(
    client: &HttpClient,
    image: Fingerprint,
    offset: u64,
    bytes: &[u8],
    size: usize,
) -> HttpResponse {
    let digest = ContentDigest::of(bytes).to_string();
    let size = size.to_string();
    let headers = [
        (route::UPLOAD_LENGTH, size.as_str()),
        (route::CONTENT_DIGEST, digest.as_str()),
    ];
    client.request("PUT", &route::shard(image, offset), &headers, bytes)
}

/// Checks one image.
fn check(
    client: &HttpClient,
    image: Fingerprint,
    size: usize,
    proof: Option<Proof>,
) -> HttpResponse {
    let question = [CheckImage {
        fingerprint: image,
        size: size as u64,
        proof,
    }];
    client.post(route::CHECK, &serde_json::to_vec(&question).expect("JSON"))
}
