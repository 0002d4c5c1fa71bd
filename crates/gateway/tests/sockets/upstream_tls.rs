//! TLS to hosts: whom the gateway believes, and what it shows of itself.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use gateway::{GatewayConfig, TlsFiles, UpstreamTls};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use model::Serving;
use model::serving::{Protocol, UpstreamSpec};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;

use crate::fleet::{Control, Gateway, Host, ask, config};
use crate::serving::saying;

/// An authority, and what it vouches for.
struct Authority {
    folder: TempDir,
    certificate: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
}

struct Leaf {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    files: TlsFiles,
}

impl Authority {
    fn new() -> Authority {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertifiedIssuer::self_signed(params, key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        Authority {
            folder,
            certificate,
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        Arc::new(roots)
    }

    fn vouch(&self, name: &str) -> Leaf {
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.certificate).unwrap();
        let at = |kind: &str| self.folder.path().join(format!("{name}.{kind}"));
        let files = TlsFiles {
            certificates: at("cert"),
            key: at("key"),
        };
        std::fs::write(&files.certificates, certificate.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        Leaf {
            chain: vec![certificate.der().clone()],
            key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            files,
        }
    }
}

/// Says over which protocol it was asked, and who asked.
async fn host(leaf: Leaf, clients: Option<&Authority>) -> Host {
    let builder = ServerConfig::builder();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let verifier = WebPkiClientVerifier::builder(authority.roots());
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let mut config = builder.with_single_cert(leaf.chain, leaf.key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    Host::raw(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let session = stream.get_ref().1;
            let is_http2 = session.alpn_protocol() == Some(b"h2");
            let known = session.peer_certificates().map_or(0, <[_]>::len);
            let service = service_fn(move |request: Request<Incoming>| {
                let told = format!("{:?} {} known {known}", request.version(), request.uri());
                async move { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(told)))) }
            });
            let io = TokioIo::new(stream);
            if is_http2 {
                let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                let _ = builder.serve_connection(io, service).await;
            } else {
                let builder = hyper::server::conn::http1::Builder::new();
                let _ = builder.serve_connection(io, service).await;
            }
        }
    })
    .await
}

async fn before(
    host: &Host,
    protocol: Protocol,
    name: Option<&str>,
    change: impl FnOnce(&mut GatewayConfig),
) -> Gateway {
    wire::install_crypto();
    let serving = Serving {
        upstream: UpstreamSpec {
            tls: true,
            protocol,
            server_name: name.map(str::to_owned),
        },
        ..Serving::default()
    };
    let control = Control::start(saying(1, &[host.address], serving, Vec::new())).await;
    let mut config = config(control.address);
    change(&mut config);
    Gateway::ready(config).await
}

async fn told(gateway: Gateway) -> (u16, String) {
    // Twice, so that a kept connection is used too.
    let first = ask(gateway.address, "GET", "/a", &[], "").await;
    let second = ask(gateway.address, "GET", "/a", &[], "").await;
    assert_eq!(first.status, second.status);
    gateway.stop().await;
    (second.status, second.text())
}

fn trusting(authority: &Authority) -> impl FnOnce(&mut GatewayConfig) + use<> {
    let ca = Some(authority.file());
    move |config| {
        config.upstream_tls = UpstreamTls {
            ca,
            ..UpstreamTls::default()
        };
    }
}

#[tokio::test]
async fn hosts_are_spoken_to_with_tls_over_both_protocols() {
    wire::install_crypto();
    let authority = Authority::new();
    let host = host(authority.vouch("api.internal"), None).await;
    for (protocol, expected) in [
        (Protocol::Http1, "HTTP/1.1 /a known 0"),
        (Protocol::Http2, "HTTP/2.0 https://api.test/a known 0"),
    ] {
        let gateway = before(&host, protocol, Some("api.internal"), trusting(&authority)).await;
        assert_eq!(told(gateway).await, (200, expected.to_owned()));
    }
    assert_eq!(host.connections(), 2, "they are kept");
}

#[tokio::test]
async fn an_address_is_a_name_too() {
    wire::install_crypto();
    let authority = Authority::new();
    let host = host(authority.vouch("127.0.0.1"), None).await;
    let gateway = before(&host, Protocol::Http1, None, trusting(&authority)).await;
    assert_eq!(told(gateway).await.0, 200);
}

#[tokio::test]
async fn who_is_not_who_it_should_be_is_sent_nothing() {
    wire::install_crypto();
    let (authority, other) = (Authority::new(), Authority::new());
    let host = host(authority.vouch("api.internal"), None).await;
    let name = Some("api.internal");
    for protocol in [Protocol::Http1, Protocol::Http2] {
        for (name, change) in [
            (name, trusting(&other)),
            (Some("web.internal"), trusting(&authority)),
            (None, trusting(&authority)),
        ] {
            let gateway = before(&host, protocol, name, change).await;
            let answer = ask(gateway.address, "GET", "/", &[], "").await;
            assert_eq!((answer.status, answer.reason()), (502, "connect_failed"));
            gateway.stop().await;
        }
        // The system's authorities know nothing of this one.
        let gateway = before(&host, protocol, name, |_| {}).await;
        assert_eq!(told(gateway).await.0, 502);
        let unverified = |config: &mut GatewayConfig| config.upstream_tls.is_unverified = true;
        let gateway = before(&host, protocol, None, unverified).await;
        assert_eq!(told(gateway).await.0, 200);
    }
}

#[tokio::test]
async fn hosts_may_ask_who_the_gateway_is() {
    wire::install_crypto();
    let (authority, clients) = (Authority::new(), Authority::new());
    let host = host(authority.vouch("api.internal"), Some(&clients)).await;
    let name = Some("api.internal");
    let own = clients.vouch("edge-1").files;
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let trust = trusting(&authority);
        let shows = |config: &mut GatewayConfig| {
            trust(config);
            config.upstream_tls.client = Some(own.clone());
        };
        let gateway = before(&host, protocol, name, shows).await;
        let (status, text) = told(gateway).await;
        assert!(
            status == 200 && text.ends_with("known 1"),
            "{status} {text}"
        );
        let gateway = before(&host, protocol, name, trusting(&authority)).await;
        assert_eq!(told(gateway).await.0, 502);
    }
}

#[test]
fn all_that_is_wrong_with_the_files_is_said_at_once() {
    wire::install_crypto();
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.pem");
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let mut config = config("127.0.0.1:1".parse().unwrap());
    config.upstream_tls = UpstreamTls {
        ca: Some(empty.clone()),
        client: Some(TlsFiles {
            certificates: missing.clone(),
            key: empty,
        }),
        is_unverified: false,
    };
    let problems: Vec<String> = gateway::check(&config)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(problems.len(), 3, "{problems:#?}");
}
