//! Names on their way to a server that other devices change as well.

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

struct House {
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

impl House {
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

    /// The server holds these images.
    fn hold(&self, numbers: std::ops::Range<u64>) {
        let mut state = self.server.state();
        numbers.map(image).for_each(|content| {
            state.images.insert(Fingerprint::of(&content), content);
        });
    }

    fn send(&self, changes: Vec<NameChange>) {
        self.journal.queue_names(changes).unwrap();
        self.library.wake();
    }

    async fn until(&self, like_this: impl Fn(&State) -> bool) {
        self.server.until(like_this).await;
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

    fn stands(&self, name: &str) -> Option<Fingerprint> {
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
    let house = House::new().await;
    house.hold(0..1000);
    for number in 0..1000 {
        house.send(vec![put(&format!("{number}.jpg"), number)]);
    }
    house.until(|state| state.library.len() == 1000).await;
    house.until_sent().await;
    let requests = house.server.state().count("/library");
    // The journal writes one by one here; names go out side by side with that.
    assert!(requests < 100, "{requests}");
    house.library.stop().await;
}

#[tokio::test]
async fn changes_of_names_are_sent_in_order() {
    let house = House::new().await;
    house.hold(0..4);
    house.send(vec![
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
    house.until_sent().await;
    assert_eq!(house.stands("a.jpg"), Some(Fingerprint::of(&image(3))));
    assert_eq!(house.stands("b.jpg"), Some(Fingerprint::of(&image(1))));
    assert_eq!(house.stands("c.jpg"), None);
    house.library.stop().await;
}

#[tokio::test]
async fn a_change_that_conflicts_is_rebased_and_sent_again() {
    let house = House::new().await;
    house.hold(0..4);
    house.send(vec![put("a.jpg", 1), put("b.jpg", 1), put("c.jpg", 1)]);
    house.until_sent().await;
    for name in ["a.jpg", "b.jpg", "c.jpg"] {
        let mut state = house.server.state();
        state.version += 10;
        let version = state.version;
        state
            .library
            .insert(path(name), (version, Fingerprint::of(&image(2))));
    }
    house.send(vec![
        put("a.jpg", 3),
        NameChange::Remove {
            path: path("b.jpg"),
        },
        NameChange::Move {
            from: path("c.jpg"),
            to: path("d.jpg"),
        },
    ]);
    house.until_sent().await;
    assert_eq!(house.stands("a.jpg"), Some(Fingerprint::of(&image(3))));
    assert_eq!((house.stands("b.jpg"), house.stands("c.jpg")), (None, None));
    assert!(house.stands("d.jpg").is_some());
    house.library.stop().await;
}

#[tokio::test]
async fn a_photo_moved_after_another_device_removed_it_is_in_the_library_under_its_new_name() {
    let house = House::new().await;
    house.hold(1..2);
    house.backed_up(1, "a.jpg", 1);
    house.library.wake();
    house.until_sent().await;
    house.server.state().library.clear();
    house
        .journal
        .update_names(vec![NameUpdate::Rename {
            id: FileId(1),
            to: path("b.jpg"),
        }])
        .unwrap();
    house.library.moved(&path("a.jpg"), &path("b.jpg")).unwrap();
    house.until_sent().await;
    assert_eq!(house.stands("b.jpg"), Some(Fingerprint::of(&image(1))));
    house.library.removed(&path("b.jpg")).unwrap();
    house.library.removed(&path("never-there.jpg")).unwrap();
    house.until_sent().await;
    assert!(house.server.state().library.is_empty());
    house.library.stop().await;
}

#[tokio::test]
async fn a_change_that_keeps_conflicting_is_dropped_in_the_end() {
    let house = House::new().await;
    house.hold(0..2);
    for version in 1..=20 {
        let outcome =
            format!("{{\"outcomes\":[{{\"outcome\":\"conflict\",\"current\":{version}}}]}}");
        house
            .server
            .fail("/library", Fault::Garbage(outcome.leak()));
    }
    house.send(vec![put("a.jpg", 1)]);
    house.until_sent().await;
    assert_eq!(house.server.state().count("/library"), 6);
    house.library.stop().await;
}

#[tokio::test]
async fn an_image_that_the_server_lost_is_queued_for_upload_again() {
    let house = House::new().await;
    let mut requeued = house.library.requeued();
    house.backed_up(1, "a.jpg", 1);
    house.library.wake();
    tokio::time::timeout(Duration::from_secs(20), requeued.changed())
        .await
        .expect("in time")
        .unwrap();
    let fingerprint = Fingerprint::of(&image(1));
    assert_eq!(house.journal.receipt(fingerprint).unwrap(), None);
    assert_eq!(
        house.journal.file(FileId(1)).unwrap().unwrap().state,
        FileState::Pending { fingerprint }
    );
    house.until_sent().await;
    house.library.stop().await;
}

#[tokio::test]
async fn a_name_that_the_server_rejects_does_not_block_the_others() {
    let house = House::new().await;
    house.hold(0..8);
    // The batch of eight, four, two and one: the first change is the bad one.
    for _ in 0..4 {
        house
            .server
            .fail("/library", Fault::Problem(ErrorCode::MalformedPath, None));
    }
    house.send(
        (0..8)
            .map(|number| put(&format!("{number}.jpg"), number))
            .collect(),
    );
    house.until_sent().await;
    assert_eq!(house.server.state().library.len(), 7);
    house.library.stop().await;
}

#[tokio::test]
async fn queued_names_survive_an_outage_and_a_restart() {
    let mut house = House::new().await;
    house.hold(0..3);
    house.server.stop().await;
    house.send(vec![put("a.jpg", 1), put("b.jpg", 2)]);
    house.library.stop().await;
    assert_eq!(house.journal.names_queued(), 2);
    house.server.start_again();
    house.server.fail("/library", Fault::CutAfter);
    house
        .server
        .fail("/library", Fault::Problem(ErrorCode::Unavailable, Some(1)));
    house.library = start(&house.journal, &house.server);
    house.until_sent().await;
    assert_eq!(house.server.state().library.len(), 2);
    house.library.stop().await;
}
