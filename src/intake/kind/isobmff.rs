//! Brands of ISO base media files (ISO/IEC 14496-12). They begin with a box `ftyp` that names what
//! they are: one major brand and a list of compatible ones. HEIF, AVIF and CR3 photos share this
//! frame with MP4 and `QuickTime` videos; only the brands tell them apart.

/// The brands of a file, the major one first. `None` if it does not begin with a well-formed
/// `ftyp`.
pub(super) fn brands(head: &[u8]) -> Option<impl Iterator<Item = [u8; 4]>> {
    let length = usize::try_from(u32::from_be_bytes(*head.first_chunk()?)).ok()?;
    let (b"ftyp", major) = (head.get(4..8)?, head.get(8..12)?) else {
        return None;
    };
    // At least a major brand and its version, and whole brands after that (box size 0 and 1 make no
    // sense here).
    if length < 16 || !length.is_multiple_of(4) {
        return None;
    }
    let compatible = head.get(16..length.min(head.len())).unwrap_or_default();
    Some(
        std::iter::once(major)
            .chain(compatible.chunks_exact(4))
            .filter_map(|brand| brand.try_into().ok()),
    )
}
