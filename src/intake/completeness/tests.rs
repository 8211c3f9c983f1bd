//! Complete, truncated and arbitrary files of every format that is checked.

use proptest::prelude::*;

use super::*;

fn completeness_of(bytes: &[u8]) -> Completeness {
    check(&bytes, bytes.len() as u64).unwrap()
}

fn segment(marker: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len() + 2).unwrap().to_be_bytes();
    [&[0xff, marker], &length[..], content].concat()
}

/// Segments, scan, end; in its Exif a thumbnail that is a JPEG of its own.
fn jpeg(scan: &[u8]) -> Vec<u8> {
    let stuffed: Vec<u8> = scan
        .iter()
        .flat_map(|byte| {
            if *byte == 0xff {
                vec![0xff, 0]
            } else {
                vec![*byte]
            }
        })
        .collect();
    let scan_head = segment(0xda, &[1, 1, 0, 0, 63, 0]);
    let thumbnail = [b"\xff\xd8".as_slice(), &scan_head, b"pixels\xff\xd9"].concat();
    let exif = segment(0xe1, &[b"Exif\0\0", &thumbnail[..]].concat());
    [
        b"\xff\xd8".as_slice(),
        &exif,
        &scan_head,
        &stuffed,
        b"\xff\xd3",
        &stuffed,
        b"\xff\xd9",
    ]
    .concat()
}

fn chunk(name: [u8; 4], content: &[u8]) -> Vec<u8> {
    [
        &u32::try_from(content.len()).unwrap().to_be_bytes()[..],
        &name,
        content,
        b"crc!",
    ]
    .concat()
}

fn png(pixels: &[u8]) -> Vec<u8> {
    let header = chunk(*b"IHDR", &[0; 13]);
    [
        b"\x89PNG\r\n\x1a\n".as_slice(),
        &header,
        &chunk(*b"IDAT", pixels),
        &chunk(*b"IEND", b""),
    ]
    .concat()
}

fn boxed(kind: [u8; 4], content: &[u8]) -> Vec<u8> {
    [
        &u32::try_from(content.len() + 8).unwrap().to_be_bytes()[..],
        &kind,
        content,
    ]
    .concat()
}

/// A box whose length takes 64 bits.
fn long_boxed(kind: [u8; 4], content: &[u8]) -> Vec<u8> {
    [
        b"\0\0\0\x01".as_slice(),
        &kind,
        &(content.len() as u64 + 16).to_be_bytes(),
        content,
    ]
    .concat()
}

fn heic(pixels: &[u8]) -> Vec<u8> {
    let index = boxed(
        *b"meta",
        &[b"\0\0\0\0".as_slice(), &boxed(*b"hdlr", b"pict")].concat(),
    );
    [
        boxed(*b"ftyp", b"heic\0\0\0\0mif1heic"),
        index,
        boxed(*b"mdat", pixels),
    ]
    .concat()
}

/// A small image within its index, as for an icon.
fn avif_within_its_index(pixels: &[u8]) -> Vec<u8> {
    let index = [
        b"\0\0\0\0".as_slice(),
        &boxed(*b"iloc", b"places"),
        &boxed(*b"idat", pixels),
    ]
    .concat();
    [
        boxed(*b"ftyp", b"avif\0\0\0\0mif1avif"),
        boxed(*b"meta", &index),
    ]
    .concat()
}

fn cr3(pixels: &[u8]) -> Vec<u8> {
    let (index, extra) = (
        boxed(*b"moov", &boxed(*b"uuid", b"camera")),
        boxed(*b"uuid", b"preview"),
    );
    [
        boxed(*b"ftyp", b"crx \0\0\0\x01crx isom"),
        index,
        extra,
        long_boxed(*b"mdat", pixels),
    ]
    .concat()
}

fn mp4(film: &[u8]) -> Vec<u8> {
    [
        boxed(*b"ftyp", b"isom\0\0\0\0isomavc1"),
        boxed(*b"free", b""),
        boxed(*b"mdat", film),
        boxed(*b"moov", film),
    ]
    .concat()
}

fn jxl(pixels: &[u8]) -> Vec<u8> {
    let parts = [
        boxed(*b"jxlp", &[&[0; 4], pixels].concat()),
        boxed(*b"jxlp", &[&[0x80, 0, 0, 1], pixels].concat()),
    ];
    [
        boxed(*b"JXL ", b"\r\n\x87\n"),
        boxed(*b"ftyp", b"jxl \0\0\0\0jxl "),
        parts.concat(),
    ]
    .concat()
}

fn gif(pixels: &[u8]) -> Vec<u8> {
    let data: Vec<u8> = pixels
        .chunks(255)
        .flat_map(|block| [&[u8::try_from(block.len()).unwrap()], block].concat())
        .chain([0])
        .collect();
    let screen = b"\x01\0\x01\0\x80\0\0ABCDEF";
    let image = [
        b",\0\0\0\0\x01\0\x01\0\x81ABCDEFGHIJKL\x02".as_slice(),
        &data,
    ]
    .concat();
    [
        b"GIF89a".as_slice(),
        screen,
        b"!\xf9\x04\0\0\0\0\0",
        b"!\xfe\x03any\0",
        &image,
        &image,
        b";",
    ]
    .concat()
}

fn webp(pixels: &[u8]) -> Vec<u8> {
    let length = u32::try_from(pixels.len() + 4).unwrap().to_le_bytes();
    [b"RIFF".as_slice(), &length, b"WEBP", pixels].concat()
}

/// Pixels first, the directories behind them, as most writers do: the preview's, and the picture's
/// as its child.
fn tiff(pixels: &[u8]) -> Vec<u8> {
    let mut image = [b"MM\0*\0\0\0\0".as_slice(), pixels].concat();
    let strips_at = u32::try_from(image.len()).unwrap();
    image.extend(8_u32.to_be_bytes());
    image.extend(8_u32.to_be_bytes());
    let first = u32::try_from(image.len()).unwrap();
    let child = first + 2 + 24 + 4;
    image.extend(
        [
            &[0, 2],
            &entry(273, 4, 1, 8)[..],
            &entry(330, 13, 1, child),
            &[0; 4],
        ]
        .concat(),
    );
    image.extend(
        [
            &[0, 2],
            &entry(256, 3, 1, 7 << 16)[..],
            &entry(273, 4, 2, strips_at),
            &[0; 4],
        ]
        .concat(),
    );
    image[4..8].copy_from_slice(&first.to_be_bytes());
    image
}

fn entry(tag: u16, kind: u16, count: u32, value: u32) -> Vec<u8> {
    [
        &tag.to_be_bytes()[..],
        &kind.to_be_bytes(),
        &count.to_be_bytes(),
        &value.to_be_bytes(),
    ]
    .concat()
}

type Make = fn(&[u8]) -> Vec<u8>;

const MAKERS: [(&str, Make); 10] = [
    ("JPEG", jpeg),
    ("PNG", png),
    ("HEIC", heic),
    ("AVIF", avif_within_its_index),
    ("CR3", cr3),
    ("MP4", mp4),
    ("JPEG XL", jxl),
    ("GIF", gif),
    ("WebP", webp),
    ("TIFF", tiff),
];

/// So many first bytes tell the kind: of a shorter file no kind is known, and it stays local.
const TELLING_BYTES: usize = 12;

#[test]
fn an_image_is_complete_and_without_its_last_byte_truncated() {
    for (what, make) in MAKERS {
        for pixels in [vec![7; 1], vec![7; 300], vec![7; 200_000]] {
            // In tables of colors and directories there is no room for more.
            let image = make(&pixels[..pixels.len().min(60_000)]);
            assert_eq!(completeness_of(&image), Completeness::Complete, "{what}");
            assert_eq!(
                completeness_of(&image[..image.len() - 1]),
                Completeness::Truncated,
                "{what}"
            );
        }
    }
}

#[test]
fn an_image_cut_anywhere_is_truncated() {
    for (what, make) in MAKERS {
        let image = make(&[7; 40]);
        for length in TELLING_BYTES..image.len() {
            assert_eq!(
                completeness_of(&image[..length]),
                Completeness::Truncated,
                "{what}, {length} bytes of {}",
                image.len()
            );
        }
    }
}

#[test]
fn an_image_that_ends_in_zeros_is_truncated() {
    // A file's length may be on the disk before its bytes are. Of those that only say how long they
    // are, nobody can tell.
    for (what, make) in MAKERS
        .into_iter()
        .filter(|(what, _)| ["JPEG", "PNG", "GIF", "MP4"].contains(what))
    {
        let image = make(&[7; 5_000]);
        let mut zeroed = image.clone();
        zeroed[4_096..].fill(0);
        assert_eq!(completeness_of(&zeroed), Completeness::Truncated, "{what}");
    }
}

#[test]
fn bytes_behind_the_end_do_not_count() {
    let film = mp4(&[1; 50]);
    let trailers: [(&str, &[u8]); 6] = [
        ("one zero", b"\0"),
        ("padding to a sector", &[0; 512]),
        ("a film, as of a moving photo", &film),
        ("a text", b"SEFHk\0\0\0\x01\0\0\0 trailer of a phone SEFT"),
        ("half a marker", b"\xff"),
        ("another image, cut", b"\xff\xd8\xff\xe1\x40\0Exif"),
    ];
    for (what, make) in MAKERS {
        for (trailer, bytes) in trailers {
            // A truncated box counts wherever it is; this one is complete.
            let image = [&make(&[7; 40])[..], bytes].concat();
            assert_eq!(
                completeness_of(&image),
                Completeness::Complete,
                "{what} with {trailer}"
            );
        }
    }
}

#[test]
fn images_as_cameras_and_programs_write_them_are_complete() {
    let scan = segment(0xda, &[1, 1, 0, 0, 63, 0]);
    let progressive = [
        b"\xff\xd8".as_slice(),
        &scan,
        b"one\xff\0",
        &segment(0xc4, b"table"),
        &scan,
        b"two\xff\xd9",
    ];
    let filled = [
        b"\xff\xd8\xff\xff".as_slice(),
        &segment(0xe0, b"JFIF")[1..],
        &scan,
        b"pixels\xff\xff\xd9",
    ];
    let strayed = [
        b"\xff\xd8".as_slice(),
        &segment(0xe0, b"JFIF"),
        b"stray",
        &scan,
        b"pixels\xff\xd9",
    ];
    let to_the_end = [
        boxed(*b"ftyp", b"qt  \0\0\0\0qt  "),
        boxed(*b"moov", b"index"),
        b"\0\0\0\0mdatfilm".to_vec(),
    ];
    let pieces = [
        boxed(*b"ftyp", b"iso6\0\0\0\0"),
        boxed(*b"moov", b""),
        boxed(*b"moof", b""),
        boxed(*b"mdat", b"film"),
    ];
    let unknown = [
        heic(b"pixels"),
        boxed(*b"sefd", b"of a phone"),
        boxed(*b"mpvd", &mp4(b"film")),
    ];
    for (what, image) in [
        ("progressive JPEG", progressive.concat()),
        ("JPEG with filling before markers", filled.concat()),
        ("JPEG with stray bytes between segments", strayed.concat()),
        (
            "QuickTime whose film goes on to the end",
            to_the_end.concat(),
        ),
        ("MP4 in pieces", pieces.concat()),
        ("HEIC with boxes of its maker", unknown.concat()),
        (
            "GIF with an empty block",
            gif(b"pixels")
                .strip_suffix(b";")
                .unwrap()
                .iter()
                .copied()
                .chain(*b"\0;")
                .collect(),
        ),
        (
            "TIFF whose directories form a cycle",
            b"II*\0\x08\0\0\0\0\0\x08\0\0\0".to_vec(),
        ),
    ] {
        assert_ne!(completeness_of(&image), Completeness::Truncated, "{what}");
    }
}

#[test]
fn completeness_of_other_formats_is_unknown() {
    for head in [
        b"BM".as_slice(),
        b"FUJIFILMCCD-RAW 0201",
        b"\xff\x0a\xfa\x7f",
        b"RIFF\xff\xff\xff\0AVI ",
        b"",
        b"GIF",
    ] {
        assert_eq!(completeness_of(head), Completeness::Unknown, "{head:?}");
    }
    assert_eq!(
        completeness_of(b"GIF89a\x01\0\x01\0\0\0\0?"),
        Completeness::Unknown,
        "an unknown block"
    );
}

#[test]
fn no_file_is_misread() {
    heirloom_fuzz::replay("image_files", fuzz);
}

#[test]
fn an_end_marker_without_an_image_does_not_count() {
    assert_eq!(
        completeness_of(b"\xff\xd8\xff\xd9"),
        Completeness::Truncated
    );
    assert_eq!(
        completeness_of(b"\xff\xd8\xff\xdb\0\x04ab\xff\xd9 and more"),
        Completeness::Truncated
    );
}

proptest! {
    #[test]
    fn a_complete_image_is_never_called_truncated_and_every_part_of_it_is(
        pixels in prop::collection::vec(any::<u8>(), 1..2_000),
        maker in 0..MAKERS.len(),
        cut in any::<prop::sample::Index>(),
    ) {
        let (what, make) = MAKERS[maker];
        let image = make(&pixels);
        prop_assert_eq!(completeness_of(&image), Completeness::Complete, "{}", what);
        let length = TELLING_BYTES + cut.index(image.len() - TELLING_BYTES);
        prop_assert_eq!(
            completeness_of(&image[..length]),
            Completeness::Truncated,
            "{}, {} bytes of {}", what, length, image.len()
        );
    }

    #[test]
    fn no_bytes_make_the_walk_panic_or_go_on_for_ever(
        tail in prop::collection::vec(any::<u8>(), 0..2_000),
        maker in 0..MAKERS.len(),
        begin in 0..64_usize,
    ) {
        let image = MAKERS[maker].1(&tail);
        completeness_of(&[&image[..begin.min(image.len())], &tail].concat());
        // A size that was true a moment ago.
        let _checked = check(&&image[..], u64::MAX / 2).unwrap();
    }
}
