//! The encoding of stored records: golden bytes for each version, and errors for foreign ones.

use data_encoding::HEXLOWER;
use heirloom_protocol::RangeSet;
use heirloom_protocol::message::Receipt;
use heirloom_protocol::signature::Signature;
use proptest::prelude::*;

use super::*;
use crate::journal::record::*;
use crate::journal::*;

const FINGERPRINT: &str = "af5570f5a1810b7af78caf4bc70a660f0df51e42baf91d4de5b2328de0e83dfc";

fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

fn bytes(hex: &str) -> Vec<u8> {
    HEXLOWER.decode(hex.as_bytes()).unwrap()
}

/// Version, size 1001, mtime, length 17 and text of the path `2026/IMG_0001.jpg`.
const FILE: &str = "01e9030000000000000000\
    ef64ba3f4918\
    1100323032362f494d475f303030312e6a7067";

#[test]
fn files_of_version_1_keep_their_spelling() {
    let number = fingerprint(0);
    let why = "no".to_owned();
    for (state, ending) in [
        (
            FileState::Pending {
                fingerprint: number,
            },
            format!("00{FINGERPRINT}0500000000000000"),
        ),
        (
            FileState::BackedUp {
                fingerprint: number,
            },
            format!("01{FINGERPRINT}"),
        ),
        (FileState::Local { why: why.clone() }, "026e6f".to_owned()),
        (
            FileState::Failed {
                fingerprint: None,
                why: why.clone(),
            },
            "036e6f".to_owned(),
        ),
        (
            FileState::Failed {
                fingerprint: Some(number),
                why,
            },
            format!("04{FINGERPRINT}6e6f"),
        ),
        (
            FileState::Placeholder {
                fingerprint: number,
            },
            format!("05{FINGERPRINT}"),
        ),
    ] {
        let (_, record) = file(1, state);
        assert_eq!(hex(&encode_file(&record, 5)), format!("{FILE}{ending}"));
        let read = decode_file(&bytes(&format!("{FILE}{ending}"))).unwrap();
        let place = matches!(record.state, FileState::Pending { .. }).then_some(5);
        assert_eq!(
            read,
            StoredFile {
                record,
                queue_position: place
            }
        );
    }
}

#[test]
fn receipts_and_shards_keep_their_encoding() {
    let spelled = "01e90300000000000000dc207497010000";
    assert_eq!(hex(&encode_receipt(&receipt(1))), spelled);
    assert_eq!(
        decode_receipt(fingerprint(1), &bytes(spelled)),
        Ok(receipt(1))
    );

    let signed = Receipt {
        signature: Some(Signature::from([0xab; 64])),
        ..receipt(1)
    };
    let spelled = format!("02e90300000000000000dc207497010000{}", "ab".repeat(64));
    assert_eq!(hex(&encode_receipt(&signed)), spelled);
    assert_eq!(decode_receipt(fingerprint(1), &bytes(&spelled)), Ok(signed));
    assert_eq!(
        decode_receipt(fingerprint(1), &bytes(&spelled[..144])),
        Err(RecordError::Short)
    );

    let ranges: RangeSet = [range(0, 4096), range(8192, 12288)].into_iter().collect();
    let spelled = "010000000000000000001000000000000000200000000000000030000000000000";
    assert_eq!(hex(&encode_shards(&ranges)), spelled);
    assert_eq!(decode_shards(&bytes(spelled)), Ok(ranges));
    assert_eq!(decode_shards(&bytes("01")), Ok(RangeSet::new()));
}

#[test]
fn counts_of_version_1_keep_their_spelling() {
    let amount = |files| Amount {
        files,
        bytes: files << 8,
    };
    let [pending, backed_up, local, failed, placeholder] = [1, 2, 3, 4, 5].map(amount);
    let tally = Tally {
        pending,
        backed_up,
        placeholder,
        local,
        failed,
    };
    let spelled = [1, 2, 3, 4, 5]
        .map(|files| format!("{files:02x}0000000000000000{files:02x}000000000000"))
        .concat();
    assert_eq!(hex(&encode_tally(&tally)), format!("01{spelled}"));
    assert_eq!(decode_tally(&bytes(&format!("01{spelled}"))), Ok(tally));
}

#[test]
fn name_changes_of_version_1_keep_their_spelling() {
    let [a, b] = ["a", "b/c"].map(|text| LibraryPath::new(text).unwrap());
    let put = NameChange::Put {
        path: a.clone(),
        fingerprint: fingerprint(0),
        mtime_ns: -1,
    };
    for (change, spelled) in [
        (put, format!("0100010061{FINGERPRINT}ffffffffffffffff")),
        (
            NameChange::Move {
                from: a.clone(),
                to: b,
            },
            "01010100610300622f63".to_owned(),
        ),
        (NameChange::Remove { path: a }, "0102010061".to_owned()),
    ] {
        assert_eq!(hex(&encode_change(&change)), spelled);
        assert_eq!(decode_change(&bytes(&spelled)), Ok(change));
    }
}

#[test]
fn an_invalid_record_is_an_error_that_says_so() {
    let path = |text: &str| format!("0102{:02x}00{}", text.len(), hex(text.as_bytes()));
    for (spelled, error) in [
        (String::new(), RecordError::Short),
        ("02".to_owned(), RecordError::Version(2)),
        ("0109".to_owned(), RecordError::Field("change")),
        ("01020500".to_owned(), RecordError::Short),
        (path("../etc"), RecordError::Field("path")),
        (path(""), RecordError::Field("path")),
        ("01020200c328".to_owned(), RecordError::Field("path")),
        (path("a") + "00", RecordError::Field("length")),
    ] {
        assert_eq!(decode_change(&bytes(&spelled)), Err(error), "{spelled}");
    }
    assert_eq!(decode_shards(&bytes("01ff")), Err(RecordError::Short));
    assert_eq!(
        decode_shards(&[&[1][..], &[0; 16]].concat()),
        Err(RecordError::Field("range"))
    );
    assert_eq!(
        decode_file(&bytes(&format!("{FILE}06"))),
        Err(RecordError::Field("state"))
    );
    assert_eq!(
        decode_file(&bytes(&format!("{FILE}02c328"))),
        Err(RecordError::Field("text"))
    );
}

proptest! {
    #[test]
    fn every_record_is_read_as_it_was_written(
        size in any::<u64>(), mtime_ns in any::<i64>(), place in any::<u64>(),
        name in "[^/\0]{1,60}".prop_filter("a name", |name| name != "." && name != ".."),
        why in any::<String>(), digest in any::<[u8; 32]>(), kind in 0..6,
    ) {
        let digest = Fingerprint::from(digest);
        let state = match kind {
            0 => FileState::Pending { fingerprint: digest },
            1 => FileState::BackedUp { fingerprint: digest },
            2 => FileState::Local { why },
            3 => FileState::Failed { fingerprint: None, why },
            4 => FileState::Placeholder { fingerprint: digest },
            _ => FileState::Failed { fingerprint: Some(digest), why },
        };
        let record = FileRecord {
            path: LibraryPath::new(name).unwrap(),
            stamp: Stamp { size, mtime_ns },
            state,
        };
        let read = decode_file(&encode_file(&record, place)).unwrap();
        prop_assert_eq!(&read.record, &record);
        prop_assert_eq!(read.queue_position, (kind == 0).then_some(place));
    }

    #[test]
    fn invalid_bytes_are_refused_without_a_panic(
        mut bytes in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        if let Some(version) = bytes.first_mut() {
            *version = 1;
        }
        drop((
            decode_file(&bytes),
            decode_receipt(fingerprint(1), &bytes),
            decode_shards(&bytes),
            decode_change(&bytes),
        ));
    }
}

#[test]
fn no_record_is_misread() {
    heirloom_fuzz::replay("journal_records", crate::journal::fuzz_records);
}
