//! Servers that behave as badly as a test wants.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::TlsAcceptor;

/// What is done with each connection.
#[derive(Debug, Clone)]
pub(super) enum Manner {
    /// Nothing is ever said.
    Silent,
    /// Closed without a word.
    Closes,
    /// This is said at once.
    Greets(Vec<u8>),
    /// This is said to an HTTP request's head.
    Answers(Vec<u8>),
    /// This is said to a PostgreSQL start-up message without a user.
    Postgres(Vec<u8>),
}

pub(super) fn status(code: u16) -> Manner {
    let text = format!("HTTP/1.1 {code} Some Words\r\ncontent-length: 2\r\n\r\nok");
    Manner::Answers(text.into_bytes())
}

/// A server on this machine, for as long as the test's runtime lives.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) port: u16,
    pub(super) connections: Arc<AtomicU64>,
}

impl Server {
    pub(super) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(super) fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }

    pub(super) async fn start(manner: Manner) -> Server {
        Server::with(manner, None).await
    }

    pub(super) async fn secure(manner: Manner, identity: Identity) -> Server {
        Server::with(manner, Some(identity.acceptor())).await
    }

    async fn with(manner: Manner, tls: Option<TlsAcceptor>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server {
            port: listener.local_addr().unwrap().port(),
            connections: Arc::default(),
        };
        let connections = server.connections.clone();
        tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    continue;
                };
                connections.fetch_add(1, Ordering::SeqCst);
                let (manner, tls) = (manner.clone(), tls.clone());
                tokio::spawn(async move {
                    let Some(tls) = tls else {
                        return serve(manner, stream).await;
                    };
                    // A client that doesn't like the certificate hangs up.
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(manner, stream).await;
                    }
                });
            }
        });
        server
    }
}

async fn serve(manner: Manner, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    match manner {
        Manner::Silent => {
            let mut sink = Vec::new();
            let _ = stream.read_to_end(&mut sink).await;
        }
        Manner::Closes => {}
        Manner::Greets(words) => {
            let _ = stream.write_all(&words).await;
            let mut sink = Vec::new();
            let _ = stream.read_to_end(&mut sink).await;
        }
        Manner::Answers(words) => {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => return,
                }
            }
            let _ = stream.write_all(&words).await;
            let _ = stream.shutdown().await;
        }
        Manner::Postgres(words) => {
            let mut start_up = [0; 9];
            let read = stream.read_exact(&mut start_up).await;
            if read.is_ok() && start_up == [0, 0, 0, 9, 0, 3, 0, 0, 0] {
                let _ = stream.write_all(&words).await;
            }
        }
    }
}

/// A port that nothing listens on.
pub(super) async fn refused() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}

/// A listener that never accepts, with a full queue: further connections get no reply.
pub(super) struct Full {
    pub(super) port: u16,
    _listener: TcpListener,
    _waiting: Vec<TcpStream>,
}

impl Full {
    pub(super) async fn start() -> Full {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        for _ in 0..64 {
            let connect = TcpStream::connect(address);
            match tokio::time::timeout(Duration::from_millis(500), connect).await {
                Ok(stream) => waiting.push(stream.unwrap()),
                Err(_) => {
                    return Full {
                        port: address.port(),
                        _listener: listener,
                        _waiting: waiting,
                    };
                }
            }
        }
        panic!("the queue is never full");
    }
}

/// A private certificate authority.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(super) fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Authority(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// Its root as a PEM file.
    pub(super) fn root(&self, folder: &Path) -> PathBuf {
        let path = folder.join("root.pem");
        std::fs::write(&path, self.0.pem()).unwrap();
        path
    }

    /// A certificate for these names, valid between two years.
    pub(super) fn issue(&self, names: &[&str], years: (i32, i32)) -> Identity {
        let names: Vec<String> = names.iter().map(|it| (*it).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Identity {
            certificate: certificate.der().to_vec(),
            key: key.serialize_der(),
        }
    }
}

/// A server's certificate and key.
pub(super) struct Identity {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Identity {
    fn acceptor(self) -> TlsAcceptor {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key));
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.into()], key);
        TlsAcceptor::from(Arc::new(config.unwrap()))
    }
}
