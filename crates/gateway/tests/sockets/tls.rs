//! TLS in: versions, protocols, patience, and certificates that change.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gateway::{GatewayError, TlsFiles};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::fleet::{Control, Gateway, Host, before_with, config, dead_address, service};
use crate::http2;

/// A certificate for `api.test` that vouches for itself, and its key, in PEM.
fn pair() -> (String, String, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["api.test".to_owned()]).unwrap();
    (
        made.cert.pem(),
        made.signing_key.serialize_pem(),
        made.cert.der().clone(),
    )
}

fn files(folder: &Path) -> TlsFiles {
    TlsFiles {
        certificates: folder.join("cert.pem"),
        key: folder.join("key.pem"),
    }
}

fn write(folder: &Path, certificate: &str, key: &str) {
    let files = files(folder);
    std::fs::write(files.certificates, certificate).unwrap();
    std::fs::write(files.key, key).unwrap();
}

struct Secured {
    gateway: Gateway,
    _control: Arc<Control>,
    folder: TempDir,
    /// What the gateway was started with.
    certificate: CertificateDer<'static>,
    reload: Arc<Notify>,
}

impl Secured {
    async fn before(host: &Host, change: impl FnOnce(&mut gateway::GatewayConfig)) -> Secured {
        wire::install_crypto();
        let folder = tempfile::tempdir().unwrap();
        let (pem, key, certificate) = pair();
        write(folder.path(), &pem, &key);
        let mut reload = None;
        let (control, gateway) = before_with(&[host.address], |it| {
            it.tls = Some(files(folder.path()));
            it.tls_listeners
                .insert(service(), "127.0.0.1:0".parse().unwrap());
            reload = Some(it.reload.clone());
            change(it);
        })
        .await;
        Secured {
            gateway,
            _control: control,
            folder,
            certificate,
            reload: reload.unwrap(),
        }
    }

    fn address(&self) -> SocketAddr {
        self.gateway.secured.unwrap()
    }

    async fn connect(&self, alpn: &[&[u8]]) -> TlsStream<TcpStream> {
        let versions = rustls::ALL_VERSIONS;
        handshake(self.address(), &self.certificate, alpn, versions)
            .await
            .unwrap()
    }
}

/// A handshake that trusts `certificate` alone.
async fn handshake(
    address: SocketAddr,
    certificate: &CertificateDer<'static>,
    alpn: &[&[u8]],
    versions: &[&'static SupportedProtocolVersion],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let mut config = ClientConfig::builder_with_protocol_versions(versions)
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|it| it.to_vec()).collect();
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("api.test").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

async fn telling() -> Host {
    let app = axum::Router::new().fallback(|headers: axum::http::HeaderMap| async move {
        let proto = headers["x-forwarded-proto"].to_str().unwrap().to_owned();
        format!("{proto} {}", headers["host"].to_str().unwrap())
    });
    Host::serve(app).await
}

/// One request over HTTP/1.1; the answer's body.
async fn get(stream: &mut TlsStream<TcpStream>) -> String {
    let request = b"GET / HTTP/1.1\r\nhost: api.test\r\nx-forwarded-proto: http\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        head.push(char::from(stream.read_u8().await.unwrap()));
    }
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let mut body = [0; 14];
    stream.read_exact(&mut body).await.unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test]
async fn both_protocols_in_both_versions() {
    let host = telling().await;
    let secured = Secured::before(&host, |_| {}).await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let alpn: &[&[u8]] = &[b"h2", b"http/1.1"];
        let stream = handshake(secured.address(), &secured.certificate, alpn, &[version])
            .await
            .unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let mut sender = http2::over(TokioIo::new(stream)).await;
        let request = http2::request("GET", "/", "").map(|_| Full::default());
        let response = sender.send_request(request).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "https api.test");
    }
    let mut stream = secured.connect(&[b"http/1.1"]).await;
    assert_eq!(get(&mut stream).await, "https api.test");
    let mut stream = secured.connect(&[]).await;
    assert_eq!(get(&mut stream).await, "https api.test");
    secured.gateway.stop().await;
}

#[tokio::test]
async fn requests_are_read_as_strictly_as_without() {
    let host = telling().await;
    let secured = Secured::before(&host, |_| {}).await;
    let mut stream = secured.connect(&[b"http/1.1"]).await;
    let request = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert_eq!(host.connections(), 0);
    secured.gateway.stop().await;
}

#[tokio::test]
async fn a_handshake_without_end_is_cut() {
    let host = telling().await;
    let secured = Secured::before(&host, |it| {
        it.limits.handshake_deadline = Duration::from_millis(200);
    })
    .await;
    for bytes in [
        &b""[..],
        b"\x16\x03\x01",
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(secured.address()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest));
        let _ = ended.await.expect("closed within time");
    }
    let failed = "plimsoll_gateway_tls_handshakes_failed_total 3\n";
    secured
        .gateway
        .until(|metrics| metrics.contains(failed))
        .await;
    let mut stream = secured.connect(&[]).await;
    assert_eq!(get(&mut stream).await, "https api.test");
    secured.gateway.stop().await;
}

#[tokio::test]
async fn a_new_certificate_is_taken_and_a_bad_one_is_not() {
    let host = telling().await;
    let secured = Secured::before(&host, |_| {}).await;
    let mut before = secured.connect(&[b"http/1.1"]).await;
    assert_eq!(get(&mut before).await, "https api.test");
    let trusts = async |certificate: &CertificateDer<'static>| {
        let versions = rustls::ALL_VERSIONS;
        handshake(secured.address(), certificate, &[], versions)
            .await
            .is_ok()
    };
    let metrics = async |line: &str| {
        secured
            .gateway
            .until(|metrics| metrics.contains(line))
            .await;
    };

    // The certificate alone: its key is still the old one's.
    let (pem, key, new) = pair();
    let files = files(secured.folder.path());
    std::fs::write(&files.certificates, &pem).unwrap();
    secured.reload.notify_one();
    metrics("plimsoll_gateway_tls_reloads_failed_total 1\n").await;
    assert!(trusts(&secured.certificate).await && !trusts(&new).await);
    // With the key it is whole.
    std::fs::write(&files.key, &key).unwrap();
    secured.reload.notify_one();
    metrics("plimsoll_gateway_tls_reloads_total 1\n").await;
    assert!(trusts(&new).await && !trusts(&secured.certificate).await);
    // Nonsense, and nothing at all.
    std::fs::write(&files.key, "nonsense").unwrap();
    secured.reload.notify_one();
    metrics("plimsoll_gateway_tls_reloads_failed_total 2\n").await;
    std::fs::remove_file(&files.certificates).unwrap();
    secured.reload.notify_one();
    metrics("plimsoll_gateway_tls_reloads_failed_total 3\n").await;
    assert!(trusts(&new).await);
    // Seen without being told, too.
    let (pem, key, newest) = pair();
    write(secured.folder.path(), &pem, &key);
    for _ in 0..100 {
        if trusts(&newest).await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(trusts(&newest).await);
    // And who was connected all the time has seen nothing of it.
    assert_eq!(get(&mut before).await, "https api.test");
    secured.gateway.stop().await;
}

#[tokio::test]
async fn what_cant_be_used_at_the_start_is_said() {
    wire::install_crypto();
    let folder = tempfile::tempdir().unwrap();
    let (pem, key, _) = pair();
    let (other, _, _) = pair();
    let files = files(folder.path());
    for (certificate, key, word) in [
        (pem.as_str(), "", "key.pem"),
        ("", key.as_str(), "no certificate"),
        (other.as_str(), key.as_str(), "KeyMismatch"),
    ] {
        write(folder.path(), certificate, key);
        let mut config = config(dead_address().await);
        config.tls = Some(files.clone());
        let (_stop, stopped) = tokio::sync::watch::channel(false);
        let error = gateway::run(config, stopped, |_| {}).await.unwrap_err();
        assert!(matches!(error, GatewayError::Tls(_)), "{error}");
        let words = format!("{error} {error:?}");
        assert!(words.contains(word), "{words}");
    }
    let mut config = config(dead_address().await);
    config
        .tls_listeners
        .insert(service(), "127.0.0.1:0".parse().unwrap());
    let (_stop, stopped) = tokio::sync::watch::channel(false);
    let error = gateway::run(config, stopped, |_| {}).await.unwrap_err();
    assert!(matches!(error, GatewayError::NoCertificate));
}
