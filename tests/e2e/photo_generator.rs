//! Generates photos for the tests, so that a thousand of them need no space in the repository.
//!
//! Each has everything that programs look at: first bytes, segments, checksums and an end. A JPEG's
//! scan is random bytes without a stray marker; a PNG is valid, and any decoder opens it. The same
//! seed always generates the same photos.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The smallest generated photo, in bytes: smaller ones have no space for what surrounds the
/// pixels.
pub const BYTES_MIN: usize = 1 << 10;

/// Mean size of an album's photo, in bytes: that of a small camera.
const ALBUM_PHOTO_BYTES: usize = 60_000;

/// Generates photos that differ from each other and from those of every other seed.
#[derive(Clone, Debug)]
pub struct PhotoGenerator {
    random: u64,
    seed: u64,
    taken: u64,
}

impl PhotoGenerator {
    /// A generator with this seed.
    pub fn new(seed: u64) -> Self {
        Self {
            random: seed ^ 0x6865_6972_6c6f_6f6d,
            seed,
            taken: 0,
        }
    }

    /// The next photo, of exactly `bytes` bytes: seven JPEGs, then a PNG.
    pub fn generate(&mut self, bytes: usize) -> Vec<u8> {
        assert!(
            bytes >= BYTES_MIN,
            "a photo of {bytes} bytes has no room for its headers"
        );
        self.taken += 1;
        let stamp = format!("Heirloom test photo {} of seed {}", self.taken, self.seed);
        if self.taken.is_multiple_of(8) {
            self.png(&stamp, bytes)
        } else {
            self.jpeg(&stamp, bytes)
        }
    }

    /// Writes the next photo to a file; returns its bytes.
    pub fn generate_file(&mut self, file: &Path, bytes: usize) -> io::Result<Vec<u8>> {
        let photo = self.generate(bytes);
        fs::write(file, &photo)?;
        Ok(photo)
    }

    /// Fills `folder` with `count` photos of up to [`ALBUM_PHOTO_BYTES`], ten to a nested folder;
    /// returns their paths below it.
    pub fn generate_album(&mut self, folder: &Path, count: usize) -> io::Result<Vec<PathBuf>> {
        let mut paths = Vec::with_capacity(count);
        for number in 0..count {
            let place = PathBuf::from(format!("{}/{}", 2020 + number / 100, number / 10 % 10));
            let path = place.join(format!(
                "IMG_{number:04}.{}",
                if self.next_is_png() { "png" } else { "jpg" }
            ));
            fs::create_dir_all(folder.join(place))?;
            let bytes = self.between(ALBUM_PHOTO_BYTES / 10, ALBUM_PHOTO_BYTES);
            self.generate_file(&folder.join(&path), bytes)?;
            paths.push(path);
        }
        Ok(paths)
    }

    /// A random number from `low` to below `high`.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + usize::try_from(self.next() % (high - low) as u64).expect("below a usize")
    }

    /// Whether the next photo will be a PNG.
    pub fn next_is_png(&self) -> bool {
        (self.taken + 1).is_multiple_of(8)
    }

    /// `SplitMix64`: very fast, and random enough for pixels.
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Random bytes below 0x80: a JPEG's markers begin with 0xFF, so none can be among them.
    fn pixels(&mut self, bytes: usize) -> Vec<u8> {
        let mut pixels = Vec::with_capacity(bytes + 8);
        while pixels.len() < bytes {
            pixels.extend_from_slice(&(self.next() & 0x7f7f_7f7f_7f7f_7f7f).to_le_bytes());
        }
        pixels.truncate(bytes);
        pixels
    }

    /// ITU-T T.81 annex B: SOI, JFIF, Exif, comment, quantisation, frame, scan, EOI.
    fn jpeg(&mut self, stamp: &str, bytes: usize) -> Vec<u8> {
        let mut photo = vec![0xff, 0xd8];
        segment(&mut photo, 0xe0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0");
        // Exif: a little-endian TIFF whose only directory has no entries.
        segment(&mut photo, 0xe1, b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0");
        segment(&mut photo, 0xfe, stamp.as_bytes());
        segment(&mut photo, 0xdb, &[[0].as_slice(), &[16; 64]].concat());
        segment(&mut photo, 0xc0, &[8, 0, 16, 0, 16, 1, 1, 0x11, 0]);
        segment(&mut photo, 0xda, &[1, 1, 0, 0, 63, 0]);
        let scan = self.pixels(bytes - photo.len() - 2);
        photo.extend_from_slice(&scan);
        photo.extend_from_slice(&[0xff, 0xd9]);
        photo
    }

    /// The PNG specification, section 5: one grey row for each 1,000 bytes, stored without
    /// compression. The remainder is padding in the text chunk that names the photo.
    fn png(&mut self, stamp: &str, bytes: usize) -> Vec<u8> {
        const ROW: usize = 1_000;
        let around = 8 + 25 + (12 + b"Comment\0".len() + stamp.len()) + (12 + 6) + 12;
        let stored_row = 5 + 1 + ROW;
        let rows = bytes.saturating_sub(around) / stored_row;
        // Too small for a row: a JPEG instead.
        if rows == 0 {
            return self.jpeg(stamp, bytes);
        }
        let filling = bytes - around - rows * stored_row;
        let mut photo = b"\x89PNG\r\n\x1a\n".to_vec();
        let size = [
            u32::try_from(ROW).expect("small"),
            u32::try_from(rows).expect("a test's photo"),
        ];
        chunk(
            &mut photo,
            *b"IHDR",
            &[
                &size[0].to_be_bytes()[..],
                &size[1].to_be_bytes(),
                &[8, 0, 0, 0, 0],
            ]
            .concat(),
        );
        let text = [b"Comment\0", stamp.as_bytes(), &vec![b' '; filling]].concat();
        chunk(&mut photo, *b"tEXt", &text);
        let pixels = self.zlib_of_rows(rows, ROW);
        chunk(&mut photo, *b"IDAT", &pixels);
        chunk(&mut photo, *b"IEND", &[]);
        photo
    }

    /// RFC 1950 around stored blocks of RFC 1951, one for each row and its filter byte.
    fn zlib_of_rows(&mut self, rows: usize, row: usize) -> Vec<u8> {
        let length = u16::try_from(row + 1).expect("a row fits a block");
        let mut stream = vec![0x78, 0x01];
        let (mut low, mut high) = (1_u32, 0_u32);
        for number in 1..=rows {
            stream.push(u8::from(number == rows));
            stream.extend_from_slice(&length.to_le_bytes());
            stream.extend_from_slice(&(!length).to_le_bytes());
            stream.push(0);
            let pixels = self.pixels(row);
            // Adler-32 of the filter byte, which is 0, and the pixels.
            high = (high + low) % 65_521;
            for pixel in &pixels {
                low = (low + u32::from(*pixel)) % 65_521;
                high = (high + low) % 65_521;
            }
            stream.extend_from_slice(&pixels);
        }
        stream.extend_from_slice(&((high << 16) | low).to_be_bytes());
        stream
    }
}

/// Appends a JPEG segment: marker, length of itself and the content, content.
fn segment(photo: &mut Vec<u8>, marker: u8, content: &[u8]) {
    photo.extend_from_slice(&[0xff, marker]);
    photo.extend_from_slice(
        &u16::try_from(content.len() + 2)
            .expect("a short segment")
            .to_be_bytes(),
    );
    photo.extend_from_slice(content);
}

/// Appends a PNG chunk: length, name, content, CRC of name and content.
fn chunk(photo: &mut Vec<u8>, name: [u8; 4], content: &[u8]) {
    photo.extend_from_slice(
        &u32::try_from(content.len())
            .expect("a test's photo")
            .to_be_bytes(),
    );
    let named = [&name[..], content].concat();
    photo.extend_from_slice(&named);
    photo.extend_from_slice(&crc32fast::hash(&named).to_be_bytes());
}
