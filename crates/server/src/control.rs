//! The loop that owns the state: receive, decide, append, evolve, publish.
//!
//! Ways back have a queue of their own, served first in every turn. Inputs of
//! one turn share one append (and one fsync). If the append fails, the state
//! is folded anew from the journal, so memory never runs ahead of the disk.

use std::time::Duration;

use engine::state::STATE_FORMAT;
use engine::{Input, State, Watch, decide, due, evolve, wake_at};
use journal::{AppendError, EVENTS_PER_APPEND_MAX, Journal};
use model::attest::STATEMENT_PAYLOAD_TYPE;
use model::{Event, Refusal, Seq, Timestamp};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use wire::SecretKey;

use crate::blobs::Blobs;
use crate::boards::{Boards, News};
use crate::limits::{BATCH_MAX, QUEUE_MAX, SNAPSHOT_EVERY};
use crate::sealed;
use crate::{ServerError, words};

mod records;

/// Records folded at a time at start.
const FOLD_STEP: usize = 1000;
/// The loop looks at the clock at least this often, to save snapshots and notice its own lateness.
const IDLE_TURN: Duration = Duration::from_secs(1);
/// News that only changes what is watched (counts, heartbeats) wakes the loop, but closes seconds
/// and asks for decisions this often at most: a large fleet tells something every millisecond.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Why an input came to nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ControlError {
    #[error("{0}")]
    Refused(Refusal),
    #[error("too many requests wait for the journal; try again")]
    Busy,
    #[error("the journal can't be written: {0}")]
    Failed(String),
    /// The condition of [`Control::decide_if`] did not hold any more.
    #[error("what was good, or what is demanded, changes faster than a change can be checked")]
    Moved,
}

/// What an input led to.
#[derive(Debug, Clone)]
pub(crate) struct Decided {
    pub(crate) events: Vec<Event>,
}

/// Why events are not in the journal. The state is again what the journal says.
#[derive(Debug, thiserror::Error)]
enum Failed {
    /// They never can be: nothing was written.
    #[error("{0}")]
    OutOfBounds(String),
    #[error("{0}")]
    Other(String),
}

impl Failed {
    fn of(error: &AppendError) -> Failed {
        let words = error.to_string();
        match error {
            AppendError::EventTooLarge { .. }
            | AppendError::TooLarge { .. }
            | AppendError::TooManyEvents { .. }
            | AppendError::Unencodable { .. } => Failed::OutOfBounds(words),
            AppendError::Conflict { .. } | AppendError::Store(_) | AppendError::Closed => {
                Failed::Other(words)
            }
        }
    }
}

type Look = Box<dyn FnOnce(&State, &Watch, Timestamp) + Send>;
type Observe = Box<dyn FnOnce(&State, &mut Watch, Timestamp) + Send>;
/// Whether an input still makes sense, asked in the moment of its decision.
pub(crate) type Condition = Box<dyn FnOnce(&State) -> bool + Send>;
type Reply = oneshot::Sender<Result<Decided, ControlError>>;

enum Message {
    Decide(Box<Input>, Option<Condition>, Reply),
    Look(Look),
    Observe(Observe),
}

/// A handle to the loop.
#[derive(Clone)]
pub(crate) struct Control {
    urgent: mpsc::Sender<Message>,
    normal: mpsc::Sender<Message>,
}

/// The running loop; ends once every [`Control`] is gone.
pub(crate) struct Worker(JoinHandle<()>);

impl Worker {
    pub(crate) async fn finish(self) {
        if let Err(error) = self.0.await {
            tracing::error!(%error, "the control loop ended badly");
        }
    }
}

impl Control {
    /// Decides and, if there is anything to it, appends. Answers once it is durable.
    pub(crate) async fn decide(&self, input: Input) -> Result<Decided, ControlError> {
        self.decide_if(input, None).await
    }

    /// The same, unless `condition` does not hold in that moment: then [`ControlError::Moved`].
    pub(crate) async fn decide_if(
        &self,
        input: Input,
        condition: Option<Condition>,
    ) -> Result<Decided, ControlError> {
        let (reply, answer) = oneshot::channel();
        let queue = match input {
            Input::Rollback { .. } => &self.urgent,
            _ => &self.normal,
        };
        let message = Message::Decide(Box::new(input), condition, reply);
        queue.try_send(message).map_err(|_| ControlError::Busy)?;
        answer
            .await
            .unwrap_or_else(|_| Err(ControlError::Failed("it is shutting down".into())))
    }

    /// Reads the newest durable state.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&State, &Watch, Timestamp) -> T + Send + 'static,
    ) -> T {
        let (reply, answer) = oneshot::channel();
        let look: Look =
            Box::new(move |state, watch, now| drop(reply.send(look(state, watch, now))));
        // Readers wait for their turn; their number is bounded by that of connections.
        let _ = self.normal.send(Message::Look(look)).await;
        match answer.await {
            Ok(value) => value,
            // The loop is gone, so is the process: nobody is there to read the answer.
            Err(_) => std::future::pending().await,
        }
    }

    /// Changes what is watched; dropped when the loop is overwhelmed, because the next one repeats it.
    pub(crate) fn observe(
        &self,
        observe: impl FnOnce(&mut Watch, Timestamp) + Send + 'static,
    ) -> bool {
        self.observe_with(move |_, watch, now| observe(watch, now))
    }

    /// The same, with the newest durable state to look at.
    pub(crate) fn observe_with(
        &self,
        observe: impl FnOnce(&State, &mut Watch, Timestamp) + Send + 'static,
    ) -> bool {
        self.normal
            .try_send(Message::Observe(Box::new(observe)))
            .is_ok()
    }
}

/// Folds the journal and starts the loop.
pub(crate) async fn start(
    journal: Journal,
    boards: Arc<Boards>,
    blobs: Arc<Blobs>,
    key: SecretKey,
) -> Result<(Control, Worker), ServerError> {
    let (state, position) = fold(&journal, &key).await.map_err(ServerError::Fold)?;
    let now = Timestamp::now();
    let watch = Watch::new(now);
    boards.audit(&state);
    boards.publish(&state, position, &News::everything());
    boards.tell(&state, &watch, now);
    let (urgent, urgent_queue) = mpsc::channel(QUEUE_MAX);
    let (normal, normal_queue) = mpsc::channel(QUEUE_MAX);
    let owner = Owner {
        journal,
        boards,
        blobs,
        key,
        state,
        watch,
        position,
        snapshot_at: position,
        now,
        looked_at: Instant::now(),
        unlooked: true,
        urgent: urgent_queue,
        normal: normal_queue,
    };
    let worker = Worker(tokio::spawn(owner.run()));
    Ok((Control { urgent, normal }, worker))
}

async fn fold(journal: &Journal, key: &SecretKey) -> Result<(State, Seq), String> {
    let snapshot = journal
        .load_snapshot(STATE_FORMAT)
        .await
        .map_err(|error| words(&error))?;
    let from_snapshot = snapshot.and_then(|snapshot| {
        let state = sealed::open(key, snapshot.seq, &snapshot.state)
            .and_then(|state| serde_json::from_slice(state).map_err(|error| error.to_string()));
        state
            .inspect_err(|error| tracing::warn!(error, "the snapshot is not believed"))
            .ok()
            .map(|state: State| (state, snapshot.seq))
    });
    let (mut state, mut position) = from_snapshot.unwrap_or_default();
    loop {
        let records = journal
            .read(position, FOLD_STEP)
            .await
            .map_err(|error| words(&error))?;
        let Some(last) = records.last() else {
            return Ok((state, position));
        };
        position = last.seq;
        for record in &records {
            evolve(&mut state, &record.event, record.at);
        }
    }
}

struct Owner {
    journal: Journal,
    boards: Arc<Boards>,
    blobs: Arc<Blobs>,
    key: SecretKey,
    state: State,
    watch: Watch,
    position: Seq,
    snapshot_at: Seq,
    now: Timestamp,
    /// When the loop last closed seconds and asked what follows.
    looked_at: Instant,
    /// Something was told since.
    unlooked: bool,
    urgent: mpsc::Receiver<Message>,
    normal: mpsc::Receiver<Message>,
}

/// An input of this turn and where its events lie in the turn's append.
struct Answer {
    reply: Reply,
    result: Result<std::ops::Range<usize>, ControlError>,
}

impl Owner {
    async fn run(mut self) {
        loop {
            let mut batch = Vec::new();
            let pause = self.pause();
            tokio::select! {
                biased;
                Some(message) = self.urgent.recv() => batch.push(message),
                message = self.normal.recv() => match message {
                    Some(message) => batch.push(message),
                    None => break,
                },
                () = tokio::time::sleep(pause) => {}
            }
            while let Ok(message) = self.urgent.try_recv() {
                batch.push(message);
            }
            while batch.len() < BATCH_MAX
                && let Ok(message) = self.normal.try_recv()
            {
                batch.push(message);
            }
            self.turn(batch).await;
        }
        self.save_snapshot().await;
    }

    fn pause(&self) -> Duration {
        let now = self.clock();
        let until = wake_at(&self.state, &self.watch, now)
            .map(|at| model::Millis::between(now, at).duration());
        let pause = until.unwrap_or(IDLE_TURN).min(IDLE_TURN);
        if self.unlooked {
            return pause.min(LOOK_EVERY.saturating_sub(self.looked_at.elapsed()));
        }
        pause
    }

    /// Wall time that never goes back: deadlines that outlive the process are compared with it.
    fn clock(&self) -> Timestamp {
        Timestamp::now().max(self.now)
    }

    async fn turn(&mut self, batch: Vec<Message>) {
        self.now = self.clock();
        // Lookers first: they see what is durable, not what this turn is about to try.
        let mut inputs = Vec::new();
        for message in batch {
            match message {
                Message::Look(look) => look(&self.state, &self.watch, self.now),
                Message::Observe(observe) => {
                    observe(&self.state, &mut self.watch, self.now);
                    self.unlooked = true;
                }
                Message::Decide(input, condition, reply) => inputs.push((input, condition, reply)),
            }
        }
        inputs.sort_by_key(|(input, ..)| !matches!(**input, Input::Rollback { .. }));
        let looks = !inputs.is_empty() || self.looked_at.elapsed() >= LOOK_EVERY;
        if looks {
            // Seconds that are over are judged before anything is decided by them.
            self.watch.close(&self.state, self.now);
            (self.looked_at, self.unlooked) = (Instant::now(), false);
        }
        let mut events = Vec::new();
        let mut answers = Vec::new();
        let mut back = 0;
        for (input, condition, reply) in inputs {
            let is_back = matches!(*input, Input::Rollback { .. });
            let holds = condition.is_none_or(|holds| holds(&self.state));
            let result = if holds {
                let applied = self.apply(*input, &mut events);
                applied.map_err(ControlError::Refused)
            } else {
                Err(ControlError::Moved)
            };
            answers.push(Answer { reply, result });
            if is_back {
                back = events.len();
            }
        }
        let asked = events.len();
        if looks && wake_at(&self.state, &self.watch, self.now).is_some() {
            // Ticks are never refused.
            let _ = self.apply(Input::Tick, &mut events);
            self.attest(&mut events);
        }
        records::keep(&self.blobs, &self.watch, &mut events).await;
        let outcome = self.append_in_bounds(&mut events, [asked, back]).await;
        for Answer { reply, result } in answers {
            let answer = match (&outcome, result) {
                (_, Err(error)) => Err(error),
                // What needed no new event was true before and still is.
                (_, Ok(range)) if range.is_empty() => Ok(Decided { events: Vec::new() }),
                (outcome, Ok(range)) => match (events.get(range), outcome) {
                    (None, Err(failed)) => Err(ControlError::Failed(failed.to_string())),
                    (new, _) => Ok(Decided {
                        events: new.unwrap_or_default().to_vec(),
                    }),
                },
            };
            let _ = reply.send(answer);
        }
        if looks {
            // After the append: a page about what is not durable could be about nothing.
            self.boards.tell(&self.state, &self.watch, self.now);
        }
        if self.position.0 >= self.snapshot_at.0 + SNAPSHOT_EVERY {
            self.save_snapshot().await;
        }
    }

    fn apply(
        &mut self,
        input: Input,
        events: &mut Vec<Event>,
    ) -> Result<std::ops::Range<usize>, Refusal> {
        let new = decide(&self.state, &self.watch, input, self.now)?;
        let start = events.len();
        for event in &new {
            evolve(&mut self.state, event, self.now);
        }
        events.extend(new);
        Ok(start..events.len())
    }

    /// Signs what passed its test. What the engine does not take is offered again next turn.
    fn attest(&mut self, events: &mut Vec<Event>) {
        for (release, statement) in due::attestations(&self.state) {
            let envelope = self.key.seal(STATEMENT_PAYLOAD_TYPE, &statement);
            let input = Input::Attest {
                release,
                envelope,
                statement: Box::new(statement),
            };
            if let Err(refusal) = self.apply(input, events) {
                tracing::debug!(%release, %refusal, "an attestation was not taken");
            }
        }
    }

    /// Makes the turn's events durable; when the journal never can, as many of
    /// them as end at one of `cuts`, so that what one release would write stands
    /// in nobody else's way, least of all in a way back's. `events` is then what is durable.
    async fn append_in_bounds(
        &mut self,
        events: &mut Vec<Event>,
        cuts: [usize; 2],
    ) -> Result<(), Failed> {
        let mut outcome = self.append(events).await;
        for cut in cuts {
            let again = cut < events.len() && events.len() <= EVENTS_PER_APPEND_MAX;
            if !again || !matches!(outcome, Err(Failed::OutOfBounds(_))) {
                continue;
            }
            events.truncate(cut);
            for event in &*events {
                evolve(&mut self.state, event, self.now);
            }
            let retried = self.append(events).await;
            if retried.is_ok() {
                return outcome;
            }
            outcome = retried;
        }
        if outcome.is_err() {
            events.clear();
        }
        outcome
    }

    /// Makes the turn's events durable and publishes what follows, or goes back to what is durable.
    async fn append(&mut self, events: &[Event]) -> Result<(), Failed> {
        if events.is_empty() {
            return Ok(());
        }
        match self.append_all(events).await {
            Ok(()) => {
                self.boards
                    .publish(&self.state, self.position, &News::of(events));
                for event in events {
                    tracing::info!(kind = event.kind(), %event, "journaled");
                }
                Ok(())
            }
            Err(error) => {
                let failed = Failed::of(&error);
                if matches!(error, AppendError::Conflict { .. }) {
                    tracing::info!(%error, "another control plane was first; deciding again");
                } else {
                    tracing::error!(%error, "append failed");
                }
                match fold(&self.journal, &self.key).await {
                    Ok((state, position)) => (self.state, self.position) = (state, position),
                    Err(error) => tracing::error!(error, "the journal can't be read back"),
                }
                self.boards.audit(&self.state);
                self.boards
                    .publish(&self.state, self.position, &News::everything());
                Err(failed)
            }
        }
    }

    /// One append, but for a rollback of more hosts than fit into one: what the
    /// later parts would say follows from the first, should the process end between them.
    async fn append_all(&mut self, events: &[Event]) -> Result<(), AppendError> {
        for part in events.chunks(EVENTS_PER_APPEND_MAX) {
            let appended = self.journal.append(self.position, self.now, part.to_vec());
            self.position = appended.await?;
        }
        Ok(())
    }

    async fn save_snapshot(&mut self) {
        if self.snapshot_at == self.position {
            return;
        }
        let state = serde_json::to_vec(&self.state);
        let saved = match state.and_then(|state| sealed::seal(&self.key, self.position, &state)) {
            Ok(bytes) => {
                self.journal
                    .save_snapshot(self.position, STATE_FORMAT, bytes)
                    .await
            }
            Err(error) => return tracing::error!(%error, "the state can't be written"),
        };
        match saved {
            Ok(()) => self.snapshot_at = self.position,
            // Only the next start is slower for it.
            Err(error) => tracing::warn!(%error, "no snapshot was saved"),
        }
    }
}

#[cfg(test)]
mod tests;
