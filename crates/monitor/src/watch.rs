//! Asks what the schedule says, from threads that do nothing else.
//!
//! A thread of its own keeps the time; it waits for no question, no lock that is
//! held over anything slow, and nobody who reads. Questions run in a runtime of
//! their own. If its threads hang, because something below blocks that should not,
//! the timekeeper notices and goes on with new ones.
//!
//! Invariant: the timekeeper never waits for a question, nor for those that read.

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use model::{Millis, Timestamp};
use thiserror::Error;
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use crate::probe::{Answer, Prober};
use crate::schedule::{Ask, Finding, Schedule, Spec};

/// Findings kept for a reader that is slow: some minutes of some hundred probes.
/// Beyond it the oldest are forgotten and counted; the newest of each probe stays.
pub const FINDINGS_MAX: usize = 8192;
/// Questions are all waiting and little work.
const THREADS: usize = 2;
/// The timekeeper looks so often at least: changes and the stop reach it by then.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Threads that have not begun a small task for so long hang.
const HANGS_AFTER: Duration = Duration::from_secs(2);
/// Runtimes given up with threads that may hang for ever. At this limit the last
/// one stays, and what it doesn't answer is unknown.
const GIVEN_UP_MAX: u32 = 8;
/// Starts of questions over which lateness is told.
const LATENESS_OVER: usize = 1024;

/// The threads could not be started.
#[derive(Debug, Error)]
#[error("the monitor's threads could not be started")]
pub struct StartError(#[source] std::io::Error);

/// A finding with its place and time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Grows by one with each finding.
    pub number: u64,
    /// When the answer came.
    pub at: Timestamp,
    /// What it was.
    pub finding: Finding,
}

/// How well the monitor itself does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Vitals {
    /// Questions under way.
    pub under_way: usize,
    /// Lateness of the last thousand questions: 99 of 100 began no later after their time.
    pub late_p99: Millis,
    /// How late the next question is.
    pub behind: Millis,
    /// Since the timekeeper last looked; more than a second or two: it hangs.
    pub silent: Millis,
    /// Runtimes whose threads hung and that were replaced.
    pub replaced: u32,
    /// Findings that no reader fetched in time.
    pub forgotten: u64,
}

/// Asks; ends when it is dropped.
#[derive(Debug)]
pub struct Monitor {
    board: Arc<Board>,
    wishes: Sender<Wish>,
    clock: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Wish {
    Set(BTreeMap<String, Spec>),
    Answered(u64, Answer),
    /// A small task has been run by the runtime of this number.
    Alive(u32),
    Stop,
}

#[derive(Debug)]
struct Board {
    inside: Mutex<Inside>,
    news: Notify,
}

#[derive(Debug)]
struct Inside {
    number: u64,
    told: VecDeque<Told>,
    newest: BTreeMap<String, Told>,
    lateness: VecDeque<u64>,
    vitals: Vitals,
    looked_at: Instant,
}

impl Board {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        // Whoever panicked with it left whole values behind: each is written in one step.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Monitor {
    /// Begins without a probe.
    ///
    /// # Errors
    /// The system gave no thread.
    pub fn start(prober: Prober) -> Result<Monitor, StartError> {
        let board = Arc::new(Board {
            inside: Mutex::new(Inside {
                number: 0,
                told: VecDeque::new(),
                newest: BTreeMap::new(),
                lateness: VecDeque::new(),
                vitals: Vitals::default(),
                looked_at: Instant::now(),
            }),
            news: Notify::new(),
        });
        let (wishes, inbox) = channel();
        let runtime = runtime().map_err(StartError)?;
        let keeper = Timekeeper {
            schedule: Schedule::default(),
            tasks: BTreeMap::new(),
            prober,
            board: board.clone(),
            wishes: wishes.clone(),
            began: Instant::now(),
            runtime: Some(runtime),
            asked_alive: None,
            seen_alive: Instant::now(),
            replaced: 0,
        };
        let clock = std::thread::Builder::new()
            .name("probe-clock".into())
            .spawn(move || keeper.keep(&inbox))
            .map_err(StartError)?;
        Ok(Monitor {
            board,
            wishes,
            clock: Some(clock),
        })
    }

    /// Probes these and no others from now on.
    pub fn set(&self, specs: BTreeMap<String, Spec>) {
        // It ends only with this value.
        let _ = self.wishes.send(Wish::Set(specs));
    }

    /// Findings after number `after`, oldest first.
    pub fn since(&self, after: u64) -> Vec<Told> {
        let inside = self.board.inside();
        let first = inside.told.partition_point(|told| told.number <= after);
        inside.told.range(first..).cloned().collect()
    }

    /// The newest finding of each probe.
    pub fn newest(&self) -> BTreeMap<String, Told> {
        self.board.inside().newest.clone()
    }

    /// Waits for a finding after number `after`.
    pub async fn news(&self, after: u64) {
        loop {
            let notified = self.board.news.notified();
            tokio::pin!(notified);
            // Enabled before the look, so that none falls between the two.
            notified.as_mut().enable();
            if self.board.inside().number > after {
                return;
            }
            notified.await;
        }
    }

    /// How well the monitor itself does.
    pub fn vitals(&self) -> Vitals {
        let inside = self.board.inside();
        let mut lateness: Vec<u64> = inside.lateness.iter().copied().collect();
        lateness.sort_unstable();
        let p99 = lateness.get(lateness.len().saturating_mul(99) / 100);
        Vitals {
            late_p99: Millis(p99.copied().unwrap_or_default()),
            silent: millis(inside.looked_at.elapsed()),
            ..inside.vitals
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        let _ = self.wishes.send(Wish::Stop);
        if let Some(clock) = self.clock.take() {
            // It looks twice a second and waits for nothing.
            let _ = clock.join();
        }
    }
}

struct Timekeeper {
    schedule: Schedule,
    tasks: BTreeMap<u64, AbortOnDropHandle<()>>,
    prober: Prober,
    board: Arc<Board>,
    wishes: Sender<Wish>,
    began: Instant,
    runtime: Option<Runtime>,
    /// Since when the runtime owes a sign of life.
    asked_alive: Option<Instant>,
    seen_alive: Instant,
    replaced: u32,
}

impl Timekeeper {
    fn keep(mut self, inbox: &Receiver<Wish>) {
        loop {
            let pause = self.schedule.wake_at().map_or(LOOK_EVERY, |at| {
                Duration::from_millis(at.saturating_sub(self.now())).min(LOOK_EVERY)
            });
            let mut wish = inbox.recv_timeout(pause);
            let mut findings = Vec::new();
            loop {
                match wish {
                    Ok(Wish::Set(specs)) => {
                        let now = self.now();
                        self.schedule.set(&specs, now);
                        self.board
                            .inside()
                            .newest
                            .retain(|name, _| specs.contains_key(name));
                    }
                    Ok(Wish::Answered(number, answer)) => {
                        self.tasks.remove(&number);
                        let now = self.now();
                        findings.extend(self.schedule.answered(number, answer, now));
                    }
                    Ok(Wish::Alive(runtime)) if runtime == self.replaced => {
                        self.asked_alive = None;
                        self.seen_alive = Instant::now();
                    }
                    Ok(Wish::Alive(_)) | Err(RecvTimeoutError::Timeout) => {}
                    Ok(Wish::Stop) | Err(RecvTimeoutError::Disconnected) => {
                        self.stop();
                        return;
                    }
                }
                // Everything that is there, before the time is looked at.
                match inbox.try_recv() {
                    Ok(next) => wish = Ok(next),
                    Err(_) => break,
                }
            }
            let now = self.now();
            for (number, finding) in self.schedule.lost(now) {
                self.tasks.remove(&number);
                findings.push(finding);
            }
            self.look_after_threads();
            for ask in self.schedule.due(now) {
                self.ask(ask);
            }
            self.tell(findings, now);
        }
    }

    fn now(&self) -> u64 {
        millis(self.began.elapsed()).0
    }

    fn ask(&mut self, ask: Ask) {
        let Some(runtime) = &self.runtime else {
            return;
        };
        let (prober, wishes) = (self.prober.clone(), self.wishes.clone());
        let number = ask.number;
        let task = runtime.spawn(async move {
            let spec = ask.spec;
            let asked = prober.ask(&spec.question, &spec.target, spec.within);
            // Each part of a question keeps the deadline by itself; this holds for what doesn't.
            let answer = tokio::time::timeout(spec.within.duration(), asked).await;
            let answer = answer.unwrap_or_else(|_| {
                Err(crate::probe::Miss {
                    verdict: model::gate::ProbeVerdict::NoAnswer,
                    words: format!("no answer within {}", spec.within),
                })
            });
            let _ = wishes.send(Wish::Answered(number, answer));
        });
        self.tasks.insert(number, AbortOnDropHandle::new(task));
    }

    /// A runtime whose threads run nothing any more is left to itself, and another takes over.
    fn look_after_threads(&mut self) {
        let hangs = self
            .asked_alive
            .is_some_and(|asked| asked.elapsed() > HANGS_AFTER);
        if hangs && self.replaced < GIVEN_UP_MAX {
            match runtime() {
                Ok(fresh) => {
                    tracing::error!("the probes' threads hang; others take over");
                    if let Some(old) = self.runtime.replace(fresh) {
                        old.shutdown_background();
                    }
                    // What they had under way is told as unknown at its deadline.
                    self.tasks.clear();
                    self.replaced += 1;
                    self.asked_alive = None;
                    self.seen_alive = Instant::now();
                }
                Err(error) => tracing::error!(%error, "no threads for probes"),
            }
        }
        let quiet = self.seen_alive.elapsed() >= LOOK_EVERY;
        if let (None, true, Some(runtime)) = (self.asked_alive, quiet, &self.runtime) {
            let (wishes, number) = (self.wishes.clone(), self.replaced);
            self.asked_alive = Some(Instant::now());
            runtime.spawn(async move {
                let _ = wishes.send(Wish::Alive(number));
            });
        }
    }

    fn tell(&self, findings: Vec<Finding>, now: u64) {
        let any = !findings.is_empty();
        let mut inside = self.board.inside();
        for finding in findings {
            inside.number += 1;
            let told = Told {
                number: inside.number,
                at: Timestamp::now(),
                finding,
            };
            inside.lateness.push_back(told.finding.late_by.0);
            if inside.lateness.len() > LATENESS_OVER {
                inside.lateness.pop_front();
            }
            inside
                .newest
                .insert(told.finding.probe.clone(), told.clone());
            inside.told.push_back(told);
            if inside.told.len() > FINDINGS_MAX {
                inside.told.pop_front();
                inside.vitals.forgotten += 1;
            }
        }
        inside.vitals.under_way = self.schedule.under_way();
        inside.vitals.behind = self.schedule.behind(now);
        inside.vitals.replaced = self.replaced;
        inside.looked_at = Instant::now();
        drop(inside);
        if any {
            self.board.news.notify_waiters();
        }
    }

    fn stop(mut self) {
        self.tasks.clear();
        if let Some(runtime) = self.runtime.take() {
            // Not waited for: a thread may hang in the system's resolver.
            runtime.shutdown_background();
        }
    }
}

fn runtime() -> Result<Runtime, std::io::Error> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("probe")
        .enable_all()
        .build()
}

fn millis(span: Duration) -> Millis {
    Millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
