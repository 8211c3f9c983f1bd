//! The contract suite of the index: what must hold for every database behind it.
//!
//! Each test is a function over a [`TestIndex`]: a new, empty index that can be reopened. Another
//! database runs the suite with one more constructor and one more list below.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use heirloom_protocol::message::{LibraryChange, LibraryOutcome, Scope};
use heirloom_protocol::possession::UserId;
use heirloom_protocol::{ByteRange, Fingerprint, LibraryPath, RangeSet};
use heirloom_server::config::DataDir;
use heirloom_server::index::{Index, NewDevice};

mod accounts;
mod gc;
mod images;
mod library;
mod lifecycle;
mod quota;
mod trash;
mod uploads;

/// A new, empty index that can be reopened.
struct TestIndex {
    url: String,
    /// Deleted when dropped.
    folder: tempfile::TempDir,
}

/// The length of an image that is stored and intact.
async fn length_of(index: &Index, image: Fingerprint) -> Option<u64> {
    index.image_sizes(&[image]).await.unwrap().remove(&image)
}

impl TestIndex {
    fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(&folder.path().join("data")).unwrap();
        Self {
            url: data.index_url(),
            folder,
        }
    }

    async fn open(&self) -> Index {
        Index::open(&self.url).await.unwrap()
    }
}

/// An index with two users.
async fn two_users(fixture: &TestIndex) -> (Index, UserId, UserId) {
    let index = fixture.open().await;
    let anna = index.add_user("anna").await.unwrap();
    let ben = index.add_user("ben").await.unwrap();
    (index, anna, ben)
}

/// A device without a name, with a token of this hash.
fn device(token_hash: [u8; 32]) -> NewDevice {
    NewDevice {
        token_hash,
        name: None,
        scope: Scope::Full,
    }
}

fn image(number: u32) -> Fingerprint {
    Fingerprint::of(&number.to_be_bytes())
}

fn range(start: u64, end: u64) -> ByteRange {
    ByteRange::new(start, end).unwrap()
}

fn set(ranges: &[(u64, u64)]) -> RangeSet {
    ranges
        .iter()
        .map(|&(start, end)| range(start, end))
        .collect()
}

fn path(text: &str) -> LibraryPath {
    LibraryPath::new(text).unwrap()
}

fn put(at: &str, number: u32, base: u64) -> LibraryChange {
    LibraryChange::Put {
        path: path(at),
        fingerprint: image(number),
        mtime_ns: i64::from(number),
        base,
    }
}

fn relocate(from: &str, to: &str, base: u64) -> LibraryChange {
    LibraryChange::Move {
        from: path(from),
        to: path(to),
        base,
    }
}

fn remove(at: &str, base: u64) -> LibraryChange {
    LibraryChange::Remove {
        path: path(at),
        base,
    }
}

fn applied(version: u64) -> LibraryOutcome {
    LibraryOutcome::Applied { version }
}

fn conflict(current: u64) -> LibraryOutcome {
    LibraryOutcome::Conflict { current }
}

/// One test per function, over one kind of index.
macro_rules! contract_tests {
    ($fixture:expr; $($part:ident: $($promise:ident),+;)+) => {$(
        mod $part {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $promise() {
                    crate::$part::$promise(&$fixture).await;
                }
            )+
        }
    )+};
}

/// The embedded database.
mod sqlite {
    contract_tests! { crate::TestIndex::sqlite();
        accounts:
            a_name_is_taken_once,
            a_token_is_found_by_its_hash_only,
            a_token_needs_a_user,
            a_device_has_a_name_of_its_own_and_a_scope,
            a_revoked_device_has_no_owner,
            the_tokens_of_a_disabled_user_are_invalid_until_enabled,
            failed_proofs_are_counted_by_user_and_day;
        images:
            repeated_holdings_return_the_first_receipt,
            users_never_see_what_others_hold,
            a_linked_image_is_held_like_any_other,
            unknown_and_corrupt_images_are_not_linked,
            a_corrupt_image_has_no_receipts_until_it_is_uploaded_again,
            a_thousand_images_are_looked_up_in_one_query,
            a_batch_of_holdings_equals_single_holdings,
            holding_an_image_deletes_its_upload;
        uploads:
            shards_merge_in_any_order,
            shards_recorded_concurrently_are_all_kept,
            an_upload_keeps_the_size_it_was_started_with,
            users_never_share_an_upload,
            deleting_an_upload_twice_is_fine,
            stale_uploads_are_found_oldest_first;
        library:
            a_put_is_listed_with_its_version,
            a_put_sent_twice_changes_nothing,
            a_put_that_is_not_based_on_the_current_version_is_a_conflict,
            a_put_needs_a_held_image,
            an_overwritten_photo_goes_to_the_trash,
            a_moved_photo_leaves_a_tombstone,
            a_move_sent_twice_changes_nothing,
            a_move_over_a_photo_trashes_it,
            a_move_that_is_not_based_on_the_current_version_is_a_conflict,
            a_removed_photo_goes_to_the_trash_once,
            an_add_only_caller_cannot_replace_move_or_remove,
            a_refused_change_does_not_affect_its_batch,
            changes_in_one_batch_build_on_each_other,
            the_feed_is_paged_without_gaps,
            each_user_has_their_own_versions,
            concurrent_batches_never_share_a_version,
            expired_trash_is_purged_in_batches;
        trash:
            the_trash_lists_every_removed_photo_page_by_page,
            the_trash_tells_the_current_version_at_the_path,
            purging_trash_ends_holdings_that_nothing_else_refers_to;
        quota:
            held_images_are_counted_once,
            nothing_exceeds_a_quota_and_held_images_stay,
            concurrent_uploads_never_exceed_the_quota,
            unfinished_uploads_count_toward_the_quota;
        gc:
            an_image_is_deleted_a_grace_period_after_its_last_holding_ended,
            a_referenced_image_is_not_deleted,
            an_image_that_is_referenced_again_is_not_deleted,
            an_unreferenced_corrupt_image_is_deleted,
            an_unknown_image_has_neither_row_nor_upload,
            a_link_and_a_deletion_of_one_image_exclude_each_other;
        lifecycle:
            reopening_keeps_everything,
            the_secret_is_generated_once,
            concurrent_writes_are_all_committed,
            a_refused_write_does_not_affect_its_group,
            a_write_completes_even_if_its_caller_stops_waiting,
            a_closed_index_fails_with_closed,
            two_processes_can_write_concurrently;
    }

    /// Tests of databases in a file.
    mod file {
        use crate::TestIndex;

        #[tokio::test]
        async fn the_files_are_private() {
            crate::lifecycle::the_files_are_private(&TestIndex::sqlite()).await;
        }

        #[tokio::test]
        async fn an_index_of_a_newer_server_is_refused() {
            crate::lifecycle::an_index_of_a_newer_server_is_refused(&TestIndex::sqlite()).await;
        }

        #[tokio::test]
        async fn an_index_of_the_first_schema_is_migrated() {
            crate::lifecycle::an_index_of_the_first_schema_is_migrated(&TestIndex::sqlite()).await;
        }

        #[tokio::test]
        async fn migrating_from_the_fourth_schema_finds_unreferenced_images() {
            crate::lifecycle::migrating_from_the_fourth_schema_finds_unreferenced_images(
                &TestIndex::sqlite(),
            )
            .await;
        }
    }
}
