//! Videos by their first bytes: what cameras and phones record besides photos.

use super::isobmff::brands;

/// Prefixes of the brands of videos: MP4, `QuickTime`, 3GPP, Sony, Flash, and the makers' own.
const BRAND_PREFIXES: [&[u8]; 18] = [
    b"qt", b"isom", b"iso2", b"iso3", b"iso4", b"iso5", b"iso6", b"mp4", b"avc1", b"M4V", b"3g",
    b"dash", b"MSNV", b"XAVC", b"F4V", b"mmp4", b"caqv", b"pana",
];

/// Packets of an MPEG transport stream begin with this byte (ISO/IEC 13818-1).
const PACKET_SYNC: u8 = 0x47;

/// Offset of the first sync byte and length of a packet: broadcast (`.ts`), and cameras (`.mts`,
/// four bytes of time before each packet).
const PACKETS: [(usize, usize); 2] = [(0, 188), (4, 192)];

/// Packets that must begin with the sync byte: one byte alone is just a `G`.
const PACKETS_CHECKED: usize = 3;

/// Whether these are the first bytes of a video.
pub(super) fn is_video(head: &[u8]) -> bool {
    let major = brands(head).and_then(|mut brands| brands.next());
    major.is_some_and(is_brand)
        || [
            infer::video::is_mov,
            infer::video::is_mkv,
            infer::video::is_webm,
            infer::video::is_avi,
            infer::video::is_wmv,
            infer::video::is_flv,
            infer::video::is_mpeg,
        ]
        .iter()
        .any(|is| is(head))
        || is_transport_stream(head)
}

/// Whether an ISO base media file of this major brand is a video.
pub(super) fn is_brand(brand: [u8; 4]) -> bool {
    BRAND_PREFIXES
        .iter()
        .any(|prefix| brand.starts_with(prefix))
}

fn is_transport_stream(head: &[u8]) -> bool {
    PACKETS.iter().any(|(first, length)| {
        (0..PACKETS_CHECKED).all(|packet| head.get(first + packet * length) == Some(&PACKET_SYNC))
    })
}
