//! A connection to a host comes about: TCP, TLS if the service says so, and the protocol's beginning.
//!
//! Invariant: what is dialled is watched by the kernel, so that a host that is gone without
//! a word is noticed, and the requests that it had with it.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use model::serving::{Protocol, UpstreamSpec};
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::SendError;
use super::secure::Secure;

/// A connection that is silent for this long is asked whether the other end is there, and
/// again this often, so many times: a host that is gone is noticed within half a minute.
const PROBE_AFTER: Duration = Duration::from_secs(15);
const PROBE_EVERY: Duration = Duration::from_secs(5);
const PROBES: u32 = 3;

/// How a host is reached.
#[derive(Debug)]
pub(crate) struct Way {
    /// `address:port`.
    pub(super) address: String,
    /// The address, unless it is a name to be resolved for each connection.
    literal: Option<SocketAddr>,
    pub(super) spec: UpstreamSpec,
    secure: Secure,
}

/// A connection without a protocol yet.
pub(super) enum Stream {
    Plain(TcpStream),
    Secured(Box<TlsStream<TcpStream>>),
}

impl Way {
    pub(super) fn new(address: &str, spec: &UpstreamSpec, secure: &Secure) -> Way {
        Way {
            address: address.to_owned(),
            literal: address.parse().ok(),
            spec: spec.clone(),
            secure: secure.clone(),
        }
    }

    /// The stream, and its socket for whoever has to end it from outside.
    pub(super) async fn dial(&self, within: Duration) -> Result<(Stream, Arc<OwnedFd>), SendError> {
        let dialling = async {
            let stream = match self.literal {
                Some(address) => TcpStream::connect(address).await?,
                None => TcpStream::connect(self.address.as_str()).await?,
            };
            // Heads and bodies are written as they come; waiting for more would only delay them.
            let _ = stream.set_nodelay(true);
            let keepalive = TcpKeepalive::new().with_time(PROBE_AFTER);
            let keepalive = keepalive.with_interval(PROBE_EVERY).with_retries(PROBES);
            let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
            let socket = Arc::new(stream.as_fd().try_clone_to_owned()?);
            let stream = match self.spec.tls {
                true => Stream::Secured(Box::new(self.secured(stream).await?)),
                false => Stream::Plain(stream),
            };
            Ok((stream, socket))
        };
        match tokio::time::timeout(within, dialling).await {
            Ok(Ok(dialled)) => Ok(dialled),
            Ok(Err(error)) if is_own_fault(&error) => Err(SendError::Own(error)),
            Ok(Err(error)) => Err(SendError::Connect(error)),
            Err(_) => Err(SendError::Connect(std::io::ErrorKind::TimedOut.into())),
        }
    }

    async fn secured(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        let (config, protocol) = match self.spec.protocol {
            Protocol::Http1 => (&self.secure.http1, None),
            Protocol::Http2 => (&self.secure.http2, Some(&b"h2"[..])),
        };
        let invalid = |words: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, words);
        let name = ServerName::try_from(self.name().to_owned())
            .map_err(|_| invalid("no name that a certificate could have"))?;
        let connecting = TlsConnector::from(config.clone())
            .connect(name, stream)
            .await;
        let stream = connecting.inspect_err(|error| {
            // Rare, and nothing else says what to mend.
            tracing::warn!(address = self.address, %error, "no TLS with a host");
        })?;
        let agreed = stream.get_ref().1.alpn_protocol();
        match protocol {
            Some(wanted) if agreed != Some(wanted) => {
                tracing::warn!(
                    address = self.address,
                    "a host does not speak HTTP/2 over TLS"
                );
                Err(invalid("HTTP/2 was not agreed on"))
            }
            _ => Ok(stream),
        }
    }

    /// The name that the certificate must have: as the service says, else the address' host.
    fn name(&self) -> &str {
        if let Some(name) = &self.spec.server_name {
            return name;
        }
        let host = self.address.rsplit_once(':').map_or("", |(host, _)| host);
        host.trim_start_matches('[').trim_end_matches(']')
    }
}

/// A bundle must not be blamed, and rolled back, because this process ran dry.
fn is_own_fault(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    let own = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOBUFS,
        Errno::NOMEM,
        Errno::ADDRNOTAVAIL,
    ];
    Errno::from_io_error(error).is_some_and(|errno| own.contains(&errno))
}
