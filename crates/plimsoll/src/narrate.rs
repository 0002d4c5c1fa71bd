//! Tells what happens to a release, live and afterwards.
//!
//! On a terminal the newest state stays at the bottom and is redrawn; what is
//! settled scrolls up as lines. Elsewhere only lines are printed, one for each
//! thing that changed.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use model::{Gate, GateState, Millis, ReleaseId};
use wire::api::{ReleaseState, ReleaseView, WaveState};
use wire::client::Fetched;
use wire::{Client, ClientError};

use crate::checklist;
use crate::judged;
use crate::look::Look;
use crate::output::{Failure, NOT_YET, Paint, ROLLED_BACK, UNREACHABLE, paint};
use crate::words::{self, exposure_line, progress, state_word, status_line, wave_line};

/// One long poll; short, so that bars and bake times move on.
const POLL: Duration = Duration::from_millis(900);
/// Where lines can't be redrawn, evidence is told this often: it changes with each second.
const VERDICT_EVERY: Duration = Duration::from_secs(15);
/// A control plane that is away for less than this is waited for.
const AWAY_MAX: Duration = Duration::from_secs(60);

/// Follows a release until it is over or `wait` has passed.
pub(crate) async fn follow(
    client: &Client,
    id: ReleaseId,
    wait: Duration,
    json: bool,
) -> Result<ExitCode, Failure> {
    let began = Instant::now();
    let mut told = Told::new(json);
    let mut tag = String::new();
    let mut away_since: Option<Instant> = None;
    let mut newest: Option<ReleaseView> = None;
    loop {
        match client.release(id, &tag, POLL).await {
            Ok(Fetched::New(release, new_tag)) => {
                away_since = None;
                tag = new_tag;
                told.tell(&release)?;
                newest = Some(release);
            }
            Ok(Fetched::Unchanged) => {
                away_since = None;
                // Counts and clocks go on without a new journal position.
                if let Ok(Fetched::New(release, _)) = client.release(id, "", Duration::ZERO).await {
                    told.tell(&release)?;
                    newest = Some(release);
                }
            }
            Err(error @ ClientError::Unreachable { .. }) => {
                let since = *away_since.get_or_insert_with(Instant::now);
                if since.elapsed() > AWAY_MAX {
                    told.finish();
                    return Err(Failure::from(error));
                }
                told.away();
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            Err(error) => return Err(error.into()),
        }
        let Some(release) = &newest else { continue };
        told.judge(client, release).await;
        let code = match release.state {
            ReleaseState::Good => ExitCode::SUCCESS,
            ReleaseState::RolledBack => ExitCode::from(ROLLED_BACK),
            ReleaseState::Rolling | ReleaseState::Held | ReleaseState::RollingBack => {
                if began.elapsed() < wait {
                    continue;
                }
                told.finish();
                if !json {
                    println!("still on its way; `plimsoll releases show {id} --follow` goes on");
                }
                return Ok(ExitCode::from(if away_since.is_some() {
                    UNREACHABLE
                } else {
                    NOT_YET
                }));
            }
        };
        told.end(client, release).await;
        return Ok(code);
    }
}

/// What was told already, so that only news is.
struct Told {
    json: bool,
    last_json: String,
    waves: BTreeMap<(usize, usize), WaveState>,
    hosts: BTreeMap<String, String>,
    state: Option<ReleaseState>,
    waiting: Option<String>,
    gates: BTreeMap<Gate, GateState>,
    /// Whether the gates' heading was told.
    headed: bool,
    away: bool,
    /// What the judge said last, and when that was told as a line.
    verdict: Option<String>,
    verdict_at: Option<Instant>,
    bar: Option<ProgressBar>,
}

impl Told {
    fn new(json: bool) -> Told {
        let live = !json && std::io::stdout().is_terminal();
        let bar = live.then(|| {
            let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stdout());
            // Gates under way stand above the bar, each in a line of its own.
            let style = ProgressStyle::with_template(
                "{prefix}{spinner:.cyan} {bar:24.cyan/dim} {wide_msg}",
            );
            bar.set_style(
                style
                    .unwrap_or_else(|_| ProgressStyle::default_bar())
                    .progress_chars("━━─"),
            );
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Told {
            json,
            last_json: String::new(),
            waves: BTreeMap::new(),
            hosts: BTreeMap::new(),
            state: None,
            waiting: None,
            gates: BTreeMap::new(),
            headed: false,
            away: false,
            verdict: None,
            verdict_at: None,
            bar,
        }
    }

    fn line(&self, text: impl AsRef<str>) {
        match &self.bar {
            Some(bar) => bar.suspend(|| println!("{}", text.as_ref())),
            None => println!("{}", text.as_ref()),
        }
    }

    fn away(&mut self) {
        if !self.away && !self.json {
            self.line(paint(
                Paint::Yellow,
                "the control plane does not answer; hosts go on by themselves, trying again",
            ));
        }
        self.away = true;
    }

    fn tell(&mut self, release: &ReleaseView) -> Result<(), Failure> {
        if self.json {
            let text = serde_json::to_string(release).map_err(Failure::caused)?;
            if text != self.last_json {
                println!("{text}");
                self.last_json = text;
            }
            return Ok(());
        }
        if std::mem::take(&mut self.away) {
            self.line(paint(Paint::Green, "the control plane is back"));
        }
        if self.state.is_none() {
            let name = format!("release {}", release.id);
            self.line(format!(
                "{} of {} by {}",
                paint(Paint::Bold, name),
                release.service,
                release.author
            ));
        }
        self.tell_gates(release);
        self.tell_waves(release);
        self.tell_turn(release);
        self.tell_waiting(release);
        self.state = Some(release.state);
        if let Some(bar) = &self.bar {
            let (done, all) = progress(release);
            bar.set_length(all);
            bar.set_position(done);
            bar.set_prefix(self.open_gates(release));
            bar.set_message(self.message(release));
        }
        Ok(())
    }

    /// Why it waits, what the judge says meanwhile, whom it met.
    fn message(&self, release: &ReleaseView) -> String {
        match &self.verdict {
            Some(verdict) => format!("{verdict} · {}", status_line(release)),
            None => status_line(release),
        }
    }

    /// Whether the judge looks at it at this moment, and people would be told.
    fn wants_verdict(&self, release: &ReleaseView) -> bool {
        let told_lately = || {
            let since = self.verdict_at.map(|at| at.elapsed());
            self.bar.is_none() && since.is_some_and(|since| since < VERDICT_EVERY)
        };
        !self.json && judging(release) && !told_lately()
    }

    /// What the judge says, where people would be told.
    async fn judge(&mut self, client: &Client, release: &ReleaseView) {
        if !self.wants_verdict(release) {
            return;
        }
        let view = judged::of(client, release.id).await;
        let explanation = view.filter(|view| view.live).and_then(|it| it.explanation);
        let evidence = explanation.as_ref().map(judged::evidence);
        if let (None, Some(evidence)) = (&self.bar, &evidence) {
            self.verdict_at = Some(Instant::now());
            // The same once more is no news.
            if self.verdict.as_ref() != Some(evidence) {
                self.line(paint(Paint::Dim, format!("  {:<16} {evidence}", "judging")));
            }
        }
        self.verdict = evidence;
        if let Some(bar) = &self.bar {
            bar.set_message(self.message(release));
        }
    }

    /// A gate is told once it is settled, and once when it begins to wait for people.
    fn tell_gates(&mut self, release: &ReleaseView) {
        let look = Look::stdout();
        for gate in checklist::with_next_steps(&release.gates, release.id) {
            let before = self.gates.insert(gate.gate, gate.state);
            let settled = match gate.state {
                GateState::Failed => true,
                // What turned back passes nothing any more.
                GateState::Passed | GateState::Waived => release.rollback.is_none(),
                // On terminals it stands above the bar for as long as it waits.
                GateState::Waiting => self.bar.is_none(),
                GateState::Off | GateState::Pending | GateState::Running => false,
            };
            if settled && before != Some(gate.state) {
                if !std::mem::replace(&mut self.headed, true) {
                    self.line(format!("gates of release {}", release.id));
                }
                for line in checklist::gate_lines(&gate, Timestamp::now(), look) {
                    self.line(line);
                }
            }
        }
    }

    /// Gates under way, and those that wait, for the place above the bar.
    fn open_gates(&self, release: &ReleaseView) -> String {
        let look = Look::stdout();
        let mut text = String::new();
        for gate in checklist::with_next_steps(&release.gates, release.id) {
            if matches!(gate.state, GateState::Running | GateState::Waiting) {
                for line in checklist::gate_lines(&gate, Timestamp::now(), look) {
                    text.push_str(&line);
                    text.push('\n');
                }
            }
        }
        text
    }

    fn tell_waves(&mut self, release: &ReleaseView) {
        for (s, stage) in release.stages.iter().enumerate() {
            for (w, wave) in stage.waves.iter().enumerate() {
                let before = self.waves.insert((s, w), wave.state);
                if before == Some(wave.state) || wave.state == WaveState::Pending {
                    continue;
                }
                let place = format!("{} {}/{}", stage.environment, w + 1, stage.waves.len());
                self.line(format!("  {place:<16} {}", wave_line(wave)));
            }
        }
    }

    fn tell_turn(&mut self, release: &ReleaseView) {
        let Some(rollback) = &release.rollback else {
            return;
        };
        let turned = !matches!(
            self.state,
            Some(ReleaseState::RollingBack | ReleaseState::RolledBack)
        );
        if turned {
            let rule = rollback
                .rule
                .as_deref()
                .map_or(String::new(), |rule| format!("{rule}: "));
            let look = Look::stdout();
            let words = format!("rolling back ({}) {rule}{}", rollback.by, rollback.reason);
            for (index, line) in look.fit(&words, 4).into_iter().enumerate() {
                let indent = if index == 0 { 2 } else { 4 };
                let red = look.paint(Paint::Red, "rolling back");
                let line = line.replacen("rolling back", &red, 1);
                self.line(format!("{:indent$}{line}", ""));
            }
        }
        for stage in &release.stages {
            for host in stage.waves.iter().flat_map(|wave| &wave.hosts) {
                let before = self.hosts.insert(host.host.to_string(), host.state.clone());
                if host.state == "reverted" && before.as_deref() != Some("reverted") {
                    let place = stage.environment.to_string();
                    self.line(format!("  {place:<16} {} is back", host.host));
                }
            }
        }
    }

    /// Bars show the wait on terminals; elsewhere it is said once for each kind of wait.
    fn tell_waiting(&mut self, release: &ReleaseView) {
        let kind = |text: &str| {
            text.chars()
                .filter(|c| !c.is_ascii_digit())
                .collect::<String>()
        };
        let known = self.waiting.as_deref().map(kind);
        let news = release.waiting.as_deref().map(kind);
        let baking = release
            .stages
            .iter()
            .flat_map(|stage| &stage.waves)
            .any(|wave| {
                let baked = wave
                    .baking_since
                    .map(|since| Millis::between(since, Timestamp::now()));
                wave.state == WaveState::Baking && baked.is_some_and(|baked| baked.0 < wave.bake_ms)
            });
        let settled = baking
            || release.rollback.is_some()
            || release.waiting.as_deref().is_some_and(|w| {
                w.contains("bakes for")
                    || w.contains("apply it")
                    || w.contains("applies it")
                    || w.contains("confirming")
            });
        // What a gate waits for stands in its own line.
        let settled = settled || !self.open_gates(release).is_empty();
        if self.bar.is_none() && news.is_some() && news != known && !settled {
            let reason = release.waiting.clone().unwrap_or_default();
            self.line(paint(Paint::Dim, format!("  {:<16} {reason}", "waiting")));
        }
        self.waiting.clone_from(&release.waiting);
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    async fn end(&self, client: &Client, release: &ReleaseView) {
        self.finish();
        if self.json {
            return;
        }
        let word = match release.state {
            ReleaseState::Good => paint(Paint::Green, "good"),
            ReleaseState::RolledBack => paint(Paint::Red, "rolled back"),
            ReleaseState::Rolling | ReleaseState::Held | ReleaseState::RollingBack => {
                state_word(release.state)
            }
        };
        let took = release
            .ended_at
            .map_or(Millis(0), |at| Millis::between(release.proposed_at, at));
        let head = format!(
            "release {} of {} is {word} after {took}; ",
            release.id, release.service
        );
        let exposure = exposure_line(release);
        let used = head.chars().count() - (word.len() - release.state.to_string().len());
        match Look::stdout().width {
            Some(width) if used + exposure.len() > width => println!("{head}\n  {exposure}"),
            Some(_) | None => println!("{head}{exposure}"),
        }
        if release.state == ReleaseState::RolledBack {
            let verdict = judged::of(client, release.id).await;
            let verdict = verdict.filter(|view| view.rule.is_some());
            for line in words::judge_lines(verdict.as_ref(), Look::stdout()) {
                println!("{line}");
            }
        }
    }
}

/// Whether a wave of it bakes: then seconds are compared.
fn judging(release: &ReleaseView) -> bool {
    let rolling = matches!(release.state, ReleaseState::Rolling | ReleaseState::Held);
    let mut waves = release.stages.iter().flat_map(|stage| &stage.waves);
    rolling && waves.any(|wave| wave.state == WaveState::Baking)
}
