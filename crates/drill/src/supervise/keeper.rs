//! The supervisor's loop: one owner of the program, told of everything in turn.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::SuperviseError;
use super::child::{Running, end_leftover};
use super::control::{self, Answer, QUESTIONS_MAX, Question, Request};
use super::state::{self, SuperviseState};
use super::watchdog::{Run, Target};

/// Pause before the first restart.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// Pauses double up to this: short, for in a drill the restart loop is the point.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// A program that ran so long starts again with short pauses.
const STEADY_AFTER: Duration = Duration::from_secs(10);
/// From SIGTERM to SIGKILL at a planned restart.
const RESTART_GRACE: Duration = Duration::from_secs(1);
/// From SIGTERM to SIGKILL at the end.
const END_GRACE: Duration = Duration::from_secs(3);

/// What to keep running.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) name: String,
    pub(super) dir: PathBuf,
    pub(super) cwd: Option<PathBuf>,
    pub(super) command: Vec<String>,
    pub(super) watchdog: Option<Target>,
}

/// Why the loop turns.
enum News {
    AskedToEnd(std::io::Result<()>),
    Exited(String),
    Hung(u64),
    Due,
    Asked(Question),
}

struct Keeper {
    plan: Plan,
    state: SuperviseState,
    child: Option<Running>,
    /// When to start while nothing runs.
    start_at: Instant,
    pause: Duration,
    runs: watch::Sender<Run>,
}

/// Keeps the program running until this process is told to end.
pub(super) async fn keep(plan: Plan, out: &mut (dyn Write + Send)) -> Result<(), SuperviseError> {
    let _lock = state::take(&plan.dir)?;
    let inherited = state::inherited(&plan.dir)?;
    end_leftover(&inherited);
    let (question, mut questions) = mpsc::channel(QUESTIONS_MAX);
    let serving = tokio::spawn(control::serve(control::listen(&plan.dir)?, question));
    let (runs, run) = watch::channel(None);
    // One place: the watchdog waits until its word was heard.
    let (hung, mut hangs) = mpsc::channel(1);
    let watching = plan
        .watchdog
        .clone()
        .map(|target| tokio::spawn(target.watch(run, hung)));
    let mut keeper = Keeper {
        state: SuperviseState {
            name: plan.name.clone(),
            supervisor_pid: std::process::id(),
            child_pid: None,
            child_start_ticks: None,
            ..inherited
        },
        plan,
        child: None,
        start_at: Instant::now(),
        pause: PAUSE_FIRST,
        runs,
    };
    writeln!(out, "supervising {}", keeper.plan.name)?;
    out.flush()?;
    let ended = keeper.turn(&mut questions, &mut hangs).await;
    if let Some(child) = keeper.child.take() {
        child.stop(END_GRACE).await;
    }
    serving.abort();
    if let Some(watching) = watching {
        watching.abort();
    }
    keeper.changed();
    ended
}

impl Keeper {
    async fn turn(
        &mut self,
        questions: &mut mpsc::Receiver<Question>,
        hangs: &mut mpsc::Receiver<u64>,
    ) -> Result<(), SuperviseError> {
        let end = crate::asked_to_end();
        tokio::pin!(end);
        loop {
            let news = tokio::select! {
                ended = &mut end => News::AskedToEnd(ended),
                exited = exited(&mut self.child) => News::Exited(exited),
                Some(run) = hangs.recv() => News::Hung(run),
                () = tokio::time::sleep_until(self.start_at.into()), if self.child.is_none() => News::Due,
                Some(question) = questions.recv() => News::Asked(question),
            };
            match news {
                News::AskedToEnd(ended) => return Ok(ended?),
                News::Exited(how) => {
                    tracing::warn!(name = self.plan.name, how, "exited");
                    let ran = self.child.take().map(|child| child.started.elapsed());
                    self.lost(ran.unwrap_or_default());
                }
                News::Hung(run) => self.kill_hung(run).await,
                News::Due => {
                    if let Err(error) = self.start() {
                        tracing::warn!(name = self.plan.name, %error, "can't start");
                    }
                }
                News::Asked((request, back)) => {
                    let answer = self.answer(request).await;
                    // Who asked may have given up; the restart happened all the same.
                    drop(back.send(answer));
                }
            }
        }
    }

    /// Starts the program, or plans the next try.
    fn start(&mut self) -> std::io::Result<()> {
        let started = Running::start(&self.plan.command, self.plan.cwd.as_deref());
        let done = match started {
            Ok(child) => {
                self.state.starts += 1;
                self.runs
                    .send_replace(Some((self.state.starts, child.started)));
                self.child = Some(child);
                Ok(())
            }
            Err(error) => {
                self.wait_before_start();
                Err(error)
            }
        };
        self.changed();
        done
    }

    /// The program ended and nobody had asked for it.
    fn lost(&mut self, ran: Duration) {
        self.state.exits_unplanned += 1;
        if ran >= STEADY_AFTER {
            self.pause = PAUSE_FIRST;
        }
        self.wait_before_start();
        self.changed();
    }

    fn wait_before_start(&mut self) {
        self.start_at = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }

    async fn kill_hung(&mut self, run: u64) {
        // The word may be about a run that has ended since.
        if run != self.state.starts {
            return;
        }
        let Some(child) = self.child.take() else {
            return;
        };
        tracing::warn!(name = self.plan.name, "does not answer; killing it");
        let ran = child.started.elapsed();
        child.kill().await;
        self.lost(ran);
    }

    async fn answer(&mut self, request: Request) -> Answer {
        if let Request::Restart = request {
            if let Some(child) = self.child.take() {
                child.stop(RESTART_GRACE).await;
            }
            self.pause = PAUSE_FIRST;
            if let Err(error) = self.start() {
                return Answer::Failed {
                    reason: error.to_string(),
                };
            }
        }
        Answer::Done {
            state: self.state.clone(),
        }
    }

    /// Tells watchdog and file what runs. A full disk must not end the program,
    /// so a file that can't be written is only complained about.
    fn changed(&mut self) {
        self.state.child_pid = self.child.as_ref().map(|child| child.pid);
        self.state.child_start_ticks = self.child.as_ref().and_then(|child| child.start_ticks);
        if self.child.is_none() {
            self.runs.send_replace(None);
        }
        if let Err(error) = state::write(&self.plan.dir, &self.state) {
            tracing::error!(error = crate::chain(&error), "state not written");
        }
    }
}

/// Waits for the child to end; for ever when there is none.
async fn exited(child: &mut Option<Running>) -> String {
    match child {
        Some(child) => match child.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        },
        None => std::future::pending().await,
    }
}
