//! Reading a range of an image piece by piece, so that a large image is never in memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use heirloom_protocol::ByteRange;
use tokio::task::spawn_blocking;

use super::super::blob_store::ByteStream;

/// Bytes in one piece: large enough that the trip to the blocking threads costs little, small
/// enough for hundreds of readers at once.
const READ_BYTES: u64 = 256 << 10;

/// Streams the bytes of `range`, which must lie inside the file. A file that was truncated
/// meanwhile ends the stream with an error.
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
