//! TLS handshakes, and what is wrong with a certificate in words.
//!
//! Invariant: a certificate is always verified, against the system's roots and
//! those that the host's own configuration adds.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use model::Millis;
use model::gate::ProbeVerdict;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout_at;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::certificate::{self, RunsOut};
use super::reach::{Answer, Limits, Miss, is_hung_up, miss};
use super::target::Endpoint;

/// Reads the trusted roots anew, so that a renewed file counts at once: the
/// system's, and those in the PEM file `extra`. Blocks.
///
/// # Errors
/// In words: the file can't be read, or holds no certificate.
pub fn roots(extra: Option<&Path>) -> Result<Arc<RootCertStore>, String> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::warn!(%error, "a root certificate of the system can't be read");
    }
    roots.add_parsable_certificates(system.certs);
    if let Some(path) = extra {
        let unusable = |reason: String| format!("{}: {reason}", path.display());
        let found = CertificateDer::pem_file_iter(path);
        let found = found.map_err(|error| unusable(error.to_string()))?;
        let mut count = 0;
        for certificate in found {
            let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
            let added = roots.add(certificate);
            added.map_err(|error| unusable(error.to_string()))?;
            count += 1;
        }
        if count == 0 {
            return Err(unusable("it holds no certificate".into()));
        }
    }
    Ok(Arc::new(roots))
}

/// A handshake over `stream` as a client of `to`, for protocols by their ALPN names.
/// The certificate must hold `days_left_min` days more.
pub(super) async fn handshake(
    limits: &Limits,
    roots: &Arc<RootCertStore>,
    to: &Endpoint,
    stream: TcpStream,
    protocols: &[&[u8]],
    days_left_min: u32,
) -> Answer<TlsStream<TcpStream>> {
    let Ok(name) = ServerName::try_from(to.host.clone()) else {
        let words = format!("no certificate can be for a name like {}", to.host);
        return miss(ProbeVerdict::Malformed, words);
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = certificate::Verifier::new(roots, &provider, days_left_min).and_then(|verifier| {
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        // Not less than usual is verified, but more: see `certificate`.
        let config = config.dangerous();
        Ok(config.with_custom_certificate_verifier(Arc::new(verifier)))
    });
    let mut config = match config {
        Ok(config) => config.with_no_client_auth(),
        Err(reason) => return miss(ProbeVerdict::Malformed, reason),
    };
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
    match timeout_at(limits.until, connecting).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(failed(to, &error)),
        Err(_) => {
            let words = format!("connected, but no TLS answer within {}", limits.within);
            miss(ProbeVerdict::NoAnswer, words)
        }
    }
}

fn failed(to: &Endpoint, error: &std::io::Error) -> Miss {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    let (verdict, words) = match inner {
        Some(rustls::Error::InvalidCertificate(problem)) => certificate_words(to, problem),
        Some(rustls::Error::Other(other)) => match other.0.downcast_ref::<RunsOut>() {
            Some(soon) => (ProbeVerdict::CertificateExpired, soon.to_string()),
            None => (
                ProbeVerdict::WrongProtocol,
                format!("connected, but the TLS handshake fails: {other}"),
            ),
        },
        Some(rustls::Error::AlertReceived(alert)) => (
            ProbeVerdict::WrongProtocol,
            format!("connected, but the TLS handshake was refused: {alert:?}"),
        ),
        Some(rustls::Error::InvalidMessage(_)) => {
            (ProbeVerdict::WrongProtocol, "answers, but not TLS".into())
        }
        Some(other) => (
            ProbeVerdict::WrongProtocol,
            format!("connected, but the TLS handshake fails: {other}"),
        ),
        None => (
            ProbeVerdict::NoAnswer,
            match is_hung_up(error) {
                true => "connected, but closed during the TLS handshake".into(),
                false => format!("connected, but broken off in the TLS handshake: {error}"),
            },
        ),
    };
    Miss { verdict, words }
}

fn certificate_words(to: &Endpoint, problem: &CertificateError) -> (ProbeVerdict, String) {
    match problem {
        CertificateError::NotValidForNameContext { presented, .. } => {
            let names: Vec<&str> = presented.iter().map(|name| plain(name)).collect();
            let names = match names.as_slice() {
                [] => "no name at all".to_owned(),
                [.., _, _, _, _] => {
                    format!("{} and {} more", names[..3].join(", "), names.len() - 3)
                }
                few => few.join(", "),
            };
            let words = format!("certificate is for {names}, not {}", to.host);
            (ProbeVerdict::WrongName, words)
        }
        CertificateError::NotValidForName => (
            ProbeVerdict::WrongName,
            format!("certificate is not for {}", to.host),
        ),
        CertificateError::ExpiredContext { time, not_after } => (
            ProbeVerdict::CertificateExpired,
            format!("certificate expired {} ago", span(*not_after, *time)),
        ),
        CertificateError::NotValidYetContext { time, not_before } => (
            ProbeVerdict::CertificateExpired,
            format!("certificate is valid only in {}", span(*time, *not_before)),
        ),
        CertificateError::Expired | CertificateError::NotValidYet => (
            ProbeVerdict::CertificateExpired,
            "certificate is expired or not valid yet".into(),
        ),
        CertificateError::UnknownIssuer => (
            ProbeVerdict::Untrusted,
            "certificate's issuer is not trusted on this host".into(),
        ),
        // An issuer is looked up by its name: there is one, and it signed something else.
        CertificateError::BadSignature => (
            ProbeVerdict::Untrusted,
            "certificate's issuer is not trusted on this host (one of the same name is)".into(),
        ),
        // rustls adds to this list over time; whatever else is wrong, it is not trusted.
        other => (
            ProbeVerdict::Untrusted,
            format!("certificate is not trusted: {other}"),
        ),
    }
}

/// `DnsName("a.example")` and `IpAddress(10.0.0.1)`, as the verifier writes them, without the kind.
fn plain(name: &str) -> &str {
    let inside = name
        .split_once('(')
        .and_then(|(_, rest)| rest.strip_suffix(')'));
    inside.unwrap_or(name).trim_matches('"')
}

fn span(from: UnixTime, to: UnixTime) -> String {
    let seconds = to.as_secs().saturating_sub(from.as_secs());
    let day = Duration::from_secs(24 * 3600).as_secs();
    match seconds / day {
        0 => Millis::seconds(seconds).to_string(),
        1 => "1 day".into(),
        days => format!("{days} days"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_certificates() {
        let to = Endpoint {
            host: "b.example".into(),
            port: 443,
        };
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let expired = CertificateError::ExpiredContext {
            time: at(10 + 3 * 86_400),
            not_after: at(0),
        };
        let said = certificate_words(&to, &expired);
        assert_eq!(said.1, "certificate expired 3 days ago");
        let named = |presented: &[&str]| {
            let problem = CertificateError::NotValidForNameContext {
                expected: ServerName::try_from("b.example").unwrap(),
                presented: presented.iter().map(|it| (*it).to_owned()).collect(),
            };
            certificate_words(&to, &problem).1
        };
        assert_eq!(
            named(&["DnsName(\"a.example\")", "IpAddress(10.0.0.1)"]),
            "certificate is for a.example, 10.0.0.1, not b.example"
        );
        assert_eq!(
            named(&["1", "2", "3", "4", "5"]),
            "certificate is for 1, 2, 3 and 2 more, not b.example"
        );
        assert_eq!(
            named(&[]),
            "certificate is for no name at all, not b.example"
        );
    }
}
