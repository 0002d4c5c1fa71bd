//! Whether a certificate will still be valid in some days.
//!
//! rustls says of a chain whether it is valid at a time. Asked for a time long
//! after it, it says since when it isn't: so no certificate is parsed here.
//!
//! Invariant: a certificate that fails today's verification fails here with the same error.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};

const DAY_S: u64 = 24 * 3600;

/// It is valid, but not for long.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("certificate expires in {days_left} days, wanted {days_left_min} at least")]
pub(super) struct RunsOut {
    days_left: u64,
    days_left_min: u32,
}

/// Verifies as usual, and then for a day to come.
#[derive(Debug)]
pub(super) struct Verifier {
    usual: Arc<WebPkiServerVerifier>,
    days_left_min: u32,
}

impl Verifier {
    pub(super) fn new(
        roots: &Arc<RootCertStore>,
        provider: &Arc<CryptoProvider>,
        days_left_min: u32,
    ) -> Result<Verifier, String> {
        let usual =
            WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone()).build();
        let usual = usual.map_err(|error| format!("no certificate can be verified: {error}"))?;
        Ok(Verifier {
            usual,
            days_left_min,
        })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let at = |time| {
            self.usual
                .verify_server_cert(end_entity, intermediates, name, ocsp, time)
        };
        let verified = at(now)?;
        let ahead = u64::from(self.days_left_min) * DAY_S;
        let then = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs() + ahead));
        match at(then) {
            Err(Error::InvalidCertificate(CertificateError::ExpiredContext {
                not_after, ..
            })) => {
                let left = not_after.as_secs().saturating_sub(now.as_secs());
                Err(Error::Other(OtherError(Arc::new(RunsOut {
                    days_left: left / DAY_S,
                    days_left_min: self.days_left_min,
                }))))
            }
            Ok(_) | Err(_) => Ok(verified),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}
