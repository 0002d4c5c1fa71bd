//! The API over TLS.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::Value;
use wire::api::StatusView;
use wire::{Client, ClientError, Identity};

use crate::support::{Server, config, refused_start, until};

/// A certificate for this machine and its key, as files.
fn certificate(folder: &Path) -> (PathBuf, PathBuf) {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&certificate, cert.pem()).unwrap();
    std::fs::write(&key, signing_key.serialize_pem()).unwrap();
    (certificate, key)
}

fn with_tls(folder: &Path) -> server::ServerConfig {
    wire::install_crypto();
    let mut config = config(&folder.join("data"));
    config.tls = Some(certificate(folder));
    config
}

fn unreachable(outcome: Result<Value, ClientError>) -> String {
    match outcome.unwrap_err() {
        ClientError::Unreachable { reason, .. } => reason,
        other => panic!("a broken connection was expected: {other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_right_certificate_is_needed_and_enough() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::with(with_tls(folder.path())).await;
    assert!(server.operator.base().starts_with("https://"));
    let _: StatusView = server.operator.get("/v1/status").await.unwrap();
    let agents = server.join_all().await;
    server.good(&agents, "first").await;

    let bearer = || Identity::Bearer(server.token.clone());
    // The system's certificates don't vouch for it; a system without any says so at once.
    match Client::new(server.operator.base(), bearer(), None) {
        Ok(stranger) => {
            let reason = unreachable(stranger.get("/v1/status").await);
            assert!(reason.to_lowercase().contains("certificate"), "{reason}");
        }
        Err(error) => assert!(error.to_string().contains("certificate"), "{error}"),
    }
    let other = tempfile::tempdir().unwrap();
    let (wrong, _) = certificate(other.path());
    let stranger = Client::new(server.operator.base(), bearer(), Some(wrong)).unwrap();
    let reason = unreachable(stranger.get("/v1/status").await);
    assert!(reason.to_lowercase().contains("certificate"), "{reason}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_http_on_the_tls_port_ends_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::with(with_tls(folder.path())).await;
    let plain = format!("http://{}", server.address());
    let client = Client::new(&plain, Identity::Bearer(server.token.clone()), None).unwrap();
    let began = std::time::Instant::now();
    unreachable(client.get("/v1/status").await);
    assert!(
        began.elapsed() < Duration::from_secs(9),
        "before any deadline"
    );
    // Nobody else is disturbed.
    let _: StatusView = server.operator.get("/v1/status").await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_waiting_requests_over_tls_too() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::with(with_tls(folder.path())).await;
    let agent = server.join("web-1").await;
    crate::stop::ends_a_waiting_poll_and_a_stream(server, &agent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_over_tls_that_does_not_end_is_cut_off_after_the_drain() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = with_tls(folder.path());
    config.drain = Duration::from_millis(300);
    let server = Server::with(config).await;
    let aside = server.data.join("blobs/aside");
    // Ten bytes, and then silence.
    let first = futures_util::stream::iter([Ok::<_, std::io::Error>("ten bytes.")]);
    let receiver = first.chain(futures_util::stream::pending());
    let path = format!("/v1/blobs/{}", model::Digest::of(b"x"));
    let request = server
        .operator
        .request(
            http::Method::PUT,
            &path,
            Default::default(),
            crate::support::PATIENCE,
        )
        .body(reqwest::Body::wrap_stream(receiver));
    let upload = tokio::spawn(request.send());
    let count = || std::fs::read_dir(&aside).unwrap().count();
    until("the upload begins", async || (count() == 1).then_some(())).await;
    server.stop().await;
    assert!(upload.await.unwrap().is_err());
    until("nothing is left aside", async || {
        (count() == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn unusable_files_are_named_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let good = with_tls(folder.path());
    let (certificate, key) = good.tls.clone().unwrap();
    let nowhere = folder.path().join("nowhere.pem");
    let garbage = folder.path().join("garbage.pem");
    std::fs::write(&garbage, "this is no PEM").unwrap();
    let broken = folder.path().join("broken.pem");
    let begin = "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n";
    std::fs::write(&broken, begin).unwrap();
    let hollow = folder.path().join("hollow.pem");
    let begin = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    std::fs::write(&hollow, begin).unwrap();
    let other = tempfile::tempdir().unwrap();
    let (_, other_key) = self::certificate(other.path());
    for (files, named) in [
        ((&nowhere, &key), "nowhere.pem"),
        ((&certificate, &nowhere), "nowhere.pem"),
        ((&garbage, &key), "garbage.pem"),
        ((&certificate, &garbage), "garbage.pem"),
        ((&broken, &key), "broken.pem"),
        ((&hollow, &key), "hollow.pem"),
        ((&certificate, &certificate), "cert.pem"),
        // A key that belongs to another certificate.
        ((&certificate, &other_key), "cert.pem"),
    ] {
        let mut config = good.clone();
        config.tls = Some((files.0.clone(), files.1.clone()));
        let words = refused_start(config).await;
        assert!(
            words.starts_with("TLS: ") && words.contains(named),
            "{named}: {words}"
        );
    }
}
