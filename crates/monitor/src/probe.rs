//! One question to one target, read-only, within its deadline.
//!
//! Used from hosts (whether what a change refers to answers) and from the control
//! plane (whether what it watches answers).
//!
//! Invariant: each question gets an answer by its deadline; the allow-list is asked
//! before anything is sent.

mod certificate;
mod file;
mod grpc;
mod http;
mod postgres;
mod reach;
pub mod target;
mod tls;

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use model::Millis;
use model::gate::{ProbeVerdict, ReferenceKind};
use rustls::RootCertStore;
use tokio::time::Instant;

use self::reach::{Limits, miss};

pub use self::http::Wanted;
pub use self::reach::{Answer, Anywhere, Miss, Reach};
pub use self::tls::roots;

/// Servers of one connection string that are asked at the same time.
const SERVERS_AT_ONCE_MAX: usize = 16;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// Takes a connection.
    Tcp,
    /// A TLS handshake with a certificate that is valid, trusted, and stays valid.
    Tls {
        /// It must not run out within so many days.
        days_left_min: u32,
    },
    /// The name has an address.
    Dns,
    /// One GET.
    Http(Wanted),
    /// The standard health service of gRPC, over HTTP/2 (`host:port` or a URL).
    Grpc {
        /// Which service is asked about; empty: the server.
        service: String,
    },
    /// A PostgreSQL server answers a start-up message.
    Postgres,
    /// A file on this machine can be read.
    File,
}

impl Question {
    /// What a reference of a change is asked; `status` is the one good status of HTTP.
    pub fn of_reference(kind: ReferenceKind, status: Option<u16>) -> Question {
        match kind {
            ReferenceKind::Tcp => Question::Tcp,
            ReferenceKind::Tls => Question::Tls { days_left_min: 0 },
            ReferenceKind::Dns => Question::Dns,
            ReferenceKind::Http => Question::Http(Wanted {
                status,
                ..Wanted::default()
            }),
            ReferenceKind::Postgres => Question::Postgres,
            ReferenceKind::File => Question::File,
        }
    }
}

/// Asks.
#[derive(Debug, Clone)]
pub struct Prober {
    reach: Arc<dyn Reach>,
    roots: Arc<RootCertStore>,
}

impl Prober {
    /// `reach` says where questions may go, `roots` whose certificates are trusted.
    pub fn new(reach: Arc<dyn Reach>, roots: Arc<RootCertStore>) -> Prober {
        Prober { reach, roots }
    }

    /// In words what was found, or what is wrong; by `within` from now in any case.
    pub async fn ask(&self, question: &Question, target: &str, within: Millis) -> Answer {
        let limits = Limits {
            reach: self.reach.clone(),
            until: Instant::now() + within.duration(),
            within,
        };
        match question {
            Question::Tcp => {
                let to = readable(target::endpoint(target))?;
                limits.connect(&to).await?;
                Ok("connected".into())
            }
            Question::Tls { days_left_min } => {
                let to = readable(target::secure(target))?;
                let stream = limits.connect(&to).await?;
                tls::handshake(&limits, &self.roots, &to, stream, &[], *days_left_min).await?;
                Ok("TLS with a certificate that is valid and trusted".into())
            }
            Question::Dns => {
                let name = readable(target::name(target))?;
                Ok(match limits.count(&name).await? {
                    1 => "resolves to 1 address".into(),
                    several => format!("resolves to {several} addresses"),
                })
            }
            Question::Http(wanted) => {
                let (url, to) = readable(target::url(target))?;
                let stream = limits.connect(&to).await?;
                if url.scheme() == "http" {
                    return http::ask(&limits, &url, stream, wanted).await;
                }
                let alpn = [b"http/1.1".as_slice()];
                let stream = tls::handshake(&limits, &self.roots, &to, stream, &alpn, 0).await?;
                http::ask(&limits, &url, stream, wanted).await
            }
            Question::Grpc { service } => {
                let (url, to) = readable(target::url(target))?;
                let stream = limits.connect(&to).await?;
                if url.scheme() == "http" {
                    return grpc::ask(&limits, &url, stream, service).await;
                }
                let alpn = [b"h2".as_slice()];
                let stream = tls::handshake(&limits, &self.roots, &to, stream, &alpn, 0).await?;
                grpc::ask(&limits, &url, stream, service).await
            }
            Question::Postgres => any_postgres(target, &limits).await,
            Question::File => file::ask(&limits, target).await,
        }
    }
}

/// A connection string may name several servers: one that answers is enough, as for its readers.
async fn any_postgres(target: &str, limits: &Limits) -> Answer {
    let mut first = None;
    let servers = readable(target::postgres(target))?;
    let asked = servers.into_iter().map(|to| async move {
        let stream = limits.connect(&to).await?;
        postgres::ask(limits, stream).await
    });
    let mut answers = stream::iter(asked).buffered(SERVERS_AT_ONCE_MAX);
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(words) => return Ok(words),
            Err(miss) => {
                first.get_or_insert(miss);
            }
        }
    }
    match first {
        Some(miss) => Err(miss),
        None => miss(ProbeVerdict::Malformed, "it names no server"),
    }
}

fn readable<T>(read: Result<T, String>) -> Answer<T> {
    read.or_else(|reason| miss(ProbeVerdict::Malformed, format!("not asked: {reason}")))
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let words: Vec<String> = causes.map(ToString::to_string).collect();
    words.join(": ")
}
