//! Time limits: slow clients are disconnected, and requests in progress may finish.

use std::time::{Duration, Instant};

use heirloom_protocol::{ContentDigest, ErrorCode, Fingerprint, route};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{LIMIT, TestServer, photo, raw, responses};

/// Sends bytes and waits until the server closes the connection; returns the time and the response.
async fn until_disconnected(server: &TestServer, said: &[u8]) -> (Duration, Vec<u8>) {
    let began = Instant::now();
    let mut stream = TcpStream::connect(server.inner.address()).await.unwrap();
    stream.write_all(said).await.unwrap();
    let mut came = Vec::new();
    timeout(LIMIT, stream.read_to_end(&mut came))
        .await
        .unwrap()
        .unwrap();
    (began.elapsed(), came)
}

#[tokio::test]
async fn a_client_that_does_not_finish_its_head_is_disconnected() {
    let server = TestServer::start().await;
    let (nothing, start, half, preface, idle) = tokio::join!(
        until_disconnected(&server, b""),
        until_disconnected(&server, b"P"),
        until_disconnected(&server, b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Slow: "),
        until_disconnected(&server, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        until_disconnected(&server, b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"),
    );
    for (took, _) in [&nothing, &start, &half, &preface, &idle] {
        assert!(*took < Duration::from_secs(30), "{took:?}");
    }
    assert!(half.1.is_empty());
    assert_eq!(responses(&idle.1)[0].status, 200);
    server.close().await;
}

#[tokio::test]
async fn a_stalled_body_gets_status_408() {
    let server = TestServer::start().await;
    let anna = server.client("anna").await;
    let photo = photo(1, 200_000);
    let request = format!(
        "PUT {} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n\
         Upload-Length: 200000\r\nContent-Digest: {}\r\n\
         Content-Length: 100000\r\n\r\n",
        route::shard(Fingerprint::of(&photo), 0),
        anna.token.as_ref().unwrap(),
        ContentDigest::of(&photo[..100_000]),
    );
    let (took, came) =
        until_disconnected(&server, &[request.as_bytes(), &photo[..3000]].concat()).await;
    assert_eq!(
        responses(&came)[0].code(),
        ErrorCode::RequestTimeout,
        "after {took:?}"
    );
    assert_eq!(
        anna.get(&route::upload(Fingerprint::of(&photo)))
            .await
            .code(),
        ErrorCode::NotFound
    );
    server.close().await;
}

#[tokio::test]
async fn a_stop_lets_a_request_in_progress_finish() {
    let server = TestServer::start().await;
    let anna = server.client("anna").await;
    let photo = photo(2, 200_000);
    let request = format!(
        "PUT {} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n\
         Upload-Length: 200000\r\nContent-Digest: {}\r\n\
         Content-Length: 200000\r\nExpect: 100-continue\r\n\r\n",
        route::shard(Fingerprint::of(&photo), 0),
        anna.token.as_ref().unwrap(),
        ContentDigest::of(&photo),
    );
    let mut stream = TcpStream::connect(server.inner.address()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    // The server requests the body: the request is in progress.
    let mut asked = [0; 25];
    timeout(LIMIT, stream.read_exact(&mut asked))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
    let address = server.inner.address();
    let closing = tokio::spawn(server.close());
    let refused = async { while TcpStream::connect(address).await.is_ok() {} };
    timeout(LIMIT, refused)
        .await
        .expect("no new connection is accepted");
    stream.write_all(&photo).await.unwrap();
    let mut came = Vec::new();
    timeout(LIMIT, stream.read_to_end(&mut came))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(responses(&came)[0].status, 200);
    let data = timeout(LIMIT, closing).await.unwrap().unwrap();
    let server = TestServer::restart(data).await;
    assert!(server.client("anna").await.has(&photo).await);
    server.close().await;
}

#[tokio::test]
async fn an_error_is_sent_before_the_body_is_requested() {
    let server = TestServer::start().await;
    let request = "PUT /v1/uploads/abc/0 HTTP/1.1\r\nHost: a\r\n\
                   Content-Length: 1000000\r\nExpect: 100-continue\r\n\r\n";
    let mut stream = TcpStream::connect(server.inner.address()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut came = vec![0; 12];
    timeout(Duration::from_secs(5), stream.read_exact(&mut came))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(came, b"HTTP/1.1 401");
    // The server does not wait for a body that it did not request.
    timeout(Duration::from_secs(5), stream.read_to_end(&mut came))
        .await
        .unwrap()
        .unwrap();
    server.close().await;
}

#[tokio::test]
async fn a_client_in_the_middle_of_a_rejected_body_still_gets_the_error() {
    let server = TestServer::start().await;
    let body = "x".repeat(8 << 20);
    let request = format!(
        "PUT /v1/uploads/abc/0 HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let next = "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let said = raw(server.inner.address(), &format!("{request}{next}")).await;
    assert_eq!(said[0].code(), ErrorCode::LoginNeeded);
    // The connection can be used for further requests.
    assert_eq!(said[1].status, 200);
    server.close().await;
}
