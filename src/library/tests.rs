//! The outbox, against a server that other devices change as well.

use std::sync::Arc;
use std::time::Duration;

use heirloom_protocol::{ErrorCode, Fingerprint, LibraryPath};
use tempfile::TempDir;

use super::Library;
use crate::journal::{
    FileId, FileRecord, FileState, FinishedUpload, Journal, NameChange, NameUpdate, Stamp,
    UploadOutcome,
};
use crate::remote::Remote;
use crate::remote::fake::{FakeServer, Fault, State, receipt};

struct Device {
    server: FakeServer,
    journal: Arc<Journal>,
    library: Library,
    _folder: TempDir,
}

fn path(name: &str) -> LibraryPath {
    LibraryPath::new(name).unwrap()
}

fn image(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

fn put(name: &str, number: u64) -> NameChange {
    NameChange::Put {
        path: path(name),
        fingerprint: Fingerprint::of(&image(number)),
        mtime_ns: 5,
    }
}

impl Device {
    async fn new() -> Self {
        let server = FakeServer::start().await;
        let folder = TempDir::new().unwrap();
        let journal = Arc::new(Journal::open(&folder.path().join("journal.redb")).unwrap());
        let library = start(&journal, &server);
        Self {
            server,
            journal,
            library,
            _folder: folder,
        }
    }

    /// Adds images to the server.
    fn add_images(&self, numbers: std::ops::Range<u64>) {
        let mut state = self.server.state();
        numbers.map(image).for_each(|content| {
            state.images.insert(Fingerprint::of(&content), content);
        });
    }

    fn send(&self, changes: Vec<NameChange>) {
        self.journal.queue_names(changes).unwrap();
        self.library.wake();
    }

    async fn until(&self, done: impl Fn(&State) -> bool) {
        self.server.until(done).await;
    }

    /// Waits until the outbox is empty.
    async fn until_sent(&self) {
        let sent = async {
            while self.journal.names_queued() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), sent)
            .await
            .expect("in time");
    }

    /// A file that is backed up, with its name in the outbox.
    fn backed_up(&self, id: u64, name: &str, number: u64) {
        let (stamp, content) = (
            Stamp {
                size: 8,
                mtime_ns: 5,
            },
            image(number),
        );
        let fingerprint = Fingerprint::of(&content);
        let record = FileRecord {
            path: path(name),
            stamp,
            state: FileState::Pending { fingerprint },
        };
        self.journal.record(vec![(FileId(id), record)]).unwrap();
        let outcome = UploadOutcome::BackedUp {
            receipt: receipt(&content),
        };
        self.journal
            .finish_uploads(vec![FinishedUpload {
                id: FileId(id),
                stamp,
                fingerprint,
                outcome,
            }])
            .unwrap();
    }

    fn fingerprint_at(&self, name: &str) -> Option<Fingerprint> {
        self.server
            .state()
            .library
            .get(&path(name))
            .map(|(_, fingerprint)| *fingerprint)
    }
}

fn start(journal: &Arc<Journal>, server: &FakeServer) -> Library {
    let remote = Remote::new(&server.login()).unwrap();
    Library::start(
        &tokio::runtime::Handle::current(),
        Arc::clone(journal),
        remote,
    )
}

#[tokio::test]
async fn a_thousand_names_take_a_few_requests() {
    let device = Device::new().await;
    device.add_images(0..1000);
    for number in 0..1000 {
        device.send(vec![put(&format!("{number}.jpg"), number)]);
    }
    device.until(|state| state.library.len() == 1000).await;
    device.until_sent().await;
    let requests = device.server.state().count("/library");
    // The journal writes one by one here; names go out side by side with that.
    assert!(requests < 100, "{requests}");
    device.library.stop().await;
}

#[tokio::test]
async fn changes_of_names_are_sent_in_order() {
    let device = Device::new().await;
    device.add_images(0..4);
    device.send(vec![
        put("a.jpg", 1),
        put("b.jpg", 2),
        NameChange::Move {
            from: path("a.jpg"),
            to: path("c.jpg"),
        },
        put("a.jpg", 3),
        NameChange::Remove {
            path: path("b.jpg"),
        },
        NameChange::Move {
            from: path("c.jpg"),
            to: path("b.jpg"),
        },
    ]);
    device.until_sent().await;
    assert_eq!(
        device.fingerprint_at("a.jpg"),
        Some(Fingerprint::of(&image(3)))
    );
    assert_eq!(
        device.fingerprint_at("b.jpg"),
        Some(Fingerprint::of(&image(1)))
    );
    assert_eq!(device.fingerprint_at("c.jpg"), None);
    device.library.stop().await;
}

#[tokio::test]
async fn a_change_that_conflicts_is_rebased_and_sent_again() {
    let device = Device::new().await;
    device.add_images(0..4);
    device.send(vec![put("a.jpg", 1), put("b.jpg", 1), put("c.jpg", 1)]);
    device.until_sent().await;
    for name in ["a.jpg", "b.jpg", "c.jpg"] {
        let mut state = device.server.state();
        state.version += 10;
        let version = state.version;
        state
            .library
            .insert(path(name), (version, Fingerprint::of(&image(2))));
    }
    device.send(vec![
        put("a.jpg", 3),
        NameChange::Remove {
            path: path("b.jpg"),
        },
        NameChange::Move {
            from: path("c.jpg"),
            to: path("d.jpg"),
        },
    ]);
    device.until_sent().await;
    assert_eq!(
        device.fingerprint_at("a.jpg"),
        Some(Fingerprint::of(&image(3)))
    );
    assert_eq!(
        (
            device.fingerprint_at("b.jpg"),
            device.fingerprint_at("c.jpg")
        ),
        (None, None)
    );
    assert!(device.fingerprint_at("d.jpg").is_some());
    device.library.stop().await;
}

#[tokio::test]
async fn a_photo_moved_after_another_device_removed_it_is_in_the_library_under_its_new_name() {
    let device = Device::new().await;
    device.add_images(1..2);
    device.backed_up(1, "a.jpg", 1);
    device.library.wake();
    device.until_sent().await;
    device.server.state().library.clear();
    device
        .journal
        .update_names(vec![NameUpdate::Rename {
            id: FileId(1),
            to: path("b.jpg"),
        }])
        .unwrap();
    device.send(vec![NameChange::Move {
        from: path("a.jpg"),
        to: path("b.jpg"),
    }]);
    device.until_sent().await;
    assert_eq!(
        device.fingerprint_at("b.jpg"),
        Some(Fingerprint::of(&image(1)))
    );
    for name in ["b.jpg", "never-there.jpg"] {
        device.send(vec![NameChange::Remove { path: path(name) }]);
    }
    device.until_sent().await;
    assert!(device.server.state().library.is_empty());
    device.library.stop().await;
}

#[tokio::test]
async fn a_change_that_keeps_conflicting_is_dropped_in_the_end() {
    let device = Device::new().await;
    device.add_images(0..2);
    for version in 1..=20 {
        let outcome =
            format!("{{\"outcomes\":[{{\"outcome\":\"conflict\",\"current\":{version}}}]}}");
        device
            .server
            .fail("/library", Fault::Garbage(outcome.leak()));
    }
    device.send(vec![put("a.jpg", 1)]);
    device.until_sent().await;
    assert_eq!(device.server.state().count("/library"), 6);
    device.library.stop().await;
}

#[tokio::test]
async fn an_image_that_the_server_lost_is_queued_for_upload_again() {
    let device = Device::new().await;
    let mut requeued = device.library.requeued();
    device.backed_up(1, "a.jpg", 1);
    device.library.wake();
    tokio::time::timeout(Duration::from_secs(20), requeued.changed())
        .await
        .expect("in time")
        .unwrap();
    let fingerprint = Fingerprint::of(&image(1));
    assert_eq!(device.journal.receipt(fingerprint).unwrap(), None);
    assert_eq!(
        device.journal.file(FileId(1)).unwrap().unwrap().state,
        FileState::Pending { fingerprint }
    );
    device.until_sent().await;
    device.library.stop().await;
}

#[tokio::test]
async fn a_name_that_the_server_rejects_does_not_block_the_others() {
    let device = Device::new().await;
    device.add_images(0..8);
    // The batch of eight, four, two and one: the first change is the bad one.
    for _ in 0..4 {
        device
            .server
            .fail("/library", Fault::Problem(ErrorCode::MalformedPath, None));
    }
    device.send(
        (0..8)
            .map(|number| put(&format!("{number}.jpg"), number))
            .collect(),
    );
    device.until_sent().await;
    assert_eq!(device.server.state().library.len(), 7);
    device.library.stop().await;
}

#[tokio::test]
async fn queued_names_survive_a_network_failure_and_a_restart() {
    let mut device = Device::new().await;
    device.add_images(0..3);
    device.server.stop().await;
    device.send(vec![put("a.jpg", 1), put("b.jpg", 2)]);
    device.library.stop().await;
    assert_eq!(device.journal.names_queued(), 2);
    device.server.restart();
    device.server.fail("/library", Fault::CutAfter);
    device
        .server
        .fail("/library", Fault::Problem(ErrorCode::Unavailable, Some(1)));
    device.library = start(&device.journal, &device.server);
    device.until_sent().await;
    assert_eq!(device.server.state().library.len(), 2);
    device.library.stop().await;
}
