//! Requests and responses, against a server that can fail in every way.

mod tls;

use std::time::Duration;

use heirloom_protocol::message::{CheckImage, CheckedImage, UploadState};
use heirloom_protocol::{ContentDigest, ErrorCode, Fingerprint, RangeSet};

use super::fake::{FakeServer, Fault, receipt};
use super::{Remote, RemoteError};

async fn connected() -> (FakeServer, Remote) {
    let server = FakeServer::start().await;
    let remote = Remote::new(&server.login()).unwrap();
    (server, remote)
}

fn image(content: &[u8]) -> CheckImage {
    CheckImage {
        fingerprint: Fingerprint::of(content),
        size: content.len() as u64,
        proof: None,
    }
}

#[tokio::test]
async fn a_session_is_requested_once_until_it_is_renewed() {
    let (server, remote) = connected().await;
    let (first, second) = tokio::join!(remote.session(), remote.session());
    assert_eq!(first.unwrap(), second.unwrap());
    assert_eq!(server.state().count("/session"), 1);
    remote.renewed_session().await.unwrap();
    assert_eq!(server.state().count("/session"), 2);
}

#[tokio::test]
async fn a_shard_arrives_with_its_digest_and_the_response_is_the_servers_list() {
    let (server, remote) = connected().await;
    let content = vec![9_u8; 300_000];
    let fingerprint = Fingerprint::of(&content);
    assert_eq!(remote.upload_state(fingerprint).await.unwrap(), None);
    let part = bytes::Bytes::copy_from_slice(&content[..100_000]);
    let state = remote
        .put_shard(
            fingerprint,
            300_000,
            0,
            ContentDigest::of(&part),
            part.into(),
        )
        .await
        .unwrap();
    let received: RangeSet = [heirloom_protocol::ByteRange::new(0, 100_000).unwrap()]
        .into_iter()
        .collect();
    assert_eq!(
        state,
        UploadState::Receiving {
            size: 300_000,
            received
        }
    );
    assert_eq!(remote.upload_state(fingerprint).await.unwrap(), Some(state));
    let rest = bytes::Bytes::copy_from_slice(&content[100_000..]);
    let state = remote
        .put_shard(
            fingerprint,
            300_000,
            100_000,
            ContentDigest::of(&rest),
            rest.into(),
        )
        .await
        .unwrap();
    assert_eq!(
        state,
        UploadState::Stored {
            receipt: receipt(&content)
        }
    );
    assert_eq!(server.state().images[&fingerprint], content);
}

#[tokio::test]
async fn a_byte_range_of_an_image_is_exactly_that_range() {
    let (server, remote) = connected().await;
    let content: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    let (fingerprint, size) = (Fingerprint::of(&content), content.len() as u64);
    let range = heirloom_protocol::ByteRange::new(1000, 70_000).unwrap();
    let reported = std::sync::atomic::AtomicUsize::new(0);
    let part = |range| {
        let count = || {
            reported.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        };
        let remote = &remote;
        async move { remote.image_range(fingerprint, size, range, &count).await }
    };
    assert_eq!(
        part(range).await.unwrap_err().code(),
        Some(ErrorCode::NotFound)
    );
    server.state().images.insert(fingerprint, content.clone());
    assert_eq!(part(range).await.unwrap(), content[1000..70_000]);
    assert!(
        reported.load(std::sync::atomic::Ordering::Relaxed) > 0,
        "the callback reports arriving data"
    );
    for nonsense in ["", "<html>Welcome to the hotel</html>"] {
        server.fail("/images/", Fault::Garbage(nonsense));
        assert!(
            matches!(part(range).await, Err(RemoteError::Malformed { .. })),
            "{nonsense:?}"
        );
    }
    server.fail("/images/", Fault::Status(206, "another part", None));
    assert!(matches!(
        part(range).await,
        Err(RemoteError::Malformed { .. })
    ));
}

#[tokio::test]
async fn a_wrong_token_is_login_needed_whatever_the_body() {
    let (server, remote) = connected().await;
    server.fail(
        "/session",
        Fault::Status(401, "<html>who are you?</html>", None),
    );
    assert!(matches!(
        remote.session().await,
        Err(RemoteError::LoginNeeded)
    ));
    server.state().token = "another".to_owned();
    assert!(matches!(
        remote.session().await,
        Err(RemoteError::LoginNeeded)
    ));
}

#[tokio::test]
async fn a_proxys_error_page_means_temporarily_unavailable() {
    let (server, remote) = connected().await;
    for (status, code) in [
        (502, ErrorCode::Unavailable),
        (503, ErrorCode::Unavailable),
        (500, ErrorCode::Unavailable),
        (429, ErrorCode::TooManyRequests),
        (413, ErrorCode::BodyTooLarge),
        (507, ErrorCode::StorageFull),
    ] {
        server.fail(
            "/session",
            Fault::Status(status, "<html>sorry</html>", Some(17)),
        );
        let error = remote.session().await.unwrap_err();
        assert_eq!(error.code(), Some(code), "{status}");
        assert_eq!(error.is_transient(), status != 413);
        assert_eq!(error.retry_after(), Some(Duration::from_secs(17)));
    }
}

#[tokio::test]
async fn a_captive_portal_is_neither_accepted_nor_followed() {
    let (server, remote) = connected().await;
    let trap = FakeServer::start().await;
    let target = format!("http://{}/v1/session", trap.address);
    for fault in [
        Fault::Redirect(target),
        Fault::Garbage("<html>Welcome to the hotel</html>"),
        Fault::Garbage("{}"),
        Fault::Garbage(""),
        Fault::Status(404, "no such page", None),
    ] {
        server.fail("/session", fault);
        let error = remote.session().await.unwrap_err();
        assert!(matches!(error, RemoteError::Malformed { .. }), "{error:?}");
        assert!(error.is_transient() && error.is_offline());
    }
    assert!(
        trap.state().requests.is_empty(),
        "the token was sent elsewhere"
    );
}

#[tokio::test]
async fn a_response_about_another_image_is_refused() {
    let (server, remote) = connected().await;
    let asked = [image(b"one"), image(b"two")];
    for answer in [
        vec![asked[0].clone()],
        vec![asked[1].clone(), asked[0].clone()],
    ] {
        let absent: Vec<_> = answer
            .iter()
            .map(|image| CheckedImage::Absent {
                fingerprint: image.fingerprint,
            })
            .collect();
        let words = serde_json::to_string(&absent).unwrap().leak();
        server.fail("/check", Fault::Garbage(words));
        assert!(matches!(
            remote.check(&asked).await,
            Err(RemoteError::Malformed { .. })
        ));
    }
    let words = serde_json::to_string(&UploadState::Stored {
        receipt: receipt(b"two"),
    })
    .unwrap()
    .leak();
    server.fail("PUT", Fault::Garbage(words));
    let put = remote
        .put_shard(
            asked[0].fingerprint,
            3,
            0,
            asked[0].fingerprint.into(),
            b"one".to_vec().into(),
        )
        .await;
    assert!(
        matches!(put, Err(RemoteError::Malformed { .. })),
        "a receipt for another image is no receipt"
    );
}

#[tokio::test]
async fn an_endless_response_is_cut_off() {
    let (server, remote) = connected().await;
    let session = serde_json::to_string(&server.state().session()).unwrap();
    server.fail(
        "/session",
        Fault::Garbage(format!("{session}{}", " ".repeat(9 << 20)).leak()),
    );
    assert!(matches!(
        remote.session().await,
        Err(RemoteError::Malformed { .. })
    ));
}

#[tokio::test]
async fn an_interrupted_request_is_repeated_once_but_a_shard_is_not() {
    let (server, remote) = connected().await;
    server.fail("/check", Fault::CutAfter);
    assert_eq!(remote.check(&[image(b"one")]).await.unwrap().len(), 1);
    server.fail("PUT", Fault::Cut);
    let content = vec![1_u8; 2 << 20];
    let fingerprint = Fingerprint::of(&content);
    let put = remote
        .put_shard(fingerprint, 2 << 20, 0, fingerprint.into(), content.into())
        .await;
    assert!(put.unwrap_err().is_interruption());
    assert_eq!(server.state().count("PUT"), 1);
}

#[tokio::test]
async fn an_unreachable_server_is_offline_and_the_error_names_it() {
    let (mut server, remote) = connected().await;
    server.stop().await;
    let error = remote.session().await.unwrap_err();
    assert!(
        matches!(error, RemoteError::Unreachable { .. }) && error.is_offline(),
        "{error:?}"
    );
    assert!(
        error.chain().contains(&server.address.to_string()) && error.chain().contains("refused"),
        "{}",
        error.chain()
    );
    server.restart();
    remote.session().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stalled_request_ends_after_its_timeout() {
    let (body, progress) = super::request_body::RequestBody::new(vec![0; 1 << 20].into());
    let (stall, response) = (Duration::from_secs(30), Duration::from_secs(90));
    let began = tokio::time::Instant::now();
    assert_eq!(progress.stalled(stall, response).await, stall);
    assert!(
        began.elapsed() < stall + Duration::from_secs(1),
        "not one byte was taken"
    );
    let taking = async move {
        let mut body = body;
        while http_body_util::BodyExt::frame(&mut body).await.is_some() {
            tokio::time::sleep(Duration::from_secs(29)).await;
        }
    };
    let began = tokio::time::Instant::now();
    tokio::select! {
        biased;
        () = async { taking.await; std::future::pending().await } => {}
        limit = progress.stalled(stall, response) => {
            assert_eq!(limit, response, "slow is not stalled");
        }
    }
    assert!(
        began.elapsed() >= Duration::from_secs(15 * 29 + 90),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn the_token_is_in_no_debug_output() {
    let login = crate::config::Login {
        server: "http://127.0.0.1:1".parse().unwrap(),
        token: "secret-token".parse().unwrap(),
        ca_file: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let _inside = runtime.enter();
    assert!(!format!("{:?}", Remote::new(&login).unwrap()).contains("secret-token"));
}

#[test]
fn a_ca_file_without_certificates_is_refused_by_name() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let login = crate::config::Login {
        server: "https://127.0.0.1:1".parse().unwrap(),
        token: "token".parse().unwrap(),
        ca_file: Some(file.path().to_owned()),
    };
    let error = Remote::new(&login).unwrap_err();
    assert!(
        error.chain().contains(file.path().to_str().unwrap()),
        "{}",
        error.chain()
    );
    assert!(!error.is_transient());
}
