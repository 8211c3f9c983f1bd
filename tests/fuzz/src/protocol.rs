//! Fuzz targets of the protocol's own parsers: messages, batches, headers, ranges, paths.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use heirloom_protocol::batch::{self, BatchHeader, BatchOutcome};
use heirloom_protocol::message::{
    CheckImage, CheckedImage, FreshReceipt, LibraryBatch, LibraryFeed, LibraryOutcomes,
    LoginAnswer, LoginRequest, Receipt, ServerStatus, Session, TrashPage, UploadState, WantedPage,
};
use heirloom_protocol::{
    ByteRange, ContentDigest, Fingerprint, LibraryPath, LinkKind, Problem, RangeSet,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// JSON of every message: a parsed message survives a round trip.
pub fn messages(bytes: &[u8]) {
    message::<LoginRequest>(bytes);
    message::<LoginAnswer>(bytes);
    message::<Session>(bytes);
    message::<Vec<CheckImage>>(bytes);
    message::<Vec<CheckedImage>>(bytes);
    message::<UploadState>(bytes);
    message::<Receipt>(bytes);
    message::<FreshReceipt>(bytes);
    message::<LibraryBatch>(bytes);
    message::<LibraryOutcomes>(bytes);
    message::<LibraryFeed>(bytes);
    message::<WantedPage>(bytes);
    message::<TrashPage>(bytes);
    message::<ServerStatus>(bytes);
    message::<BatchHeader>(bytes);
    message::<Vec<BatchOutcome>>(bytes);
    message::<Problem>(bytes);
}

fn message<M: DeserializeOwned + Serialize>(bytes: &[u8]) {
    let Ok(read) = serde_json::from_slice::<M>(bytes) else {
        return;
    };
    let written = serde_json::to_vec(&read).expect("a message has only texts and numbers");
    let again = serde_json::from_slice::<M>(&written).expect("what was written is read");
    assert_eq!(serde_json::to_vec(&again).expect("as before"), written);
}

/// Bodies with several images: the images fill the rest of the body, one after the other.
pub fn batches(bytes: &[u8]) {
    let Ok(images) = batch::decode(bytes) else {
        return;
    };
    let first = images.first().expect("no batch is empty").1.start;
    assert!(first > 0 && bytes[first - 1] == b'\n');
    let end = images.iter().fold(first, |at, (_, place)| {
        assert!(place.start == at && place.end > at);
        place.end
    });
    assert_eq!(end, bytes.len());
}

/// Text in headers and paths: a parsed value survives a round trip.
pub fn headers(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    value::<ContentDigest>(text);
    value::<Fingerprint>(text);
    value::<LinkKind>(text);
}

fn value<V: FromStr<Err: Debug> + Display + PartialEq + Debug>(text: &str) {
    let Ok(read) = text.parse::<V>() else { return };
    assert_eq!(
        read.to_string()
            .parse::<V>()
            .expect("what was written is read"),
        read
    );
}

/// Library paths: an accepted path leads only downwards, one name at a time.
pub fn paths(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let Ok(path) = LibraryPath::new(text) else {
        return;
    };
    assert!(path.as_str() == text && text.len() <= 4095 && !text.contains('\0'));
    for name in text.split('/') {
        assert!(!matches!(name, "" | "." | "..") && name.len() <= 255);
    }
    assert!(path.is_at_or_below(&path));
    if let Some(folder) = path.parent() {
        assert!(path.is_at_or_below(&folder) && !folder.is_at_or_below(&path));
        assert_eq!(folder.join(path.name()).expect("it was there"), path);
    }
}

/// Lists of ranges: a parsed list is ascending, and its ranges do not touch.
pub fn ranges(bytes: &[u8]) {
    let Ok(set) = serde_json::from_slice::<RangeSet>(bytes) else {
        return;
    };
    let ranges: Vec<ByteRange> = set.iter().collect();
    assert!(ranges.is_sorted_by(|one, next| one.end() < next.start()));
    assert_eq!(
        ranges.iter().map(|range| range.len()).sum::<u64>(),
        set.byte_count()
    );
    let written = serde_json::to_vec(&set).expect("numbers");
    assert_eq!(
        serde_json::from_slice::<RangeSet>(&written).expect("what was written is read"),
        set
    );
    let (missing, end) = (set.missing(set.end()), set.end());
    assert_eq!(missing.byte_count() + set.byte_count(), end);
    for range in ranges {
        assert!(set.contains(range));
        let mut less = set.clone();
        less.remove(range);
        assert!(!less.contains(range) && less.byte_count() + range.len() == set.byte_count());
        less.insert(range);
        assert_eq!(less, set);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay;

    #[test]
    fn messages_are_parsed_correctly() {
        replay("messages", messages);
    }

    #[test]
    fn batches_are_parsed_correctly() {
        replay("batches", batches);
    }

    #[test]
    fn headers_are_parsed_correctly() {
        replay("headers", headers);
    }

    #[test]
    fn paths_are_parsed_correctly() {
        replay("paths", paths);
    }

    #[test]
    fn lists_of_ranges_are_parsed_correctly() {
        replay("ranges", ranges);
    }
}
