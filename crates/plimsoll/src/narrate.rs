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
use model::{Event, Millis, OrderKind, Permille, ReleaseId, Verdict};
use wire::api::{ReleaseState, ReleaseView, WaveState, WaveView};
use wire::client::Fetched;
use wire::{Client, ClientError};

use crate::output::{Failure, NOT_YET, Paint, ROLLED_BACK, UNREACHABLE, paint};

/// One long poll; short, so that bars and bake times move on.
const POLL: Duration = Duration::from_millis(900);
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
        told.end(release);
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
    away: bool,
    bar: Option<ProgressBar>,
}

impl Told {
    fn new(json: bool) -> Told {
        let live = !json && std::io::stdout().is_terminal();
        let bar = live.then(|| {
            let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stdout());
            let style =
                ProgressStyle::with_template("{spinner:.cyan} {bar:24.cyan/dim} {wide_msg}");
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
            away: false,
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
            let text = serde_json::to_string(release).map_err(Failure::broken)?;
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
        self.tell_waves(release);
        self.tell_turn(release);
        self.tell_waiting(release);
        self.state = Some(release.state);
        if let Some(bar) = &self.bar {
            let (done, all) = progress(release);
            bar.set_length(all);
            bar.set_position(done);
            bar.set_message(status_line(release));
        }
        Ok(())
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
            let word = paint(Paint::Red, "rolling back");
            self.line(format!(
                "  {word} ({}) {rule}{}",
                rollback.by, rollback.reason
            ));
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
        let settled = release.waiting.as_deref().is_some_and(|w| {
            w.contains("bakes for")
                || w.contains("apply it")
                || w.contains("applies it")
                || w.contains("confirming")
        });
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

    fn end(&self, release: &ReleaseView) {
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
        println!(
            "release {} of {} is {word} after {took}; {}",
            release.id,
            release.service,
            exposure_line(release)
        );
    }
}

/// A bar for bytes on their way up.
pub(crate) fn upload_bar(total: u64) -> ProgressBar {
    if total == 0 || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(total);
    let style = ProgressStyle::with_template("uploading {bar:24} {bytes}/{total_bytes}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// A state in its colour.
pub(crate) fn state_word(state: ReleaseState) -> String {
    let colour = match state {
        ReleaseState::Good => Paint::Green,
        ReleaseState::Rolling => Paint::Cyan,
        ReleaseState::Held => Paint::Yellow,
        ReleaseState::RollingBack | ReleaseState::RolledBack => Paint::Red,
    };
    paint(colour, state.to_string())
}

/// A release in a few lines.
pub(crate) fn release_lines(release: &ReleaseView) -> Vec<String> {
    let mut lines = vec![format!(
        "release {} {}  {}  by {}  {}",
        release.id,
        state_word(release.state),
        release.digest.short(),
        release.author,
        paint(Paint::Dim, &release.message),
    )];
    for stage in &release.stages {
        for (index, wave) in stage.waves.iter().enumerate() {
            let place = format!("{} {}/{}", stage.environment, index + 1, stage.waves.len());
            lines.push(format!("{place:<16} {}", wave_line(wave)));
        }
    }
    lines.push(format!("{:<16} {}", "exposure", exposure_line(release)));
    if let Some(rollback) = &release.rollback {
        let rule = rollback
            .rule
            .as_deref()
            .map_or(String::new(), |rule| format!("{rule}: "));
        lines.push(format!(
            "{:<16} by {}: {rule}{}",
            "rolled back", rollback.by, rollback.reason
        ));
        for (host, why) in &rollback.outstanding {
            lines.push(format!("{:<16} {host}: {why}", "not back yet"));
        }
    }
    if let Some(waiting) = &release.waiting {
        lines.push(format!("{:<16} {waiting}", "waiting"));
    }
    lines
}

fn wave_line(wave: &WaveView) -> String {
    let hosts: Vec<&str> = wave.hosts.iter().map(|host| host.host.as_str()).collect();
    let hosts = match hosts.as_slice() {
        [] => "nobody".to_owned(),
        [one] => (*one).to_owned(),
        [one, two] => format!("{one}, {two}"),
        [first, .., last] => format!("{first} to {last} ({})", hosts.len()),
    };
    let share = Permille::new(wave.traffic_permille).unwrap_or(Permille::ALL);
    match wave.state {
        WaveState::Pending => paint(Paint::Dim, format!("pending   {hosts}")),
        WaveState::Applying => format!("applying  {hosts}"),
        WaveState::Baking => {
            let since = wave.baking_since.unwrap_or_default();
            let baked = Millis::between(since, Timestamp::now());
            let left = Millis(wave.bake_ms.saturating_sub(baked.0));
            format!(
                "{} {hosts}, {share} of traffic, {left} to go",
                paint(Paint::Cyan, "baking   ")
            )
        }
        WaveState::Passed => format!("{} {hosts}", paint(Paint::Green, "passed   ")),
        WaveState::Failed => format!("{} {hosts}", paint(Paint::Red, "failed   ")),
    }
}

fn exposure_line(release: &ReleaseView) -> String {
    let exposure = &release.exposure;
    format!(
        "{} of {} hosts, {} requests ({} failed), {} tenants ({} hit)",
        exposure.hosts,
        exposure.hosts_total,
        exposure.requests,
        exposure.failed,
        exposure.tenants,
        exposure.tenants_hit
    )
}

fn status_line(release: &ReleaseView) -> String {
    let waiting = release.waiting.as_deref().unwrap_or("going on");
    format!("{waiting} · {}", exposure_line(release))
}

/// Waves passed of all known waves; twice as fine while one bakes.
fn progress(release: &ReleaseView) -> (u64, u64) {
    let waves = release.stages.iter().flat_map(|stage| &stage.waves);
    let (mut done, mut all) = (0, 0);
    for wave in waves {
        all += 2;
        done += match wave.state {
            WaveState::Passed => 2,
            WaveState::Baking => 1,
            WaveState::Pending | WaveState::Applying | WaveState::Failed => 0,
        };
    }
    (done, all.max(1))
}

/// One journal event in a line.
pub(crate) fn event_line(event: &Event) -> String {
    match event {
        Event::TopologySet { by, topology } => {
            let hosts: usize = topology.environments.iter().map(|e| e.hosts.len()).sum();
            format!(
                "{by} declared {} environments with {hosts} hosts",
                topology.environments.len()
            )
        }
        Event::TokenIssued {
            by,
            name,
            role,
            token,
            ..
        } => {
            format!("{by} made token {token} for {name} ({role})")
        }
        Event::TokenRevoked { by, token } => format!("{by} revoked token {token}"),
        Event::JoinTokenIssued { by, host, .. } => format!("{by} made a join token for {host}"),
        Event::HostEnrolled { host, .. } => format!("{host} joined"),
        Event::ReleaseProposed {
            release,
            service,
            digest,
            author,
            message,
            ..
        } => {
            format!(
                "{author} proposed release {release} of {service}: {} {message}",
                digest.short()
            )
        }
        Event::StageStarted {
            release,
            environment,
            waves,
        } => {
            format!(
                "release {release} enters {environment}, {} waves",
                waves.len()
            )
        }
        Event::WaveStarted {
            release,
            environment,
            wave,
        } => {
            format!("release {release}: {environment} wave {} begins", wave + 1)
        }
        Event::HostOrdered { order } => {
            let way = match order.kind {
                OrderKind::Forward => "to",
                OrderKind::Rollback => "back to",
            };
            format!(
                "release {}: {} ordered {way} {} (generation {})",
                order.release,
                order.host,
                order.digest.short(),
                order.generation
            )
        }
        Event::HostConfirmed {
            host,
            service,
            generation,
            digest,
        } => {
            format!(
                "{host} confirmed {service} {} (generation {generation})",
                digest.short()
            )
        }
        Event::HostFailed {
            host,
            phase,
            reason,
            ..
        } => format!("{host} failed at {phase}: {reason}"),
        Event::HostRevertFailing {
            host,
            phase,
            reason,
            tries,
            ..
        } => {
            format!("{host} can't go back yet ({phase}, try {tries}): {reason}")
        }
        Event::HostHeld { host, .. } => format!("{host} holds: the control plane was gone"),
        Event::HostHealthChanged {
            host,
            service,
            healthy,
            reason,
            ..
        } => {
            let word = if *healthy {
                "healthy again"
            } else {
                "unhealthy"
            };
            format!("{service} on {host} is {word} {reason}")
        }
        Event::WaveJudged {
            release,
            environment,
            wave,
            verdict,
            ..
        } => {
            let (wave, word) = (wave + 1, verdict_word(verdict));
            format!("release {release}: {environment} wave {wave} {word}")
        }
        Event::WaveHeld {
            release,
            environment,
            wave,
            needs,
        } => {
            format!(
                "release {release}: {environment} wave {} is held, it needs {needs}",
                wave + 1
            )
        }
        Event::ReleaseGood { release, .. } => format!("release {release} is good"),
        Event::RollbackStarted { release, by, .. } => format!("{by} sends release {release} back"),
        Event::RollbackCompleted { release, took_ms } => {
            format!("release {release} is back everywhere, {took_ms}")
        }
        Event::DigestQuarantined {
            service, digest, ..
        } => {
            format!("bundle {} of {service} is quarantined", digest.short())
        }
        Event::QuarantineLifted {
            by,
            service,
            digest,
            reason,
        } => {
            format!(
                "{by} lifted the quarantine of {} of {service}: {reason}",
                digest.short()
            )
        }
        Event::Frozen { by, scope, reason } => format!("{by} froze {scope}: {reason}"),
        Event::Thawed { by, scope, reason } => format!("{by} thawed {scope}: {reason}"),
    }
}

fn verdict_word(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Pass { evidence } => format!("passed on {} requests", evidence.canary.requests),
        Verdict::Fail { rule, reason, .. } => format!("failed, {rule}: {reason}"),
        Verdict::Insufficient { needs } => format!("can't be judged yet: {needs}"),
    }
}
