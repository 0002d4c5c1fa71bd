//! Certificates for clients' TLS, taken anew when their files change.
//!
//! Invariant: there is always a certificate with its own key in force; what
//! can't be used never takes the place of what can.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::Notify;

use crate::GatewayError;
use crate::tallies::Tallies;

/// The files are read this often. Certificates are renewed weeks before they end.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A chain of certificates or a key is some KiB; what is larger is another file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where a certificate chain and its key are, in PEM.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The server's certificate first, then those that vouch for it.
    pub certificates: PathBuf,
    /// PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub key: PathBuf,
}

/// Why a certificate or key can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file can't be read.
    #[error("can't read {path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no PEM, or not of the right kind.
    #[error("{path}: {source}")]
    Pem {
        /// Which.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// No certificate is in it.
    #[error("{0}: there is no certificate in it")]
    Empty(PathBuf),
    /// A certificate can't vouch for others.
    #[error("{path}: {source}")]
    Authority {
        /// Which.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// Certificate and key don't belong together, or are of a kind that rustls doesn't know.
    #[error("{certificates} with {key}: {source}")]
    Pair {
        /// The chain's file.
        certificates: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

/// What was read: the chain's bytes and the key's.
#[derive(PartialEq, Eq)]
struct Read {
    certificates: Vec<u8>,
    key: Vec<u8>,
}

/// The certificate in force.
pub(crate) struct Certificates {
    files: TlsFiles,
    current: Mutex<Arc<ServerConfig>>,
    /// The last that was tried, so that a bad file is complained of once.
    tried: Mutex<Read>,
}

/// All that keeps the files from being used.
pub(crate) fn check(files: &TlsFiles) -> Vec<TlsError> {
    let certificates = read_file(&files.certificates).and_then(|bytes| chain(files, &bytes));
    let key = read_file(&files.key).and_then(|bytes| secret(files, &bytes));
    match (certificates, key) {
        (Ok(certificates), Ok(key)) => pair(files, certificates, key).err().into_iter().collect(),
        (certificates, key) => certificates.err().into_iter().chain(key.err()).collect(),
    }
}

impl Certificates {
    pub(crate) fn load(files: &TlsFiles) -> Result<Arc<Certificates>, GatewayError> {
        let read = read(files)?;
        let current = build(files, &read)?;
        Ok(Arc::new(Certificates {
            files: files.clone(),
            current: Mutex::new(current),
            tried: Mutex::new(read),
        }))
    }

    /// For the next handshake.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.clone()
    }

    /// Looks at the files for ever, and at once when told; ended by its owner.
    pub(crate) async fn keep(self: Arc<Self>, look: Arc<Notify>, tallies: Arc<Tallies>) {
        loop {
            let is_asked = tokio::time::timeout(LOOK_EVERY, look.notified())
                .await
                .is_ok();
            let this = self.clone();
            let looking = tokio::task::spawn_blocking(move || this.look(is_asked));
            match looking.await {
                Ok(Ok(false)) | Err(_) => {}
                Ok(Ok(true)) => {
                    tallies.tls_reloads.add();
                    tracing::info!(certificates = %self.files.certificates.display(), "new certificate taken");
                }
                Ok(Err(error)) => {
                    tallies.tls_reloads_failed.add();
                    tracing::error!(%error, "the new certificate can't be used; the old one stays in force");
                }
            }
        }
    }

    /// Whether there was something new, or a person asked, and it was taken.
    fn look(&self, is_asked: bool) -> Result<bool, TlsError> {
        let read = match read(&self.files) {
            Ok(read) => read,
            // Missing for a moment while it is replaced; found missing at the next start at the latest.
            Err(_) if !is_asked && self.has_tried_nothing() => return Ok(false),
            Err(error) => {
                *self.tried() = Read {
                    certificates: Vec::new(),
                    key: Vec::new(),
                };
                return Err(error);
            }
        };
        if !is_asked && *self.tried() == read {
            return Ok(false);
        }
        let built = build(&self.files, &read);
        *self.tried() = read;
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = built?;
        Ok(true)
    }

    fn has_tried_nothing(&self) -> bool {
        self.tried().certificates.is_empty()
    }

    fn tried(&self) -> std::sync::MutexGuard<'_, Read> {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A chain and its key, as they stand in their files.
pub(crate) fn load_pair(
    files: &TlsFiles,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let read = read(files)?;
    let chain = chain(files, &read.certificates)?;
    Ok((chain, secret(files, &read.key)?))
}

fn read(files: &TlsFiles) -> Result<Read, TlsError> {
    Ok(Read {
        certificates: read_file(&files.certificates)?,
        key: read_file(&files.key)?,
    })
}

pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, TlsError> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let outcome = std::fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
    let source = match outcome {
        Ok(len) if len as u64 <= FILE_BYTES_MAX => return Ok(bytes),
        Ok(_) => std::io::ErrorKind::FileTooLarge.into(),
        Err(source) => source,
    };
    Err(TlsError::Read {
        path: path.to_owned(),
        source,
    })
}

fn build(files: &TlsFiles, read: &Read) -> Result<Arc<ServerConfig>, TlsError> {
    pair(
        files,
        chain(files, &read.certificates)?,
        secret(files, &read.key)?,
    )
}

fn chain(files: &TlsFiles, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let path = &files.certificates;
    let chain = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| TlsError::Pem {
            path: path.clone(),
            source,
        })?;
    if chain.is_empty() {
        return Err(TlsError::Empty(path.clone()));
    }
    Ok(chain)
}

fn secret(files: &TlsFiles, pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|source| TlsError::Pem {
        path: files.key.clone(),
        source,
    })
}

fn pair(
    files: &TlsFiles,
    chain: Vec<CertificateDer<'static>>,
    secret: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, TlsError> {
    // rustls knows no version before TLS 1.2, and refuses a key that is not the certificate's.
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|source| TlsError::Pair {
            certificates: files.certificates.clone(),
            key: files.key.clone(),
            source,
        })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
