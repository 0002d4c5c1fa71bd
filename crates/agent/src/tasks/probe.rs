//! Probes: each reference is asked once, read-only, within its own deadline.
//!
//! Invariant: every reference gets an answer by the task's deadline, also those
//! that there was no time for; the allow-list is asked before anything is sent.

mod file;
mod http;
mod postgres;
mod reach;
mod target;
mod tls;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use model::gate::{Probe, ProbeVerdict, Reference, ReferenceKind};
use model::{Millis, TaskOutcome};
use rustls::RootCertStore;
use tokio::time::Instant;

use self::reach::{Answer, Egress, Limits, miss};
use super::Span;
use crate::config::ProbeSettings;

/// Probes under way at the same time: enough that one that hangs holds nobody
/// up, few enough that a neighbour feels nothing of it.
const AT_ONCE_MAX: usize = 16;

/// Asks all of them; the same question is asked once.
pub(super) async fn ask(
    settings: &ProbeSettings,
    references: &BTreeMap<u32, Reference>,
    egress: Option<&[String]>,
    span: Span,
) -> TaskOutcome {
    let extra = settings.roots.clone();
    // Reading the system's certificates takes some milliseconds of a thread.
    let roots = tokio::task::spawn_blocking(move || tls::roots(extra.as_deref()));
    let roots = match roots.await.map_err(|error| error.to_string()) {
        Ok(Ok(roots)) => roots,
        Ok(Err(reason)) | Err(reason) => return TaskOutcome::Broken { reason },
    };
    let prober = Arc::new(Prober {
        egress: Arc::new(Egress {
            task: egress.map(<[String]>::to_vec),
            host: settings.allow.clone(),
        }),
        roots,
        span,
    });
    let mut questions: BTreeMap<Question, Vec<u32>> = BTreeMap::new();
    for (number, reference) in references {
        questions
            .entry(question(reference))
            .or_default()
            .push(*number);
    }
    let asked = questions.into_iter().map(|(question, numbers)| {
        let prober = prober.clone();
        async move { (numbers, prober.ask(&question).await) }
    });
    let answers = stream::iter(asked).buffer_unordered(AT_ONCE_MAX);
    let mut probes: Vec<Probe> = answers
        .flat_map(|(numbers, probe)| {
            let each = numbers.into_iter().map(move |reference| Probe {
                reference,
                ..probe.clone()
            });
            stream::iter(each)
        })
        .collect()
        .await;
    probes.sort_by_key(|probe| probe.reference);
    TaskOutcome::Probed { probes }
}

/// What is asked: the same for all references that name the same thing.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Question {
    kind: ReferenceKind,
    target: String,
    status: Option<u16>,
    deadline_ms: Millis,
}

fn question(reference: &Reference) -> Question {
    Question {
        kind: reference.kind,
        target: reference.target.trim().to_owned(),
        status: reference.status,
        deadline_ms: reference.deadline_ms,
    }
}

struct Prober {
    egress: Arc<Egress>,
    roots: Arc<RootCertStore>,
    span: Span,
}

impl Prober {
    async fn ask(&self, question: &Question) -> Probe {
        let deadline_ms = question.deadline_ms;
        let began = Instant::now();
        let within = deadline_ms.min(self.span.left());
        let limits = Limits {
            egress: self.egress.clone(),
            until: began + within.duration(),
            within,
        };
        let answer = if within == Millis(0) && deadline_ms > Millis(0) {
            let words = format!(
                "not asked: the {} for all probes were over",
                self.span.within
            );
            miss(ProbeVerdict::NoAnswer, words)
        } else {
            self.answer(question, &limits).await
        };
        let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let latency_ms = Millis(took);
        let (verdict, words) = match answer {
            Ok(words) => (ProbeVerdict::Answers, format!("{words} in {latency_ms}")),
            Err(miss) => {
                // Those that waited in vain say for how long, and those that didn't ask took no time.
                let asked = !matches!(
                    miss.verdict,
                    ProbeVerdict::NotAllowed | ProbeVerdict::Malformed
                );
                match asked && Instant::now() < limits.until {
                    true => (miss.verdict, format!("{} (after {latency_ms})", miss.words)),
                    false => (miss.verdict, miss.words),
                }
            }
        };
        Probe {
            reference: 0,
            verdict,
            latency_ms,
            detail: format!("{}: {words}", target::shown(&question.target)),
        }
    }

    async fn answer(&self, question: &Question, limits: &Limits) -> Answer {
        let (target, status) = (question.target.as_str(), question.status);
        match question.kind {
            ReferenceKind::Tcp => {
                let to = readable(target::endpoint(target))?;
                limits.connect(&to).await?;
                Ok("connected".into())
            }
            ReferenceKind::Tls => {
                let to = readable(target::secure(target))?;
                let stream = limits.connect(&to).await?;
                tls::handshake(limits, &self.roots, &to, stream, None).await?;
                Ok("TLS with a certificate that is valid and trusted".into())
            }
            ReferenceKind::Dns => {
                let name = readable(target::name(target))?;
                Ok(match limits.count(&name).await? {
                    1 => "resolves to 1 address".into(),
                    several => format!("resolves to {several} addresses"),
                })
            }
            ReferenceKind::Http => {
                let (url, to) = readable(target::url(target))?;
                let stream = limits.connect(&to).await?;
                if url.scheme() == "http" {
                    return http::ask(limits, &url, stream, status).await;
                }
                let protocol = Some(b"http/1.1".as_slice());
                let stream = tls::handshake(limits, &self.roots, &to, stream, protocol).await?;
                http::ask(limits, &url, stream, status).await
            }
            ReferenceKind::Postgres => any_postgres(target, limits).await,
            ReferenceKind::File => file::ask(limits, target).await,
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
    let mut answers = stream::iter(asked).buffered(AT_ONCE_MAX);
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
