//! The contract of the index: what every database behind it must keep.
//!
//! The promises are functions over a [`Place`]: a fresh, empty index that can be opened again.
//! Another database passes them by one more constructor and one more line for each list below.

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

/// Where a fresh index can be made, and opened again.
struct Place {
    url: String,
    /// What must stay while the index is used.
    folder: tempfile::TempDir,
}

/// The length of an image that is there and sound.
async fn length_of(index: &Index, image: Fingerprint) -> Option<u64> {
    index.image_sizes(&[image]).await.unwrap().remove(&image)
}

impl Place {
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
async fn two_users(place: &Place) -> (Index, UserId, UserId) {
    let index = place.open().await;
    let anna = index.add_user("anna").await.unwrap();
    let ben = index.add_user("ben").await.unwrap();
    (index, anna, ben)
}

/// A device that nobody named, with a token of this hash.
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

/// One test for each promise, over one kind of place.
macro_rules! kept_by {
    ($place:expr; $($part:ident: $($promise:ident),+;)+) => {$(
        mod $part {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $promise() {
                    crate::$part::$promise(&$place).await;
                }
            )+
        }
    )+};
}

/// The embedded database.
mod sqlite {
    kept_by! { crate::Place::sqlite();
        accounts:
            a_name_is_taken_once,
            a_token_is_known_by_its_hash_alone,
            a_token_needs_a_user,
            a_device_has_a_name_of_its_own_and_a_scope,
            a_revoked_device_is_nobodys,
            a_disabled_user_is_nobody_until_enabled,
            failed_proofs_are_counted_by_user_and_day;
        images:
            a_receipt_of_the_first_time_is_the_receipt_of_every_time,
            users_never_see_what_others_hold,
            a_linked_image_is_held_like_any_other,
            nothing_unknown_or_damaged_is_linked,
            a_damaged_image_is_nobodys_until_it_is_brought_again,
            a_thousand_images_are_looked_up_in_one_question,
            several_images_are_held_as_each_would_be,
            holding_an_image_forgets_its_upload;
        uploads:
            shards_merge_in_any_order,
            shards_noted_at_once_are_all_kept,
            an_upload_keeps_the_size_it_was_begun_with,
            users_never_share_an_upload,
            forgetting_an_upload_twice_is_fine,
            stale_uploads_are_found_oldest_first;
        library:
            a_put_is_listed_with_its_version,
            a_put_sent_twice_changes_nothing,
            a_put_over_something_unknown_is_a_conflict,
            a_put_needs_a_held_image,
            an_overwritten_photo_goes_to_the_trash,
            a_moved_photo_leaves_a_tombstone,
            a_move_sent_twice_changes_nothing,
            a_move_over_a_photo_trashes_it,
            a_move_of_something_else_is_a_conflict,
            a_removed_photo_goes_to_the_trash_once,
            whoever_may_only_add_spoils_nothing,
            one_refused_change_does_not_spoil_the_batch,
            changes_in_one_batch_build_on_each_other,
            the_feed_comes_in_pieces_without_gaps,
            each_user_counts_for_themselves,
            batches_sent_at_once_never_share_a_version,
            old_trash_is_forgotten_some_at_a_time;
        trash:
            the_trash_lists_every_photo_that_was_lost_page_by_page,
            what_stands_where_something_was_lost_is_told,
            purged_trash_lets_go_of_what_nothing_else_names;
        quota:
            what_a_user_holds_is_counted_once,
            nothing_goes_over_a_quota_and_what_is_there_stays,
            images_brought_at_once_never_share_the_last_room,
            what_is_on_its_way_takes_room_for_others;
        gc:
            an_image_is_forgotten_a_while_after_its_last_holder_let_go,
            whoever_refers_to_an_image_keeps_it,
            an_image_that_came_back_is_not_forgotten,
            a_damaged_image_that_nobody_has_is_forgotten,
            unknown_is_what_has_neither_row_nor_upload,
            of_a_link_and_a_forgetting_at_once_one_comes_first;
        lifecycle:
            reopening_keeps_everything,
            the_secret_is_made_once,
            writes_sent_at_once_are_all_committed,
            a_refused_write_does_not_spoil_its_group,
            a_write_is_carried_out_even_if_nobody_waits,
            a_closed_index_says_so,
            two_processes_may_write_at_once;
    }

    /// What only a file can promise.
    mod file {
        use crate::Place;

        #[tokio::test]
        async fn nobody_else_may_read_it() {
            crate::lifecycle::nobody_else_may_read_the_file(&Place::sqlite()).await;
        }

        #[tokio::test]
        async fn an_index_of_a_newer_server_is_left_alone() {
            crate::lifecycle::an_index_of_a_newer_server_is_left_alone(&Place::sqlite()).await;
        }

        #[tokio::test]
        async fn an_index_of_the_first_schema_keeps_all_it_held() {
            crate::lifecycle::an_index_of_the_first_schema_keeps_all_it_held(&Place::sqlite())
                .await;
        }

        #[tokio::test]
        async fn an_index_of_the_fourth_schema_says_which_images_nobody_holds() {
            crate::lifecycle::an_index_of_the_fourth_schema_says_which_images_nobody_holds(
                &Place::sqlite(),
            )
            .await;
        }
    }
}
