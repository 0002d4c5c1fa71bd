//! Uploads and downloads.

use std::path::Path;

use bytes::Bytes;
use http::Method;
use http::header::{ACCEPT_RANGES, CONTENT_RANGE, RANGE};
use model::refusal::Code;
use model::{Digest, Role};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use wire::api::{MissingAnswer, MissingRequest};

use crate::support::{Server, code, problem, raw, status, until};

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_is_stored_once_under_its_digest() {
    let server = Server::start().await;
    let author = server.with_role(Role::Author).await;
    let bytes = Bytes::from_static(b"timeout_ms = 300\n");
    let (digest, empty) = (Digest::of(&bytes), Digest::of(b""));
    let ask = MissingRequest {
        digests: vec![digest, empty],
    };
    let answer: MissingAnswer = author.post("/v1/blobs/missing", &ask).await.unwrap();
    assert_eq!(answer.missing, [digest, empty]);
    for _ in 0..3 {
        author.put_blob(digest, bytes.clone()).await.unwrap();
        author.put_blob(empty, Bytes::new()).await.unwrap();
    }
    let answer: MissingAnswer = author.post("/v1/blobs/missing", &ask).await.unwrap();
    assert_eq!(answer.missing, []);
    let file = server.data.join("blobs").join(digest.to_string());
    assert_eq!(std::fs::read(file).unwrap(), bytes);
    assert!(names(&server.data.join("blobs/aside")).is_empty());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_blob_may_come_again_and_from_many_at_once() {
    let server = Server::start().await;
    let bytes = Bytes::from(vec![7; 8 << 20]);
    let digest = Digest::of(&bytes);
    let uploads = (0..4).map(|_| server.operator.put_blob(digest, bytes.clone()));
    for outcome in futures_util::future::join_all(uploads).await {
        outcome.unwrap();
    }
    // The answer is known before the bytes came; who sends them must hear it none the less.
    for _ in 0..5 {
        server
            .operator
            .put_blob(digest, bytes.clone())
            .await
            .unwrap();
    }
    let viewer = server.with_role(Role::Viewer).await;
    let refused = viewer
        .put_blob(Digest::of(b"x"), bytes.clone())
        .await
        .unwrap_err();
    assert_eq!(code(&refused), Code::WrongRole);
    assert!(names(&server.data.join("blobs/aside")).is_empty());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_bytes_than_announced_are_not_kept() {
    let server = Server::start().await;
    let digest = Digest::of(b"announced");
    let refused = server
        .operator
        .put_blob(digest, Bytes::from_static(b"sent"));
    let refused = refused.await.unwrap_err();
    assert_eq!((status(&refused), code(&refused)), (422, Code::BadBlob));
    assert!(names(&server.data.join("blobs/aside")).is_empty());
    assert_eq!(names(&server.data.join("blobs")), ["aside"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_is_cut_off_leaves_nothing() {
    let server = Server::start().await;
    let aside = server.data.join("blobs/aside");
    let digest = Digest::of(b"whatever");
    let mut connection = TcpStream::connect(server.address()).await.unwrap();
    let head = format!(
        "PUT /v1/blobs/{digest} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: 1000\r\n\r\nten bytes.",
        server.token
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    until("the upload begins", async || {
        (!names(&aside).is_empty()).then_some(())
    })
    .await;
    drop(connection);
    until("nothing is left aside", async || {
        names(&aside).is_empty().then_some(())
    })
    .await;
    assert_eq!(names(&server.data.join("blobs")), ["aside"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_crash_left_aside_is_swept_away() {
    let server = Server::start().await;
    let data = server.data.clone();
    let folder = server.stop().await;
    std::fs::write(data.join("blobs/aside/half"), "half").unwrap();
    let server = Server::with(crate::support::config(&data)).await;
    assert!(names(&data.join("blobs/aside")).is_empty());
    server.stop().await;
    drop(folder);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_is_read_whole_or_from_an_offset() {
    let server = Server::start().await;
    let bytes = Bytes::from_static(b"0123456789");
    let digest = Digest::of(&bytes);
    server
        .operator
        .put_blob(digest, bytes.clone())
        .await
        .unwrap();
    let agent = server.join("web-1").await;
    let viewer = server.with_role(Role::Viewer).await;
    for client in [&agent.client, &viewer] {
        for offset in [0, 1, 9] {
            let response = client.blob_from(digest, offset as u64).await.unwrap();
            assert_eq!(response.headers()[ACCEPT_RANGES], "bytes");
            assert_eq!(response.bytes().await.unwrap(), bytes[offset..]);
        }
    }
    let get = async |range: &'static str| {
        let request = raw(Method::GET, server.url(&format!("/v1/blobs/{digest}")));
        let request = request.bearer_auth(&server.token).header(RANGE, range);
        request.send().await.unwrap()
    };
    let part = get("bytes=4-").await;
    assert_eq!(part.status(), 206);
    assert_eq!(part.headers()[CONTENT_RANGE], "bytes 4-9/10");
    for beyond in ["bytes=10-", "bytes=18446744073709551615-"] {
        let response = get(beyond).await;
        assert_eq!(response.status(), 416, "{beyond}");
        assert_eq!(response.headers()[CONTENT_RANGE], "bytes */10");
    }
    // Forms that agents never use may be ignored: the whole blob comes.
    for other in ["bytes=1-3", "bytes=-2", "lines=1-", "bytes=x-"] {
        let response = get(other).await;
        assert_eq!(response.status(), 200, "{other}");
        assert_eq!(response.bytes().await.unwrap(), bytes, "{other}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_was_uploaded_is_there() {
    let server = Server::start().await;
    let missing = Digest::of(b"never uploaded");
    let refused = server.operator.blob_from(missing, 0).await.unwrap_err();
    assert_eq!((status(&refused), code(&refused)), (404, Code::NotFound));
    for path in ["aside", "..%2Fcontrol.key", "%2e%2e%2foperator.token"] {
        let request = raw(Method::GET, server.url(&format!("/v1/blobs/{path}")));
        let response = request.bearer_auth(&server.token).send().await.unwrap();
        assert_eq!(response.status(), 400, "{path}");
        assert_eq!(problem(response).await.code, "bad-request", "{path}");
    }
    server.stop().await;
}
