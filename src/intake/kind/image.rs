//! Images by their first bytes: photos as cameras, phones and programs write them, and camera
//! raws.

use super::isobmff::brands;

/// First bytes that only images have. Many camera raws (CR2, NEF, ARW, DNG, PEF, SRW) are TIFF.
const SIGNATURES: [&[u8]; 15] = [
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"II*\0",                // TIFF 6.0, little-endian
    b"MM\0*",                // TIFF 6.0, big-endian
    b"II+\0\x08\0\0\0",      // BigTIFF, little-endian
    b"MM\0+\0\x08\0\0",      // BigTIFF, big-endian
    b"IIRO",                 // Olympus ORF
    b"IIRS",                 // Olympus ORF
    b"MMOR",                 // Olympus ORF, big-endian
    b"IIU\0",                // Panasonic RW2
    b"FUJIFILMCCD-RAW",      // Fujifilm RAF
    b"II\x1a\0\0\0HEAPCCDR", // Canon CRW
    b"FOVb",                 // Sigma X3F
    b"\0MRM",                // Minolta MRW
];

/// Size of a TIFF header (magic and offset of the first directory), the shortest of the headers.
const HEADER_BYTES_MIN: usize = 8;

/// Brands of ISO base media files that are still images or bursts of them: HEIF (ISO/IEC 23008-12),
/// AVIF, Canon CR3.
const BRANDS: [&[u8; 4]; 14] = [
    b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"mif2",
    b"msf1", b"avif", b"avis", b"crx ",
];

/// Lengths of the header after the file header: `BITMAPCOREHEADER` to `BITMAPV5HEADER`.
const BITMAP_HEADER_BYTES: [u32; 8] = [12, 16, 40, 52, 56, 64, 108, 124];

/// Whether these are the first bytes of an image.
pub(super) fn is_image(head: &[u8]) -> bool {
    infer::image::is_jpeg(head)
        || infer::image::is_jxl(head)
        || head.len() >= HEADER_BYTES_MIN
            && SIGNATURES
                .iter()
                .any(|signature| head.starts_with(signature))
        || is_webp(head)
        || is_bitmap(head)
        || is_iso_image(head)
}

fn is_webp(head: &[u8]) -> bool {
    head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WEBP")
}

/// Whether this is a bitmap. Many texts begin with `BM`, too; a bitmap goes on with the offset of
/// its pixels and the length of its second header.
fn is_bitmap(head: &[u8]) -> bool {
    let number = |at: usize| {
        head.get(at..)?
            .first_chunk()
            .copied()
            .map(u32::from_le_bytes)
    };
    let (Some(pixels_at), Some(header_bytes)) = (number(10), number(14)) else {
        return false;
    };
    head.starts_with(b"BM")
        && BITMAP_HEADER_BYTES.contains(&header_bytes)
        && pixels_at >= 14 + header_bytes
}

/// Whether this is an ISO base media image. The major brand decides; if it is neither an image's
/// nor a video's, a compatible brand may.
fn is_iso_image(head: &[u8]) -> bool {
    let Some(mut brands) = brands(head) else {
        return false;
    };
    let is_image = |brand: [u8; 4]| BRANDS.contains(&&brand);
    brands.next().is_some_and(|major| {
        is_image(major) || !super::video::is_brand(major) && brands.any(is_image)
    })
}
