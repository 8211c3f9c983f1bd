//! Kinds of real headers, of headers that are almost right, and of random bytes.

use proptest::prelude::*;

use super::*;

fn path(name: &str) -> LibraryPath {
    LibraryPath::new(name).unwrap()
}

fn is_taken(accept: Accept, head: &[u8]) -> bool {
    skip_reason_for_content(accept, &path("file"), head).is_none()
}

/// A box `ftyp` with its brands, as a file begins with it, and the next box.
fn ftyp(major: [u8; 4], compatible: &[&[u8; 4]]) -> Vec<u8> {
    let length = u32::try_from(16 + 4 * compatible.len()).unwrap();
    let mut head = [length.to_be_bytes().as_slice(), b"ftyp", &major, &[0; 4]].concat();
    head.extend(compatible.iter().flat_map(|brand| brand.iter()));
    head.extend(b"\0\0\0\x08free");
    head
}

fn riff(kind: [u8; 4]) -> Vec<u8> {
    [
        b"RIFF".as_slice(),
        &100_u32.to_le_bytes(),
        &kind,
        b"VP8 ",
        &[0; 8],
    ]
    .concat()
}

fn bitmap(header_bytes: u32, pixels_at: u32) -> Vec<u8> {
    let mut head = b"BM".to_vec();
    for number in [1000, 0, pixels_at, header_bytes, 10, 10] {
        head.extend(u32::to_le_bytes(number));
    }
    head
}

fn matroska(kind: &[u8]) -> Vec<u8> {
    let length = 0x80 | u8::try_from(kind.len()).unwrap();
    let mut head = [
        b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82".as_slice(),
        &[length],
        kind,
    ]
    .concat();
    head.resize(300, 0);
    head
}

fn packets(first: usize, length: usize) -> Vec<u8> {
    let mut head = vec![0; HEAD_BYTES];
    head.iter_mut()
        .skip(first)
        .step_by(length)
        .for_each(|byte| *byte = 0x47);
    head
}

fn images() -> Vec<(&'static str, Vec<u8>)> {
    let padded = |magic: &[u8]| [magic, &[0; 16]].concat();
    vec![
        ("JPEG, JFIF", padded(b"\xff\xd8\xff\xe0\x00\x10JFIF\0")),
        ("JPEG, Exif", padded(b"\xff\xd8\xff\xe1\x1f\xfeExif\0\0")),
        ("JPEG, bare", padded(b"\xff\xd8\xff\xdb")),
        ("PNG", padded(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")),
        ("GIF 87a", padded(b"GIF87a")),
        ("GIF 89a", padded(b"GIF89a")),
        ("WebP", riff(*b"WEBP")),
        ("TIFF, little-endian", padded(b"II*\0\x08\0\0\0")),
        ("TIFF, big-endian", padded(b"MM\0*\0\0\0\x08")),
        ("BigTIFF, little-endian", padded(b"II+\0\x08\0\0\0")),
        ("BigTIFF, big-endian", padded(b"MM\0+\0\x08\0\0")),
        ("BMP, core header", bitmap(12, 26)),
        ("BMP, info header", bitmap(40, 54)),
        ("BMP, version 5", bitmap(124, 138)),
        ("HEIC", ftyp(*b"heic", &[b"mif1", b"heic"])),
        (
            "HEIC, iPhone",
            ftyp(
                *b"heic",
                &[b"mif1", b"MiHE", b"MiPr", b"miaf", b"MiHB", b"heic"],
            ),
        ),
        ("HEIF, general brand", ftyp(*b"mif1", &[b"mif1", b"miaf"])),
        ("HEIF, burst", ftyp(*b"msf1", &[b"hevc"])),
        ("HEIF, unknown major brand", ftyp(*b"zzzz", &[b"heic"])),
        ("AVIF", ftyp(*b"avif", &[b"mif1", b"miaf"])),
        ("AVIF, sequence", ftyp(*b"avis", &[b"msf1"])),
        ("JPEG XL, codestream", padded(b"\xff\x0a\xfa\x7f")),
        ("JPEG XL, container", padded(b"\0\0\0\x0cJXL \r\n\x87\n")),
        ("CR2", padded(b"II*\0\x10\0\0\0CR\x02\0")),
        ("CR3", ftyp(*b"crx ", &[b"crx ", b"isom"])),
        ("NEF", padded(b"MM\0*\0\0\0\x08\0\x15")),
        ("ARW, DNG", padded(b"II*\0\x08\0\0\0\x13\0")),
        ("RAF", padded(b"FUJIFILMCCD-RAW 0201FF383501")),
        ("ORF", padded(b"IIRO\x08\0\0\0")),
        ("ORF, older", padded(b"IIRS\x08\0\0\0")),
        ("ORF, big-endian", padded(b"MMOR\0\0\0\x08")),
        ("RW2", padded(b"IIU\0\x18\0\0\0")),
        ("CRW", padded(b"II\x1a\0\0\0HEAPCCDR")),
        ("X3F", padded(b"FOVb\x02\0\x02\0")),
        ("MRW", padded(b"\0MRM\0\x01\0\0")),
    ]
}

fn videos() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("MP4", ftyp(*b"isom", &[b"iso2", b"avc1", b"mp41"])),
        ("MP4, version 2", ftyp(*b"mp42", &[b"isom"])),
        ("QuickTime", ftyp(*b"qt  ", &[b"qt  "])),
        (
            "QuickTime without ftyp",
            b"\0\0\x10\0moov\0\0\0\x6cmvhd\0\0".to_vec(),
        ),
        ("M4V", ftyp(*b"M4V ", &[b"isom"])),
        ("3GP", ftyp(*b"3gp5", &[b"isom"])),
        ("3G2", ftyp(*b"3g2a", &[])),
        ("Sony XAVC", ftyp(*b"XAVC", &[b"mp42", b"iso2"])),
        ("Matroska", matroska(b"matroska")),
        ("WebM", matroska(b"webm")),
        ("AVI", riff(*b"AVI ")),
        ("MPEG", [b"\0\0\x01\xba".as_slice(), &[0x44; 20]].concat()),
        ("AVCHD (.mts)", packets(4, 192)),
        ("transport stream (.ts)", packets(0, 188)),
    ]
}

fn neither() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("text", b"Dear diary, today I took a photo.".to_vec()),
        (
            "text that begins with BM",
            b"BMW M3, 1988, red, second hand, good tyres".to_vec(),
        ),
        (
            "text that begins with GIF",
            b"GIFTS: a book, a lamp".to_vec(),
        ),
        (
            "text that begins with II",
            b"II. The second chapter".to_vec(),
        ),
        ("text that begins with GGG", vec![b'a'; HEAD_BYTES]),
        ("bitmap with pixels in its header", bitmap(40, 20)),
        ("WAV", riff(*b"WAVE")),
        ("WEBP without RIFF", b"ABCD\0\0\0\0WEBPVP8 ".to_vec()),
        ("M4A, sound", ftyp(*b"M4A ", &[])),
        ("ftyp of no length", b"\0\0\0\0ftypheic\0\0\0\0".to_vec()),
        ("ftyp of odd length", b"\0\0\0\x13ftypheic\0\0\0\0".to_vec()),
        ("half a PNG", b"\x89PNG\r\n\x1a".to_vec()),
        (
            "PNG through a text filter",
            b"\x89PNG\n\x1a\n\0\0\0\rIHDR".to_vec(),
        ),
        ("PDF", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3".to_vec()),
        ("ZIP", b"PK\x03\x04\x14\0\0\0\x08\0".to_vec()),
        ("ELF", b"\x7fELF\x02\x01\x01\0\0\0\0\0".to_vec()),
        ("zeros", vec![0; HEAD_BYTES]),
    ]
}

#[test]
fn images_are_known_by_their_first_bytes() {
    for (what, head) in images() {
        for accept in [Accept::Images, Accept::Media, Accept::All] {
            assert!(is_taken(accept, &head), "{what} under {accept:?}");
        }
    }
}

#[test]
fn videos_are_media_and_no_images() {
    for (what, head) in videos() {
        assert!(!is_taken(Accept::Images, &head), "{what}");
        assert!(is_taken(Accept::Media, &head), "{what}");
        assert!(is_taken(Accept::All, &head), "{what}");
    }
}

#[test]
fn near_misses_stay_local() {
    for (what, head) in neither() {
        assert_eq!(
            skip_reason_for_content(Accept::Images, &path("a.jpg"), &head),
            Some(SkipReason::NotAnImage),
            "{what}"
        );
        assert_eq!(
            skip_reason_for_content(Accept::Media, &path("a.jpg"), &head),
            Some(SkipReason::NotMedia),
            "{what}"
        );
        assert!(is_taken(Accept::All, &head), "{what}");
    }
}

#[test]
fn files_shorter_than_their_magic_stay_local() {
    for (what, head) in images() {
        assert!(!is_taken(Accept::Images, &head[..2]), "{what}");
        for length in 0..head.len() {
            // Shorter ones may or may not be enough; none may panic.
            is_taken(Accept::Media, &head[..length]);
        }
    }
}

#[test]
fn sidecars_are_known_by_name_and_only_as_media() {
    for name in ["a.xmp", "a.jpg.XMP", "IMG_1.AAE", "a/b.json"] {
        assert_eq!(
            skip_reason_for_content(Accept::Media, &path(name), b"<x:xmpmeta"),
            None,
            "{name}"
        );
        assert_eq!(
            skip_reason_for_content(Accept::Images, &path(name), b"<x:xmpmeta"),
            Some(SkipReason::NotAnImage),
            "{name}"
        );
    }
    assert_eq!(
        skip_reason_for_content(Accept::Media, &path("xmp"), b"<x:xmpmeta"),
        Some(SkipReason::NotMedia)
    );
}

#[test]
fn skipped_files_are_scanned_again_when_more_is_accepted() {
    assert!(is_still_skipped(Accept::Images, SkipReason::NotAnImage));
    assert!(!is_still_skipped(Accept::Media, SkipReason::NotAnImage));
    assert!(!is_still_skipped(Accept::Images, SkipReason::NotMedia));
    assert!(is_still_skipped(Accept::All, SkipReason::Empty));
    assert!(!is_still_skipped(Accept::All, SkipReason::Hidden));
    assert!(!is_still_skipped(Accept::Images, SkipReason::TemporaryName));
}

proptest! {
    #[test]
    fn no_bytes_cause_a_panic(
        head in prop::collection::vec(any::<u8>(), 0..=HEAD_BYTES),
        begin in 0..64_usize,
    ) {
        let known: Vec<_> = images().into_iter().chain(videos()).map(|(_, head)| head).collect();
        let spliced = [&known[begin % known.len()][..begin % 12], &head].concat();
        for head in [head, spliced] {
            for accept in [Accept::Images, Accept::Media, Accept::All] {
                skip_reason_for_content(accept, &path("a"), &head);
            }
        }
    }
}
