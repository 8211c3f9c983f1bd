//! The generated photos are photos: otherwise the other tests would say nothing about photos.

use std::collections::HashSet;
use std::io::Cursor;
use std::path::PathBuf;

use image::{DynamicImage, ImageFormat, RgbImage};

use crate::command::run;
use crate::photo_generator::{BYTES_MIN, PhotoGenerator};

/// Pictures made by real encoders, one of each format, as (file name, bytes).
pub fn real_pictures() -> Vec<(String, Vec<u8>)> {
    let picture = RgbImage::from_fn(64, 48, |x, y| {
        let shade = |value: u32| u8::try_from(value % 256).expect("below 256");
        image::Rgb([shade(x * 4), shade(y * 5), shade(x * y)])
    });
    let formats = [
        (ImageFormat::Jpeg, "jpg"),
        (ImageFormat::Png, "png"),
        (ImageFormat::Gif, "gif"),
        (ImageFormat::WebP, "webp"),
        (ImageFormat::Tiff, "tif"),
        (ImageFormat::Bmp, "bmp"),
    ];
    formats
        .into_iter()
        .map(|(format, extension)| {
            let mut bytes = Cursor::new(Vec::new());
            DynamicImage::from(picture.clone())
                .write_to(&mut bytes, format)
                .expect("encodes");
            (format!("real.{extension}"), bytes.into_inner())
        })
        .collect()
}

#[test]
fn generated_photos_have_the_requested_size_and_all_differ() {
    let mut seen = HashSet::new();
    for seed in [1, 2] {
        let mut generator = PhotoGenerator::new(seed);
        for bytes in [BYTES_MIN, BYTES_MIN + 1, 2_048, 9_999, 65_536, 1 << 20].repeat(4) {
            let photo = generator.generate(bytes);
            assert_eq!(photo.len(), bytes);
            assert!(seen.insert(photo), "the same photo twice");
        }
    }
    assert_eq!(
        PhotoGenerator::new(7).generate(5_000),
        PhotoGenerator::new(7).generate(5_000),
        "a seed makes the same photos every time"
    );
}

#[test]
fn file_recognises_every_photo() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut generator = PhotoGenerator::new(3);
    let mut expected = Vec::new();
    for number in 0..16 {
        let kind = if generator.next_is_png() {
            "image/png"
        } else {
            "image/jpeg"
        };
        let path = folder.path().join(format!("{number:02}"));
        generator
            .generate_file(&path, 30_000 + number)
            .expect("a file");
        expected.push((path, kind));
    }
    for (name, bytes) in real_pictures() {
        let path = folder.path().join(&name);
        std::fs::write(&path, bytes).expect("a file");
        expected.push((path, mime_of(&name)));
    }
    let paths: Vec<PathBuf> = expected.iter().map(|(path, _)| path.clone()).collect();
    let said = run(
        "file",
        ["--brief".into(), "--mime-type".into()]
            .into_iter()
            .chain(paths),
    )
    .succeeds();
    let kinds: Vec<_> = expected.iter().map(|(_, kind)| *kind).collect();
    assert_eq!(said.lines().collect::<Vec<_>>(), kinds);
}

#[test]
fn decoders_open_the_real_pictures_and_the_generated_pngs() {
    let mut generator = PhotoGenerator::new(4);
    let photos: Vec<_> = (0..16)
        .map(|_| (generator.next_is_png(), generator.generate(40_000)))
        .collect();
    let pngs = photos
        .into_iter()
        .filter(|(is_png, _)| *is_png)
        .map(|(_, photo)| ("a generated PNG".to_owned(), photo));
    for (name, bytes) in real_pictures().into_iter().chain(pngs) {
        let picture =
            image::load_from_memory(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(picture.width() >= 64, "{name}");
    }
}

fn mime_of(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("jpg") => "image/jpeg",
        Some("png") => "image/png",
        Some("gif") => "image/gif",
        Some("webp") => "image/webp",
        Some("tif") => "image/tiff",
        Some("bmp") => "image/bmp",
        other => panic!("no kind for {other:?}"),
    }
}
