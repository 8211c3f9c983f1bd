//! What hyper gets to read through the gate.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;

const GOOD: &str = "PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
const NEXT: &str = "GET /b HTTP/1.1\r\nHost: a\r\n\r\n";
const BAD: &str = "GET /c HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Sends `bytes` in pieces of `piece` through a gate; answers what hyper would have read.
async fn through(bytes: &[u8], piece: usize) -> (Vec<u8>, Findings) {
    let (mut client, server) = duplex(piece);
    let findings = Findings::default();
    let mut gate = Gate::new(server, findings.clone());
    let sent = bytes.to_vec();
    let sending = tokio::spawn(async move {
        client.write_all(&sent).await.unwrap();
        client.shutdown().await.unwrap();
        client
    });
    let read = read_all(&mut gate).await;
    sending.await.unwrap();
    (read, findings)
}

/// Until the end, or until the gate lets nothing through any more.
async fn read_all(gate: &mut Gate<DuplexStream>) -> Vec<u8> {
    let mut read = Vec::new();
    loop {
        let mut space = [0; 7];
        tokio::select! {
            biased;
            count = gate.read(&mut space) => match count.unwrap() {
                0 => return read,
                count => read.extend_from_slice(&space[..count]),
            },
            () = tokio::time::sleep(Duration::from_millis(200)) => return read,
        }
    }
}

#[tokio::test]
async fn what_is_sound_passes_unchanged_in_whatever_pieces_it_comes() {
    let all = format!("{GOOD}{NEXT}{GOOD}{NEXT}");
    for piece in [1, 2, 3, 10, 50, 51, 1000] {
        let (read, findings) = through(all.as_bytes(), piece).await;
        assert_eq!(
            String::from_utf8(read).unwrap(),
            all,
            "in pieces of {piece}"
        );
        assert_eq!(findings.heads().len(), 4);
        assert!(findings.heads().iter().all(Result::is_ok));
    }
}

#[tokio::test]
async fn behind_a_refused_head_nothing_passes() {
    for piece in [1, 7, 1000] {
        let (read, findings) = through(format!("{GOOD}{BAD}{NEXT}").as_bytes(), piece).await;
        let expected = [GOOD.as_bytes(), IN_ITS_PLACE].concat();
        assert_eq!(read, expected, "in pieces of {piece}");
        assert_eq!(findings.fault(), None);
        assert_eq!(
            findings.fault().map(|(code, _)| code),
            Some(ErrorCode::MalformedRequest)
        );
    }
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let endless = format!("GET / HTTP/1.1\r\nA: {}", "b".repeat(HEAD_BYTES_MAX));
    let (read, findings) = through(endless.as_bytes(), 4096).await;
    assert_eq!(read, IN_ITS_PLACE);
    assert!(findings.fault().is_some());
}

#[tokio::test]
async fn http_2_passes_as_a_whole() {
    let bytes = [HTTP2_PREFACE, b"SM\r\n\r\n\0\0\0\x04", b"PUT /\r\n\r\n"].concat();
    let (read, findings) = through(&bytes, 5).await;
    assert_eq!(read, bytes);
    assert!(findings.heads().is_empty());
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_given_up() {
    let (_reader, server) = duplex(16);
    let mut gate = Gate::new(server, Findings::default());
    gate.stall_max = Duration::from_millis(20);
    let written = gate.write_all(&[0; 1000]).await;
    assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
}
