//! Counts of services whose traffic no gateway of ours carries: from Prometheus.
//!
//! One task for each service that names a Prometheus asks it for running totals
//! and hands the differences to the watch, as one second of one source.
//!
//! Invariant: every wait has an end, and what can't be asked is said: in the
//! log when it changes, in `/metrics` and in `/v1/status` as long as it lasts.

mod answer;
mod totals;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use engine::{State, Watch};
use model::{Digest, HostName, PrometheusSource, Seq, ServiceName, TickCounts, Timestamp};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};
use wire::api::SourceView;
use wire::{Client, ClientError, Identity};

use crate::control::Control;
use answer::{Known, Said};
use totals::Totals;

/// A poll is given up after this long; the next one tells what it would have.
const POLL_WITHIN: Duration = Duration::from_secs(5);
/// Asked no more often than this: Prometheus itself knows nothing newer.
const POLL_EVERY_MIN: Duration = Duration::from_secs(1);
/// Largest answer: about 300 bytes for each of the series that are read at most, with room.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// The topology is looked at so often at most while the journal grows.
const TOPOLOGY_EVERY: Duration = Duration::from_secs(1);
/// Words of a Prometheus that are shown, in bytes: a parse error names its place in about so many.
const WORDS_BYTES_MAX: usize = 300;

/// How each source does; shared with whoever shows it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sources(Arc<Mutex<BTreeMap<ServiceName, Health>>>);

/// How one source does.
#[derive(Debug, Clone)]
pub(crate) struct Health {
    pub(crate) source: PrometheusSource,
    /// What is wrong, or the last answer was good; absent before the first.
    pub(crate) state: Option<Result<(), String>>,
    /// Since when it is so.
    pub(crate) since: Timestamp,
    pub(crate) polls: u64,
    pub(crate) failed: u64,
    /// Series of the last answer that could not be used, and why the first could not.
    pub(crate) skipped: u64,
    pub(crate) first_skipped: Option<String>,
}

/// Why a poll came to nothing.
#[derive(Debug, thiserror::Error)]
enum PollError {
    #[error("{0}")]
    Unreachable(String),
    #[error(transparent)]
    Answer(#[from] answer::AnswerError),
    #[error("the control plane is busy")]
    Busy,
}

impl Sources {
    /// As they do at this moment, by service.
    pub(crate) fn all(&self) -> BTreeMap<ServiceName, Health> {
        self.lock().clone()
    }

    /// The same for people.
    pub(crate) fn views(&self) -> Vec<SourceView> {
        let view = |(service, health): (ServiceName, Health)| {
            let skipped = health.first_skipped.map(|why| {
                let count = health.skipped;
                format!("{count} series can't be used: {why}")
            });
            SourceView {
                service,
                environment: health.source.environment,
                answers: health.state.as_ref().map(Result::is_ok),
                since: health.since,
                detail: health.state.and_then(Result::err).or(skipped),
            }
        };
        self.all().into_iter().map(view).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<ServiceName, Health>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Only these are there from now on; those that stay keep their counts.
    fn keep(&self, wanted: &BTreeMap<ServiceName, PrometheusSource>) {
        let mut known = self.lock();
        known.retain(|service, _| wanted.contains_key(service));
        for (service, source) in wanted {
            let health = known.entry(service.clone()).or_insert_with(|| Health {
                source: source.clone(),
                state: None,
                since: Timestamp::now(),
                polls: 0,
                failed: 0,
                skipped: 0,
                first_skipped: None,
            });
            health.source = source.clone();
        }
    }

    /// Notes how a poll ended, and says it aloud if that is news.
    fn note(&self, service: &ServiceName, polled: Result<(u64, Option<String>), PollError>) {
        let mut known = self.lock();
        let Some(health) = known.get_mut(service) else {
            return;
        };
        health.polls += 1;
        let state = match polled {
            Ok((skipped, first)) => {
                if first.is_some() && health.first_skipped != first {
                    tracing::warn!(%service, skipped, first, "series of the Prometheus can't be used");
                }
                (health.skipped, health.first_skipped) = (skipped, first);
                Ok(())
            }
            Err(error) => {
                health.failed += 1;
                Err(error.to_string())
            }
        };
        let was_good = health.state.as_ref().map(Result::is_ok);
        if was_good != Some(state.is_ok()) {
            health.since = Timestamp::now();
            match &state {
                Ok(()) => tracing::info!(%service, "the Prometheus answers"),
                Err(error) => {
                    tracing::warn!(%service, error, "the Prometheus gives no counts");
                }
            }
        }
        health.state = Some(state);
    }
}

/// A poller that ends when it is dropped.
struct Poller {
    source: PrometheusSource,
    task: JoinHandle<()>,
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Keeps one poller for each source of the topology until `stop` turns true.
pub(crate) async fn run(
    control: Control,
    sources: Sources,
    mut position: watch::Receiver<Seq>,
    mut stop: watch::Receiver<bool>,
) {
    let mut pollers: BTreeMap<ServiceName, Poller> = BTreeMap::new();
    let follow = async {
        loop {
            position.borrow_and_update();
            let wanted = control.read(|state, _, _| wanted(state)).await;
            sources.keep(&wanted);
            pollers.retain(|service, poller| wanted.get(service) == Some(&poller.source));
            for (service, source) in wanted {
                pollers.entry(service.clone()).or_insert_with(|| {
                    let polling =
                        poll_on(control.clone(), sources.clone(), service, source.clone());
                    let task = tokio::spawn(polling);
                    Poller { source, task }
                });
            }
            tokio::time::sleep(TOPOLOGY_EVERY).await;
            if position.changed().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = follow => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

fn wanted(state: &State) -> BTreeMap<ServiceName, PrometheusSource> {
    let services = state.topology.services.iter();
    let named = services.filter_map(|(name, spec)| Some((name.clone(), spec.prometheus.clone()?)));
    named.collect()
}

/// Asks again and again; ends with its [`Poller`].
async fn poll_on(
    control: Control,
    sources: Sources,
    service: ServiceName,
    source: PrometheusSource,
) {
    let client = match Client::new(&source.url, Identity::Nobody, None) {
        Ok(client) => client,
        Err(error) => {
            return sources.note(&service, Err(PollError::Unreachable(reason(&error))));
        }
    };
    let every = source.every_ms.duration().max(POLL_EVERY_MIN);
    let mut poller = Polling {
        path: answer::path(&source),
        epoch_ms: u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default(),
        began: Instant::now(),
        seq: 0,
        totals: Totals::new(every),
        control,
        client,
        service: service.clone(),
        source,
    };
    let mut interval = tokio::time::interval(every);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let polled = poller.poll().await;
        sources.note(&service, polled);
    }
}

struct Polling {
    control: Control,
    client: Client,
    service: ServiceName,
    source: PrometheusSource,
    path: String,
    epoch_ms: u64,
    began: Instant,
    seq: u64,
    totals: Totals,
}

impl Polling {
    /// One look. Gives how many series were of no use, and why the first was not.
    async fn poll(&mut self) -> Result<(u64, Option<String>), PollError> {
        let asked = self
            .client
            .get_raw(&self.path, POLL_WITHIN, ANSWER_BYTES_MAX)
            .await;
        let (status, body) = asked.map_err(|error| PollError::Unreachable(reason(&error)))?;
        let (service, environment) = (self.service.clone(), self.source.environment.clone());
        let (known, running) = {
            let environment = environment.clone();
            let look = self.control.read(move |state, watch, _| {
                let known = known(state, &service, &environment);
                let running = running(state, watch, &service, &known);
                (known, running)
            });
            look.await
        };
        let Said {
            totals,
            skipped,
            first_skipped,
        } = answer::read(status.as_u16(), &body, &known)?;
        let now = self.began.elapsed();
        let (next, cells) = self.totals.step(&self.service, totals, &running, now);
        self.seq += 1;
        let tick = TickCounts {
            seq: self.seq,
            age_ms: 0,
            cells,
            ..TickCounts::default()
        };
        let (name, epoch_ms) = (format!("prometheus:{}", self.service), self.epoch_ms);
        let taken = self.control.observe(move |watch, now| {
            watch.ticks(&name, &environment, epoch_ms, vec![tick], now);
        });
        if !taken {
            // The totals stay as they were: the next look tells these requests too.
            return Err(PollError::Busy);
        }
        self.totals = next;
        Ok((skipped, first_skipped))
    }
}

/// What labels may name.
fn known(state: &State, service: &ServiceName, environment: &model::EnvironmentName) -> Known {
    let bundles = state.bundles.iter();
    let bundles = bundles.filter(|(_, bundle)| bundle.service == *service);
    let running = state.slots(service).map(|(_, slot)| slot.running);
    let hosts = state.topology.hosts_of(environment, service);
    let bundles = bundles.map(|(digest, _)| *digest).chain(running);
    Known {
        bundles: bundles.map(|digest| (digest.to_string(), digest)).collect(),
        hosts: hosts.map(|host| host.name.clone()).collect(),
    }
}

/// What hosts run, as they said last.
fn running(
    state: &State,
    watch: &Watch,
    service: &ServiceName,
    known: &Known,
) -> BTreeMap<HostName, Digest> {
    let hosts: &BTreeSet<HostName> = &known.hosts;
    let runs = |host: &HostName| {
        let beat = watch.last_beat(host, service).map(|beat| beat.running);
        beat.or(state.slot(host, service).map(|slot| slot.running))
    };
    let pairs = hosts
        .iter()
        .filter_map(|host| Some((host.clone(), runs(host)?)));
    pairs.collect()
}

/// An error without its URL, which may hold a password.
fn reason(error: &ClientError) -> String {
    let words = match error {
        ClientError::Unreachable { reason, .. } | ClientError::Protocol { reason, .. } => reason,
        ClientError::Setup(words) => words,
        ClientError::Refused { refusal, .. } => &refusal.message,
    };
    shorten(words)
}

fn shorten(words: &str) -> String {
    words[..words.floor_char_boundary(WORDS_BYTES_MAX)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(every_s: u64) -> (ServiceName, PrometheusSource) {
        let source = PrometheusSource {
            url: "http://127.0.0.1:9090".into(),
            requests: "requests".into(),
            failed: "failed".into(),
            every_ms: model::Millis::seconds(every_s),
            environment: "production".parse().unwrap(),
        };
        ("api".parse().unwrap(), source)
    }

    #[test]
    fn what_a_source_does_is_shown_until_it_does_otherwise() {
        let sources = Sources::default();
        let (service, source) = one(5);
        sources.keep(&[(service.clone(), source)].into());
        let view = || sources.views().remove(0);
        assert_eq!((view().answers, view().detail), (None, None));
        let gone = || Err(PollError::Unreachable("nobody is there".into()));
        sources.note(&service, gone());
        sources.note(&service, gone());
        let words = Some("nobody is there".to_owned());
        assert_eq!((view().answers, view().detail), (Some(false), words));
        let first = "no bundle of the service is 0".to_owned();
        sources.note(&service, Ok((2, Some(first))));
        let words = "2 series can't be used: no bundle of the service is 0".to_owned();
        assert_eq!((view().answers, view().detail), (Some(true), Some(words)));
        sources.note(&service, Ok((0, None)));
        assert_eq!((view().answers, view().detail), (Some(true), None));
        let health = &sources.all()[&service];
        assert_eq!((health.polls, health.failed), (4, 2));

        // Asked otherwise it is still the same source; not asked at all it is none.
        sources.keep(&[one(9)].into());
        assert_eq!(sources.all()[&service].polls, 4);
        sources.keep(&BTreeMap::new());
        assert!(sources.all().is_empty());
        sources.note(&service, gone());
        assert!(sources.all().is_empty());
    }

    #[test]
    fn words_are_cut_between_letters() {
        let long = "ä".repeat(WORDS_BYTES_MAX);
        assert_eq!(shorten(&long).len(), WORDS_BYTES_MAX);
        assert_eq!(shorten(&format!("x{long}")).len(), WORDS_BYTES_MAX - 1);
        assert_eq!(shorten("short"), "short");
    }
}
