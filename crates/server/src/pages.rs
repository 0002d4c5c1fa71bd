//! Carries messages to people, on threads that serve nobody else.
//!
//! What should be on its way is a level that the control loop publishes; what came
//! of it goes back to it as an input. In between nothing is kept: after a crash the
//! level is the same, and a message that was sent and not written down is sent again
//! under the same key.
//!
//! Invariant: no message waits for the journal, for a request, or for a provider that hangs.

mod ticket;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use engine::{IncidentInput, Input};
use incident::Message;
use model::Timestamp;
use model::incident::{self as words, ChannelKind};
use notify::{Address, Ended, Happening, Notice, Outbox, Problem, Settings, Urgency, Wanted, Way};
use tokio::sync::{mpsc, watch};

use crate::ServerError;
use crate::control::Control;

pub(crate) use ticket::Tickets;

/// Sending is waiting: one thread that waits and one that works.
const THREADS: usize = 2;
/// The outbox is looked at this often at least.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What could not be written down is tried again after this.
const WRITE_AGAIN: Duration = Duration::from_millis(500);
/// Outcomes that wait to be written down; each is one message, of which a contact gets ten in ten minutes.
const OUTCOMES_MAX: usize = 10_000;

/// The running threads.
pub(crate) struct Pages(Option<JoinHandle<()>>);

impl Pages {
    /// Waits for their end; they end with the signal to stop.
    pub(crate) async fn finish(mut self) {
        let Some(thread) = self.0.take() else { return };
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!("the threads that carry messages ended badly");
        }
    }
}

/// Problems for people, one in a line.
pub(crate) fn lines(problems: &[Problem]) -> String {
    let lines = problems.iter().map(|problem| match problem.line {
        0 => format!("  {}", problem.message),
        line => format!("  {line}:{}: {}", problem.column, problem.message),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Call it within the runtime that will send.
pub(crate) fn none_or_read(file: Option<(String, PathBuf)>) -> Result<Settings, Vec<Problem>> {
    match file {
        Some((text, folder)) => Settings::read(&text, &folder),
        None => Settings::none().map_err(|error| {
            vec![Problem {
                line: 0,
                column: 0,
                message: error.to_string(),
            }]
        }),
    }
}

/// Starts them. Returns once it is known that the settings can be used.
pub(crate) fn start(
    settings: Option<(String, PathBuf)>,
    tickets: Tickets,
    control: Control,
    messages: watch::Receiver<Arc<Vec<Message>>>,
    stop: watch::Receiver<bool>,
) -> Result<Pages, ServerError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("notify")
        .enable_all()
        .build()
        .map_err(ServerError::Threads)?;
    let (ready, readied) = std::sync::mpsc::channel();
    let thread = std::thread::Builder::new()
        .name("notify-loop".into())
        .spawn(move || {
            runtime.block_on(async move {
                let settings = match none_or_read(settings) {
                    Ok(settings) => settings,
                    Err(problems) => {
                        let _ = ready.send(Err(problems));
                        return;
                    }
                };
                let _ = ready.send(Ok(()));
                let (outcomes, written) = mpsc::channel(OUTCOMES_MAX);
                let writing = tokio::spawn(write_down(control, written));
                let carrier = Carrier {
                    settings: Arc::new(settings),
                    tickets,
                    began: Instant::now(),
                    outbox: Outbox::default(),
                    messages: BTreeMap::new(),
                    outcomes,
                };
                carrier.run(messages, stop).await;
                let _ = writing.await;
            });
            // Not waited for: a try may hang in the system's resolver.
            runtime.shutdown_background();
        })
        .map_err(ServerError::Threads)?;
    match readied.recv() {
        Ok(Ok(())) => Ok(Pages(Some(thread))),
        Ok(Err(problems)) => Err(ServerError::Notify(problems)),
        Err(error) => Err(ServerError::Threads(std::io::Error::other(error))),
    }
}

struct Carrier {
    settings: Arc<Settings>,
    tickets: Tickets,
    began: Instant,
    outbox: Outbox,
    /// What is on its way, by key.
    messages: BTreeMap<String, Message>,
    outcomes: mpsc::Sender<IncidentInput>,
}

impl Carrier {
    async fn run(
        mut self,
        mut wanted: watch::Receiver<Arc<Vec<Message>>>,
        mut stop: watch::Receiver<bool>,
    ) {
        let (done, mut tried) = mpsc::unbounded_channel::<(String, notify::Outcome)>();
        loop {
            let newest = wanted.borrow_and_update().clone();
            self.take(&newest);
            for key in self.outbox.due(self.now()) {
                self.send(key, &done);
            }
            let pause = self.outbox.wake_at().map_or(LOOK_EVERY, |at| {
                Duration::from_millis(at.saturating_sub(self.now())).min(LOOK_EVERY)
            });
            tokio::select! {
                // The sender is the board, which outlives this.
                _ = wanted.changed() => {}
                Some((key, outcome)) = tried.recv() => self.tried(&key, outcome),
                () = tokio::time::sleep(pause) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn take(&mut self, newest: &[Message]) {
        let now = self.now();
        let rows = newest.iter().map(|message| Wanted {
            key: &message.id,
            lane: message.channel.kind.as_str(),
            rank: u8::from(message.urgency == words::Urgency::Low),
        });
        self.outbox.set(rows, now);
        self.messages = newest
            .iter()
            .map(|message| (message.id.clone(), message.clone()))
            .collect();
    }

    fn send(&self, key: String, done: &mpsc::UnboundedSender<(String, notify::Outcome)>) {
        let Some(message) = self.messages.get(&key) else {
            let _ = done.send((key, unwanted()));
            return;
        };
        let address = self.address(message);
        let notice = self.notice(message);
        let (settings, done) = (self.settings.clone(), done.clone());
        tokio::spawn(async move {
            let outcome = match address {
                Ok(address) => {
                    let couriers = settings.couriers();
                    couriers.send(&address, &notice, notify::TRY_WITHIN).await
                }
                Err(reason) => notify::Outcome::Refused { reason },
            };
            let _ = done.send((key, outcome));
        });
    }

    fn address(&self, message: &Message) -> Result<Address, String> {
        let way = match message.channel.kind {
            ChannelKind::Mail => Way::Mail,
            ChannelKind::Sms => Way::Sms,
            ChannelKind::Voice => Way::Voice,
            ChannelKind::Push => Way::Push,
            ChannelKind::Chat => Way::Chat,
            ChannelKind::Webhook => Way::Webhook,
        };
        self.settings.address(way, &message.channel.address)
    }

    fn notice(&self, message: &Message) -> Notice {
        let incident = message.notice.incident();
        let base = self.settings.public_url.as_deref();
        let happening = match message.notice {
            words::Notice::Page { .. } => Happening::Triggered,
            words::Notice::Over { .. } => Happening::Resolved,
            words::Notice::Digest { .. } => Happening::Updated,
            words::Notice::Test { .. } => Happening::Test,
        };
        let acknowledge = match (&message.notice, base) {
            (words::Notice::Page { incident, .. }, Some(base)) => {
                let ticket = self.tickets.seal(*incident, &message.contact);
                Some(format!("{base}/ack/{ticket}"))
            }
            _ => None,
        };
        let thread = incident.map_or_else(|| message.id.clone(), |id| format!("incident-{id}"));
        Notice {
            key: named(&message.id),
            thread: named(&thread),
            happening,
            urgency: match message.urgency {
                words::Urgency::High => Urgency::High,
                words::Urgency::Low => Urgency::Low,
            },
            title: message.subject.clone(),
            text: message.body.clone(),
            html: None,
            source: "plimsoll".into(),
            at: Timestamp::now(),
            link: None,
            acknowledge,
            unsubscribe: None,
        }
    }

    fn tried(&mut self, key: &str, outcome: notify::Outcome) {
        if let notify::Outcome::Retry { reason, .. } = &outcome {
            tracing::warn!(message = key, reason, "not sent yet");
        }
        let Some(ended) = self.outbox.tried(key, outcome, self.now()) else {
            return;
        };
        let Some(message) = self.messages.get(key) else {
            return;
        };
        let outcome = match ended {
            Ended::Sent { .. } => words::Outcome::Sent,
            Ended::Refused { reason } => words::Outcome::Failed { reason },
            Ended::GivenUp { reason, tries } => words::Outcome::DeadLetter {
                reason: format!("{reason} ({tries} tries)"),
            },
        };
        let told = IncidentInput::Told {
            notice: message.notice.clone(),
            contact: message.contact.clone(),
            outcome,
        };
        if self.outcomes.try_send(told).is_err() {
            // Not written down, it is still wanted after the next start.
            tracing::error!(message = key, "too many outcomes wait to be written down");
        }
    }
}

/// An id as the left side of a Message-ID can have it (RFC 5322, 3.6.4).
fn named(id: &str) -> String {
    id.replace([':', '/', '@'], ".")
}

fn unwanted() -> notify::Outcome {
    notify::Outcome::Refused {
        reason: "nobody wants it any more".into(),
    }
}

/// Tells the control loop what came of messages, in their order, until it is told.
async fn write_down(control: Control, mut outcomes: mpsc::Receiver<IncidentInput>) {
    while let Some(told) = outcomes.recv().await {
        loop {
            let input = Input::Incident(Box::new(told.clone()));
            match control.decide(input).await {
                Ok(_) => break,
                Err(error) if outcomes.is_closed() => {
                    tracing::warn!(%error, "what came of a message is not written down");
                    break;
                }
                Err(_) => tokio::time::sleep(WRITE_AGAIN).await,
            }
        }
    }
}
