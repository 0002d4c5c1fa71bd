//! Probes: each reference is asked once, read-only, within its own deadline.
//!
//! Invariant: every reference gets an answer by the task's deadline, also those
//! that there was no time for; the allow-list is asked before anything is sent.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use model::gate::{Probe, ProbeVerdict, Reference, ReferenceKind};
use model::{Millis, TaskOutcome};
use monitor::probe::{self, Miss, Prober, Reach, target};
use tokio::time::Instant;

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
    let roots = tokio::task::spawn_blocking(move || probe::roots(extra.as_deref()));
    let roots = match roots.await.map_err(|error| error.to_string()) {
        Ok(Ok(roots)) => roots,
        Ok(Err(reason)) => {
            let reason = format!("probes.roots, {reason}");
            return TaskOutcome::Broken { reason };
        }
        Err(reason) => return TaskOutcome::Broken { reason },
    };
    let egress = Arc::new(Egress {
        task: egress.map(<[String]>::to_vec),
        host: settings.allow.clone(),
    });
    let prober = Arc::new(Prober::new(egress, roots));
    let mut questions: BTreeMap<Question, Vec<u32>> = BTreeMap::new();
    for (number, reference) in references {
        questions
            .entry(question(reference))
            .or_default()
            .push(*number);
    }
    let asked = questions.into_iter().map(|(question, numbers)| {
        let prober = prober.clone();
        async move { (numbers, ask_one(&prober, &question, span).await) }
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

async fn ask_one(prober: &Prober, question: &Question, span: Span) -> Probe {
    let deadline_ms = question.deadline_ms;
    let began = Instant::now();
    let within = deadline_ms.min(span.left());
    let answer = if within == Millis(0) && deadline_ms > Millis(0) {
        Err(Miss {
            verdict: ProbeVerdict::NoAnswer,
            words: format!("not asked: the {} for all probes were over", span.within),
        })
    } else {
        let asked = probe::Question::of_reference(question.kind, question.status);
        prober.ask(&asked, &question.target, within).await
    };
    let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let latency_ms = Millis(took);
    let (verdict, words) = match answer {
        Ok(words) => (ProbeVerdict::Answers, format!("{words} in {latency_ms}")),
        Err(miss) => {
            // Those that waited in vain say for how long, and those that didn't ask took no time.
            let asked = !matches!(
                miss.verdict,
                ProbeVerdict::NotAllowed | ProbeVerdict::Malformed | ProbeVerdict::NotAsked
            );
            match asked && began.elapsed() < within.duration() {
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

/// Where probes may go: the task's list, narrowed by the host's own.
#[derive(Debug, Clone, Default)]
struct Egress {
    task: Option<Vec<String>>,
    /// Absent: the host narrows nothing.
    host: Option<Vec<String>>,
}

impl Reach for Egress {
    fn may(&self, host: &str, port: u16) -> bool {
        let by_host = |list: &[String]| check::egress::may_allow(Some(list), host, port);
        check::egress::may_allow(self.task.as_deref(), host, port)
            && self.host.as_deref().is_none_or(by_host)
    }

    fn allows(&self, host: &str, ip: IpAddr, port: u16) -> bool {
        let by_host = |list: &[String]| check::egress::allows(Some(list), host, Some(ip), port);
        check::egress::allows(self.task.as_deref(), host, Some(ip), port)
            && self.host.as_deref().is_none_or(by_host)
    }

    fn ports(&self) -> Vec<u16> {
        let entries = self.task.iter().chain(&self.host).flatten();
        let ports = entries.filter_map(|entry| entry.rsplit_once(':')?.1.parse().ok());
        ports.chain([0]).collect()
    }

    fn is_shut(&self) -> bool {
        self.host.as_ref().is_some_and(Vec::is_empty)
    }

    fn refusal(&self, what: &str) -> String {
        match self.is_shut() {
            true => {
                "not asked: this host allows no probes (probes.allow in its agent.toml is empty)"
                    .into()
            }
            false => format!("not asked: {what} is outside the egress list"),
        }
    }
}
