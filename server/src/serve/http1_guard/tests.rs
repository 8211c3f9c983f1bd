//! Tests: what hyper reads through the guard.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use heirloom_protocol::ErrorCode;

use super::*;

const GOOD: &str = "PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
const NEXT: &str = "GET /b HTTP/1.1\r\nHost: a\r\n\r\n";
const BAD: &str = "GET /c HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Sends `bytes` in pieces of `piece` bytes through a guard; returns what hyper would have read.
async fn through(bytes: &[u8], piece: usize) -> (Vec<u8>, HeadResults) {
    let (mut client, server) = duplex(piece);
    let results = HeadResults::default();
    let mut guard = Http1Guard::new(server, results.clone());
    let sent = bytes.to_vec();
    let sending = tokio::spawn(async move {
        client.write_all(&sent).await.unwrap();
        client.shutdown().await.unwrap();
        client
    });
    let read = read_all(&mut guard).await;
    sending.await.unwrap();
    (read, results)
}

/// Reads to the end, or until the guard passes nothing more.
async fn read_all(guard: &mut Http1Guard<DuplexStream>) -> Vec<u8> {
    let mut read = Vec::new();
    loop {
        let mut space = [0; 7];
        tokio::select! {
            biased;
            count = guard.read(&mut space) => match count.unwrap() {
                0 => return read,
                count => read.extend_from_slice(&space[..count]),
            },
            () = tokio::time::sleep(Duration::from_millis(200)) => return read,
        }
    }
}

#[tokio::test]
async fn valid_requests_pass_unchanged_in_whatever_pieces_they_arrive() {
    let all = format!("{GOOD}{NEXT}{GOOD}{NEXT}");
    for piece in [1, 2, 3, 10, 50, 51, 1000] {
        let (read, results) = through(all.as_bytes(), piece).await;
        assert_eq!(
            String::from_utf8(read).unwrap(),
            all,
            "in pieces of {piece}"
        );
        assert_eq!(results.heads.lock().len(), 4);
        assert!(results.heads.lock().iter().all(Result::is_ok));
    }
}

#[tokio::test]
async fn after_an_invalid_head_nothing_passes() {
    for piece in [1, 7, 1000] {
        let (read, results) = through(format!("{GOOD}{BAD}{NEXT}").as_bytes(), piece).await;
        let expected = [GOOD.as_bytes(), SUBSTITUTE_REQUEST].concat();
        assert_eq!(read, expected, "in pieces of {piece}");
        assert_eq!(results.next_violation(), None);
        assert_eq!(
            results.next_violation().map(|violation| violation.code),
            Some(ErrorCode::MalformedRequest)
        );
    }
}

#[tokio::test]
async fn a_head_without_end_is_rejected() {
    let endless = format!("GET / HTTP/1.1\r\nA: {}", "b".repeat(HEAD_BYTES_MAX));
    let (read, results) = through(endless.as_bytes(), 4096).await;
    assert_eq!(read, SUBSTITUTE_REQUEST);
    assert!(results.next_violation().is_some());
}

#[tokio::test]
async fn http2_passes_unchanged() {
    let bytes = [HTTP2_PREFACE, b"SM\r\n\r\n\0\0\0\x04", b"PUT /\r\n\r\n"].concat();
    let (read, results) = through(&bytes, 5).await;
    assert_eq!(read, bytes);
    assert!(results.heads.lock().is_empty());
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_disconnected() {
    let (_reader, server) = duplex(16);
    let mut guard = Http1Guard::new(server, HeadResults::default());
    guard.stall_max = Duration::from_millis(20);
    let written = guard.write_all(&[0; 1000]).await;
    assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
}
