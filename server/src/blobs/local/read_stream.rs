//! Reading an image: a range of it, some at a time, so that a large image never stands in memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use heirloom_protocol::ByteRange;
use tokio::task::spawn_blocking;

use super::super::ByteStream;

/// Bytes in one piece: large enough that the trip to the blocking threads costs little, small
/// enough for hundreds of readers at once.
const READ_BYTES: u64 = 256 << 10;

/// The bytes of `range`, which must lie inside the file. A file that is shorter by then ends the
/// stream with an error.
pub(super) fn stream(file: File, range: ByteRange) -> ByteStream<'static> {
    let file = Arc::new(file);
    stream::try_unfold(range.start(), move |at| {
        let file = Arc::clone(&file);
        async move {
            let Ok(rest) = ByteRange::new(at, range.end()) else {
                return Ok(None);
            };
            let piece = rest.first(READ_BYTES);
            let bytes = spawn_blocking(move || read(&file, piece))
                .await
                .map_err(io::Error::other)??;
            Ok(Some((bytes, piece.end())))
        }
    })
    .into_stream()
    .boxed()
}

fn read(file: &File, piece: ByteRange) -> io::Result<Bytes> {
    let length = usize::try_from(piece.len()).expect("a piece has at most READ_BYTES");
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, piece.start())?;
    Ok(bytes.into())
}
