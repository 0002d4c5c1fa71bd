//! TLS to hosts: whom this gateway trusts, and what it shows of itself.
//!
//! Keys stay in the gateway's files; the routes only say that a service is to be spoken to
//! with TLS, and by which name.
//!
//! Invariant: a host's certificate is verified unless an operator of this gateway said not to.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::tls::{self, TlsError, TlsFiles};

/// How hosts are spoken to with TLS.
#[derive(Debug, Clone, Default)]
pub struct UpstreamTls {
    /// Only certificates that these vouch for are taken, in PEM; absent: the system's.
    pub ca: Option<PathBuf>,
    /// What the gateway shows to hosts that ask who it is.
    pub client: Option<TlsFiles>,
    /// Any certificate is taken, as if anybody could be the host.
    pub is_unverified: bool,
}

/// For handshakes, by the protocol that is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Secure {
    pub(crate) http1: Arc<ClientConfig>,
    pub(crate) http2: Arc<ClientConfig>,
}

impl Secure {
    /// Reads the files.
    pub(crate) fn load(settings: &UpstreamTls) -> Result<Secure, TlsError> {
        let roots = match &settings.ca {
            Some(path) => roots_of(path)?,
            None => system_roots(),
        };
        let http1 = build(settings, roots.clone(), b"http/1.1")?;
        let http2 = build(settings, roots, b"h2")?;
        Ok(Secure { http1, http2 })
    }
}

/// All that keeps the files from being used.
pub(crate) fn check(settings: &UpstreamTls) -> Vec<TlsError> {
    let ca = settings.ca.as_ref().and_then(|path| roots_of(path).err());
    let client = settings.client.as_ref().map(tls::check);
    ca.into_iter().chain(client.into_iter().flatten()).collect()
}

fn build(
    settings: &UpstreamTls,
    roots: RootCertStore,
    protocol: &[u8],
) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder();
    let builder = match settings.is_unverified {
        true => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Unverified)),
        false => builder.with_root_certificates(roots),
    };
    let mut config = match &settings.client {
        None => builder.with_no_client_auth(),
        Some(files) => {
            let (chain, key) = tls::load_pair(files)?;
            let config = builder.with_client_auth_cert(chain, key);
            config.map_err(|source| TlsError::Pair {
                certificates: files.certificates.clone(),
                key: files.key.clone(),
                source,
            })?
        }
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(Arc::new(config))
}

fn roots_of(path: &Path) -> Result<RootCertStore, TlsError> {
    let bytes = tls::read_file(path)?;
    let unusable = |source| TlsError::Pem {
        path: path.to_owned(),
        source,
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        let added = roots.add(certificate.map_err(unusable)?);
        added.map_err(|source| TlsError::Authority {
            path: path.to_owned(),
            source,
        })?;
    }
    match roots.is_empty() {
        true => Err(TlsError::Empty(path.to_owned())),
        false => Ok(roots),
    }
}

/// Without any, no host's certificate is taken, and each handshake says so.
fn system_roots() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!(%error, "a root certificate of the system can't be read");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    roots
}

/// Takes any certificate, but only from who has its key.
#[derive(Debug)]
struct Unverified;

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let known = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        known.supported_schemes()
    }
}
